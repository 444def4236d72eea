"""Adaptive histogram equalisation: against its definition in plain loops, and against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from unremarkable.methods.equalisation import equalise

Array = NDArray[np.float64]


def curve(tile: Array) -> Array:
    """Clipped cumulative histogram of one tile."""
    histogram = np.zeros(256)
    for value in tile.ravel() * 255:
        below = min(int(value), 254)
        histogram[below] += below + 1 - value
        histogram[below + 1] += value - below
    limit = max(1, int(0.01 * tile.size))
    histogram = np.minimum(histogram, limit)
    for _ in range(12):
        histogram = np.minimum(histogram + (tile.size - histogram.sum()) / 256, limit)
    return np.cumsum(histogram) / tile.size


def by_hand(image: Array) -> Array:
    height, width = (side // 8 for side in image.shape)
    curves = [
        [curve(image[r * height : (r + 1) * height, c * width : (c + 1) * width]) for c in range(8)] for r in range(8)
    ]
    out = np.zeros_like(image)
    for (y, x), value in np.ndenumerate(image):
        # place among the tiles' centres, held between the first and the last
        at_y, at_x = (min(max((p + 0.5) / step - 0.5, 0), 7) for p, step in ((y, height), (x, width)))
        for r in range(8):
            for c in range(8):
                share = max(0, 1 - abs(at_y - r)) * max(0, 1 - abs(at_x - c))
                if share:
                    out[y, x] += share * np.interp(value * 255, np.arange(256), curves[r][c])
    return out


def smooth_picture(side: int) -> Array:
    rows, columns = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    picture = np.sin(9 * rows) * np.cos(7 * columns + 2 * rows) + 0.3 * np.sin(60 * rows * columns)
    return (picture - picture.min()) / np.ptp(picture)


def test_equals_the_definition_in_loops() -> None:
    images = np.random.default_rng(0).random((2, 1, 32, 40)) ** 2
    images[0, 0, :8, :10] = 0.5
    expected = np.stack([by_hand(image[0])[None] for image in images])
    np.testing.assert_allclose(equalise(torch.from_numpy(images)).numpy(), expected, atol=1e-4)


def test_close_to_scikit_image_where_its_stretching_does_nothing() -> None:
    exposure = pytest.importorskip("skimage.exposure")
    picture = smooth_picture(512)
    ours = equalise(torch.from_numpy(picture)[None, None])[0, 0].numpy()
    ours = (ours - ours.min()) / np.ptp(ours)  # as scikit-image does last
    assert np.abs(ours - exposure.equalize_adapthist(picture)).mean() < 0.01


def test_a_last_bit_stays_a_last_bit() -> None:
    images = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    images[1] = torch.arange(4096).view(64, 64) % 256 / 255  # all of them on the edges of bins
    moved = (images + 1e-7).clamp(0, 1)
    assert (equalise(moved) - equalise(images)).abs().max() < 1e-5


def test_images_and_channels_are_apart() -> None:
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    together = equalise(images)
    torch.testing.assert_close(together[1:2, 2:3], equalise(images[1:2, 2:3]))
    assert together.min() >= 0
    assert together.max() <= 1


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_constant_images_stay_constant(level: float) -> None:
    equalised = equalise(torch.full((1, 1, 32, 32), level))
    torch.testing.assert_close(equalised, equalised[..., :1, :1].expand_as(equalised))


def test_other_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8, not 32x36"):
        equalise(torch.zeros(1, 1, 32, 36))
