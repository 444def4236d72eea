"""Intensity policies against numpy and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from unremarkable.errors import InputError, UsageError
from unremarkable.imaging import intensity
from unremarkable.imaging.image import Image


def image_of(pixels: NDArray[Any], **about: Any) -> Image:
    axes = {2: "HW", 3: "HWC" if pixels.shape[-1] == 3 else "DHW"}[pixels.ndim]
    return Image(pixels, axes, "a", **about)  # type: ignore[arg-type]


def noise(*shape: int, dtype: Any) -> NDArray[Any]:
    return (np.random.default_rng(0).normal(1000, 300, shape)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.uint32, np.float32, np.float64])
@pytest.mark.parametrize("percentiles", [(0.5, 99.5), (0, 100), (1, 50), (33.3, 66.6)])
@pytest.mark.parametrize("offset", [0, -2500])
def test_percentiles_are_those_of_numpy(dtype: Any, percentiles: tuple[float, float], offset: int) -> None:
    values = noise(40, 50, dtype=dtype) + np.array(0 if np.dtype(dtype).kind == "u" else offset).astype(dtype)
    expected = np.percentile(values, percentiles, method="inverted_cdf")
    assert intensity.percentile_limits(values, *percentiles) == tuple(expected)


def test_percentiles_of_8_bit_values() -> None:
    values = np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8)
    for low, high in ((0.5, 99.5), (0, 100), (10, 20)):
        expected = np.percentile(values, [low, high], method="inverted_cdf")
        assert intensity.percentile_limits(values, low, high) == tuple(expected)
        assert intensity.percentile_limits(values.astype(np.int8), low, high) == tuple(
            np.percentile(values.astype(np.int8), [low, high], method="inverted_cdf")
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_small_object_on_even_ground_is_not_lost(dtype: Any) -> None:
    values = np.zeros((100, 100), dtype)
    values[5, 5], values[6, 6] = 10, 20
    assert intensity.percentile_limits(values, 0.5, 99.5) == (0, 20)
    assert intensity.percentile_limits(np.full((4, 4), 7, dtype), 0.5, 99.5) == (7, 7)
    assert intensity.percentile_limits(np.zeros(0, dtype), 0.5, 99.5) == (0, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.float16, np.float32, np.float64])
def test_scaling_is_linear_and_clipped(dtype: Any) -> None:
    values = np.array([0, 10, 20, 30, 40, 100], dtype)
    np.testing.assert_array_equal(intensity.scale(values, (20, 40)), np.array([0, 0, 0, 0.5, 1, 1], np.float32))
    assert intensity.scale(values, (20, 40)).dtype == np.float32
    assert not intensity.scale(values, (20, 20)).any()
    assert not intensity.scale(values, (-1.7e308, 1.7e308)).any()


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_scaling_keeps_every_value_of_a_ramp_apart(bits: int) -> None:
    ramp = np.arange(2**bits, dtype=np.uint16)
    unit = intensity.scale(ramp, (0, 2**bits - 1))
    assert len(np.unique(unit)) == 2**bits
    assert (unit[0], unit[-1]) == (0, 1)


def test_scaling_keeps_small_steps_on_a_large_offset_apart() -> None:
    ramp = np.arange(2**30, 2**30 + 4096, dtype=np.int32)
    assert len(np.unique(intensity.scale(ramp, (2**30, 2**30 + 4095)))) == 4096


def test_dtype_limits() -> None:
    assert intensity.dtype_limits(np.array([0, 255], np.uint8), 8, "a") == (0, 255)
    assert intensity.dtype_limits(np.array([0, 4095], np.uint16), 12, "a") == (0, 4095)
    assert intensity.dtype_limits(np.array([-2048, 2047], np.int16), 12, "a") == (-2048, 2047)
    assert intensity.dtype_limits(np.array([0, 9], np.uint16), None, "a") == (0, 65535)
    assert intensity.dtype_limits(np.array([0, 0.5, 1], np.float32), None, "a") == (0, 1)


@pytest.mark.parametrize(
    ("values", "bits"),
    [
        (np.array([0, 4096], np.uint16), 12),
        (np.array([-2049, 0], np.int16), 12),
        (np.array([0, 1.01], np.float32), None),
        (np.array([-0.1, 1], np.float64), None),
        (np.array([0, 5], np.int64), 64),
        (np.array([0, 5], np.uint32), None),
    ],
)
def test_values_that_their_type_does_not_explain_are_refused(values: NDArray[Any], bits: int | None) -> None:
    with pytest.raises(InputError, match="use intensity percentile"):
        intensity.dtype_limits(values, bits, "a")


def test_windows() -> None:
    assert intensity.window_limits(intensity.WINDOWS["brain"]) == (0, 80)
    assert intensity.window_limits(intensity.WINDOWS["lung"]) == (-1350, 150)
    for width in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="width"):
            intensity.window_limits((40, width))


def test_luminance() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    expected = colour[..., 0] * 0.299 + colour[..., 1] * 0.587 + colour[..., 2] * 0.114
    np.testing.assert_allclose(intensity.luminance(colour), expected, rtol=1e-6)
    grey = np.repeat(colour[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(intensity.luminance(grey), grey[..., 0])
    assert intensity.luminance(grey).dtype == np.uint8


class TestChoice:
    ct = image_of(np.zeros((4, 4), np.int16), unit="HU")
    byte = image_of(np.zeros((4, 4), np.uint8))
    deep = image_of(np.zeros((4, 4), np.uint16), bits=12)

    def test_intensity(self) -> None:
        head = image_of(np.zeros((4, 4), np.int16), unit="HU", metadata={"body_part": "HEAD"})
        assert intensity.choose_intensity([head, head])[0] == "brain"
        assert intensity.choose_intensity([head, self.ct])[0] == "soft-tissue"
        assert intensity.choose_intensity([self.byte, self.byte])[0] == "dtype"
        for images in ([self.byte, self.deep], [self.ct, self.deep], []):
            assert intensity.choose_intensity(images)[0] == "percentile"

    def test_the_reason_is_given(self) -> None:
        assert "8-bit" in intensity.choose_intensity([self.byte])[1]

    def test_channels(self) -> None:
        grey = np.random.default_rng(0).integers(0, 256, (40, 40, 1)).astype(np.uint8).repeat(3, axis=-1)
        tinted, coloured = grey.copy(), grey.copy()
        tinted[..., 0] = np.minimum(tinted[..., 0], 249) + 6
        coloured[:10, :10, 0] = 255 - coloured[:10, :10, 0]
        for pixels, channels in ((grey, 1), (tinted, 1), (coloured, 3)):
            assert intensity.choose_channels([image_of(pixels), self.byte]) == channels
        assert intensity.choose_channels([image_of(coloured), *[self.byte] * 9]) == 3
        assert intensity.choose_channels([image_of(coloured), *[self.byte] * 10]) == 1
        assert intensity.choose_channels([]) == 1
