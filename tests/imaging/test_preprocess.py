"""Preprocess: values, shapes, padding and settings, against torch's resize and by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from unremarkable.errors import InputError, UsageError
from unremarkable.imaging.image import Image
from unremarkable.imaging.preprocess import Preprocess


def noise(*shape: int, high: int = 256, dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


def image_of(pixels: NDArray[Any], axes: str = "HW", **about: Any) -> Image:
    return Image(pixels, axes, "scan.png", **about)  # type: ignore[arg-type]


def by_torch(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(pixels.astype(np.float32))[None, None], size, mode="bilinear", antialias=True
    )
    return resized[0, 0].numpy()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("policy", ["percentile", "range"])
def test_output_is_contiguous_float32_in_range(dtype: Any, policy: str) -> None:
    image = image_of(noise(50, 70, dtype=dtype))
    about = {"low": 10, "high": 200} if policy == "range" else {}
    inputs = Preprocess(size=(32, 48), intensity=policy, **about)(image)  # type: ignore[arg-type]
    assert inputs.shape == (1, 1, 32, 48)
    assert inputs.dtype == np.float32
    assert inputs.flags.c_contiguous
    assert inputs.min() >= 0
    assert inputs.max() <= 1


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    pixels = noise(24, 20)
    inputs = Preprocess(size=(24, 20), intensity="dtype")(image_of(pixels, bits=8))
    np.testing.assert_array_equal(inputs[0, 0], pixels.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("size", [(13, 11), (100, 90), (24, 60), (7, 20)])
def test_resizing_is_antialiased_and_exact(size: tuple[int, int]) -> None:
    pixels = noise(24, 20)
    inputs = Preprocess(size=size, intensity="dtype")(image_of(pixels))
    np.testing.assert_allclose(inputs[0, 0], by_torch(pixels / 255, size), atol=2e-6)


def test_a_12_bit_ramp_and_a_float_ramp_keep_all_values() -> None:
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    assert len(np.unique(Preprocess(size=(64, 64), intensity="dtype")(image_of(ramp, bits=12)))) == 4096
    ramp = np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64)
    assert len(np.unique(Preprocess(size=(64, 64), intensity="dtype")(image_of(ramp)))) == 4096
    signed = np.arange(-1024, 3072, dtype=np.int16).reshape(64, 64)
    wide = Preprocess(size=(64, 64), intensity="window", window=(1023.5, 4095))
    assert len(np.unique(wide(image_of(signed, unit="HU")))) == 4096


@pytest.mark.parametrize("policy", ["percentile", "dtype"])
@pytest.mark.parametrize("value", [0, 200])
def test_constant_images_give_no_nan(policy: str, value: int) -> None:
    inputs = Preprocess(size=(8, 8), intensity=policy)(image_of(np.full((9, 9), value, np.uint8)))
    np.testing.assert_allclose(inputs, 0 if policy == "percentile" else value / 255, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
@pytest.mark.parametrize("fit", ["resize", "pad"])
def test_the_thinnest_images(shape: tuple[int, int], fit: str) -> None:
    inputs = Preprocess(size=(16, 16), intensity="dtype", fit=fit)(image_of(np.full(shape, 255, np.uint8)))
    assert inputs.max() == 1
    assert np.isfinite(inputs).all()


def test_padding_is_zero_and_does_not_count() -> None:
    pixels = noise(40, 40, high=1000, dtype=np.int16)
    padding = np.zeros((40, 40), bool)
    padding[:, :10] = True
    pixels[padding] = -2000
    inputs = Preprocess(size=(40, 40))(image_of(pixels, padding=padding))
    assert not inputs[0, 0][padding].any()
    low, high = np.percentile(pixels[~padding], [0.5, 99.5], method="inverted_cdf")
    expected = np.clip((pixels[~padding] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(inputs[0, 0][~padding], expected, atol=1e-6)
    inside = Preprocess(size=(40, 40), intensity="dtype")(image_of(np.abs(pixels), bits=16, padding=padding))
    assert inside.max() > 0
    assert not Preprocess(size=(8, 8))(image_of(pixels, padding=np.ones((40, 40), bool))).any()


def test_padding_of_volumes_and_colour() -> None:
    padding = np.zeros((2, 8, 8), bool)
    padding[1, 0] = True
    for axes, shape in (("DHW", (2, 8, 8)), ("DHWC", (2, 8, 8, 3))):
        image = image_of(np.full(shape, 255, np.uint8), axes, padding=padding)
        for channels in (1, 3):
            inputs = Preprocess(size=(8, 8), channels=channels, intensity="dtype")(image)
            np.testing.assert_array_equal(inputs == 0, np.repeat(padding[:, None], channels, axis=1))


def test_colour_becomes_luminance_and_grey_is_repeated() -> None:
    colour = noise(8, 8, 3)
    inputs = Preprocess(size=(8, 8), intensity="dtype")(image_of(colour, "HWC"))
    np.testing.assert_allclose(inputs[0, 0], colour @ np.array([0.299, 0.587, 0.114]) / 255, atol=1e-6)
    inputs = Preprocess(size=(8, 8), channels=3, intensity="dtype")(image_of(colour, "HWC"))
    np.testing.assert_array_equal(inputs[0], np.moveaxis(colour, -1, 0).astype(np.float32) / np.float32(255))
    inputs = Preprocess(size=(8, 8), channels=3, intensity="dtype")(image_of(colour[..., 0]))
    assert (inputs[0] == inputs[0, 0]).all()


def test_grey_stored_as_colour_is_the_same_as_grey() -> None:
    grey = noise(30, 30)
    for policy in ("dtype", "percentile"):
        preprocess = Preprocess(size=(16, 16), intensity=policy)
        as_colour = image_of(np.repeat(grey[..., None], 3, axis=-1), "HWC")
        np.testing.assert_array_equal(preprocess(image_of(grey)), preprocess(as_colour))


def test_volumes_become_slices_with_limits_of_the_whole() -> None:
    volume = noise(2, 3, 16, 16, high=1000, dtype=np.int16)
    inputs = Preprocess(size=(16, 16))(image_of(volume, "TDHW"))
    assert inputs.shape == (6, 1, 16, 16)
    low, high = np.percentile(volume, [0.5, 99.5], method="inverted_cdf")
    expected = np.clip((volume.reshape(6, 16, 16) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(inputs[:, 0], expected, atol=1e-6)
    assert Preprocess(size=(8, 8))(image_of(noise(5, 16, 16, 3), "DHWC")).shape == (5, 1, 8, 8)


def test_windows_clip_hounsfield_units() -> None:
    pixels = np.array([[-1000, 0, 40, 80, 1000]], np.int16)
    for settings in ({"intensity": "brain"}, {"intensity": "window", "window": (40, 80)}):
        inputs = Preprocess(size=(1, 5), **settings)(image_of(pixels, unit="HU"))  # type: ignore[arg-type]
        np.testing.assert_allclose(inputs[0, 0, 0], [0, 0, 0.5, 1, 1])
        with pytest.raises(InputError, match="needs values in HU"):
            Preprocess(size=(1, 5), **settings)(image_of(pixels))  # type: ignore[arg-type]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("policy", ["percentile", "dtype"])
def test_values_that_are_not_finite_are_refused(broken: float, policy: str) -> None:
    pixels = np.zeros((4, 4), np.float32)
    pixels[1, 1] = broken
    with pytest.raises(InputError, match="1 of its 16 values are NaN or infinite"):
        Preprocess(size=(4, 4), intensity=policy)(image_of(pixels))


def test_floats_outside_the_unit_range_are_refused_by_dtype() -> None:
    with pytest.raises(InputError, match=r"scan\.png.*0 to 1.*use intensity percentile"):
        Preprocess(intensity="dtype")(image_of(np.array([[0, 2]], np.float32)))


class TestPad:
    def test_proportions_are_kept_and_the_rest_is_zero(self) -> None:
        inputs = Preprocess(size=(32, 32), intensity="dtype", fit="pad")(image_of(np.full((10, 20), 255, np.uint8)))
        np.testing.assert_allclose(inputs[0, 0, 8:24], 1)
        assert not inputs[0, 0, :8].any()
        assert not inputs[0, 0, 24:].any()

    def test_proportions_are_those_in_millimetres(self) -> None:
        preprocess = Preprocess(size=(32, 32), fit="pad")
        assert preprocess.box(image_of(noise(20, 20), spacing=(2.0, 1.0))) == (0, 8, 32, 16)
        assert preprocess.box(image_of(noise(20, 20), spacing=(0.3, 0.3))) == (0, 0, 32, 32)
        assert preprocess.box(image_of(noise(9, 20, 20), "DHW", spacing=(5.0, 1.0, 2.0))) == (8, 0, 16, 32)

    def test_the_inside_is_what_resizing_gives(self) -> None:
        pixels = noise(20, 40)
        padded = Preprocess(size=(24, 24), intensity="dtype", fit="pad")(image_of(pixels))
        resized = Preprocess(size=(12, 24), intensity="dtype")(image_of(pixels))
        np.testing.assert_array_equal(padded[:, :, 6:18], resized)


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "reason"),
        [
            ({"size": (0, 5)}, "size"),
            ({"size": (5, 5, 5)}, "size"),
            ({"size": (2.5, 5)}, "size"),
            ({"channels": 2}, "channels"),
            ({"intensity": "percentiles"}, "did you mean 'percentile'"),
            ({"fit": "padd"}, "did you mean 'pad'"),
            ({"intensity": "window"}, "both or neither"),
            ({"window": (40, 80)}, "both or neither"),
            ({"intensity": "window", "window": (40, 0)}, "width"),
            ({"intensity": "range"}, "low < high"),
            ({"intensity": "range", "low": 5, "high": 5}, "low < high"),
            ({"low": 60, "high": 40}, "percentiles"),
            ({"high": 101}, "percentiles"),
            ({"intensity": "dtype", "low": 0}, "no meaning"),
            ({"intensity": "brain", "high": 9}, "no meaning"),
        ],
    )
    def test_settings_that_cannot_be_are_refused(self, settings: dict[str, Any], reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            Preprocess(**settings)

    @pytest.mark.parametrize(
        "preprocess",
        [
            Preprocess(),
            Preprocess(size=(64, 32), channels=3, intensity="window", window=(40, 80), fit="pad"),
            Preprocess(intensity="range", low=-5, high=5.5),
            Preprocess(intensity="lung"),
        ],
    )
    def test_settings_survive_json(self, preprocess: Preprocess) -> None:
        assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess

    @pytest.mark.parametrize(
        "settings",
        [{"sise": [4, 4]}, {"size": 5}, {"low": "a"}, {"intensity": 3}, {"window": 5, "intensity": "window"}],
    )
    def test_settings_of_another_program_are_refused(self, settings: dict[str, Any]) -> None:
        with pytest.raises(UsageError):
            Preprocess.from_dict(settings)


class TestPlan:
    def test_it_follows_the_images_and_says_why(self) -> None:
        preprocess, reasons = Preprocess.plan([image_of(noise(8, 8))], size=(64, 64))
        assert preprocess == Preprocess(size=(64, 64), channels=1, intensity="dtype")
        assert [reason.split(":")[0] for reason in reasons] == ["intensity dtype", "channels 1"]
        preprocess, _ = Preprocess.plan([image_of(noise(8, 8, 3, high=4096, dtype=np.uint16), "HWC")])
        assert (preprocess.channels, preprocess.intensity) == (3, "percentile")

    def test_what_is_chosen_stays(self) -> None:
        chosen = {"intensity": "range", "low": 0, "high": 9, "channels": 3, "fit": "pad"}
        preprocess, reasons = Preprocess.plan([image_of(noise(8, 8))], **chosen)
        assert preprocess == Preprocess(**chosen)  # type: ignore[arg-type]
        assert reasons == ()
        with pytest.raises(UsageError, match="did you mean 'channels'"):
            Preprocess.plan([], chanels=3)
