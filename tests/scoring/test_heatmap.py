from __future__ import annotations

import numpy as np
import pytest

from unremarkable.errors import UsageError
from unremarkable.scoring.heatmap import STRONGEST, colours, overlay


def _image(rows: int = 40, columns: int = 30) -> np.ndarray:
    return np.random.default_rng(0).random((rows, columns), dtype=np.float32)


def test_normal_regions_show_the_image_untouched() -> None:
    image = _image()
    result = overlay(image, np.full((5, 5), 0.2), low=0.2, high=1.0)
    assert result.shape == (40, 30, 3)
    assert result.dtype == np.uint8
    expected = (255 * image + 0.5).astype(np.uint8)
    assert np.array_equal(result, np.repeat(expected[:, :, None], 3, axis=2))


def test_the_strongest_colour_still_shows_the_image() -> None:
    anomaly_map = np.full((4, 4), 7.0)
    dark, bright = (overlay(np.full((8, 8), level), anomaly_map, 0.0, 1.0)[0, 0].astype(int) for level in (0.0, 1.0))
    assert np.abs(dark - STRONGEST * colours()[-1]).max() <= 1
    assert np.abs(bright - dark - 255 * (1 - STRONGEST)).max() <= 1


def test_more_anomalous_is_more_colourful() -> None:
    ramp = np.linspace(0, 1, 200)[None].repeat(10, axis=0)
    result = overlay(np.full((10, 200), 0.5), ramp, 0.0, 1.0).astype(int)[5]
    chroma = result.max(axis=1) - result.min(axis=1)
    assert (np.diff(chroma) >= -2).all()
    assert chroma[-1] > 100


def test_the_hottest_pixel_lies_where_the_map_says() -> None:
    anomaly_map = np.zeros((8, 8))
    anomaly_map[1, 6] = 1
    result = overlay(np.zeros((64, 64)), anomaly_map, 0.0, 1.0).astype(int).sum(axis=2)
    row, column = np.unravel_index(result.argmax(), result.shape)
    assert abs(row - 11.5) <= 4
    assert abs(column - 51.5) <= 4


def test_colour_images_a_flat_scale_and_values_outside_the_range() -> None:
    colour = np.random.default_rng(0).random((9, 7, 3))
    assert np.array_equal(overlay(colour, np.zeros((2, 2)), 0, 1), (255 * colour + 0.5).astype(np.uint8))
    flat = overlay(np.zeros((4, 4)), np.array([[0.0, 1.0], [0.0, 1.0]]), 0.0, 0.0)
    assert flat[0, 0].tolist() == [0, 0, 0]
    assert flat[0, 3].max() > 100
    assert overlay(np.array([[-1.0, 2.0]]), np.zeros((1, 1)), 0, 1)[0, :, 0].tolist() == [0, 255]


def test_colours_rise_evenly_in_lightness() -> None:
    linear = (colours() / 255) ** 2.2
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert colours().shape == (256, 3)
    assert (np.diff(np.cbrt(luminance)) > -0.003).all()
    assert luminance[-1] > 8 * luminance[0]


def test_other_shapes_are_refused() -> None:
    for image, anomaly_map in (
        (np.zeros((2, 2, 4)), np.zeros((2, 2))),
        (np.zeros(4), np.zeros((2, 2))),
        (np.zeros((2, 2)), np.zeros((1, 2, 2))),
    ):
        with pytest.raises(UsageError, match="needed"):
            overlay(image, anomaly_map, 0, 1)
