"""Every family of features against values worked out by hand, or against definitions written down a second time."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.ndimage import map_coordinates

from unremarkable.methods.classical.features import Family, describe, first_order, glcm, hog, lbp, wavelet

FAMILIES = get_args(Family)
WIDTHS = {"hog": 36, "glcm": 10, "wavelet": 10, "lbp": 10, "first-order": 8}

#: figure 3 of Haralick et al. (1973): an image and its co-occurrences at 0, 45, 90 and 135 degrees
HARALICK = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2], [2, 2, 3, 3]])
COUNTS = np.array(
    [
        [[4, 2, 1, 0], [2, 4, 0, 0], [1, 0, 6, 1], [0, 0, 1, 2]],
        [[4, 1, 0, 0], [1, 2, 2, 0], [0, 2, 4, 1], [0, 0, 1, 0]],
        [[6, 0, 2, 0], [0, 4, 2, 0], [2, 2, 2, 2], [0, 0, 2, 0]],
        [[2, 1, 3, 0], [1, 2, 1, 0], [3, 1, 0, 2], [0, 0, 2, 0]],
    ]
)


def picture(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random(shape)


def test_hog_of_a_ramp_is_one_orientation_in_every_cell() -> None:
    ramp = np.tile(np.linspace(0, 1, 32), (32, 1))
    # Four equal histograms of one entry: 1/2 each, cut to 0.2, and 1/2 again once normalised.
    expected = np.zeros((4, 9))
    expected[:, 0] = 0.5
    np.testing.assert_allclose(hog(ramp[None]).reshape(4, 9), expected, atol=1e-4)
    turned = hog(np.ascontiguousarray(ramp.T)[None]).reshape(4, 9)  # 90 degrees: the fifth of nine bins of 20
    assert turned[:, 4] == pytest.approx(0.5, abs=1e-4)


def test_hog_clips_and_normalises_as_dalal_and_triggs() -> None:
    patch = np.zeros((32, 32))
    patch[:16, :16] = np.arange(16) / 16  # one cell rises to the right
    histograms = np.zeros((4, 9))
    rise = np.zeros((32, 32))
    rise[:, 1:-1] = patch[:, 2:] - patch[:, :-2]
    down = np.zeros((32, 32))
    down[1:-1] = patch[2:] - patch[:-2]
    angle = np.degrees(np.arctan2(down, rise)) % 180
    for cell, (row, column) in enumerate([(0, 0), (0, 16), (16, 0), (16, 16)]):
        at = np.s_[row : row + 16, column : column + 16]
        for one, size in zip(angle[at].ravel(), np.hypot(rise, down)[at].ravel(), strict=True):
            histograms[cell, int(one // 20)] += size / 256
    unit = histograms / np.sqrt((histograms**2).sum() + 1e-10)
    clipped = np.minimum(unit, 0.2)
    expected = clipped / np.sqrt((clipped**2).sum() + 1e-10)
    np.testing.assert_allclose(hog(patch[None])[0], expected.ravel(), atol=1e-6)


def test_glcm_of_haralicks_own_example() -> None:
    i, j = np.mgrid[:4, :4]
    measures = []
    for counts in COUNTS:
        p = counts / counts.sum()
        mean = (i * p).sum()
        variance = ((i - mean) ** 2 * p).sum()
        measures.append(
            [
                (p**2).sum(),
                ((i - j) ** 2 * p).sum(),
                ((i - mean) * (j - mean) * p).sum() / variance,
                (p / (1 + (i - j) ** 2)).sum(),
                -(p[p > 0] * np.log(p[p > 0])).sum(),
            ]
        )
    by_angle = np.array(measures)
    assert by_angle[0, 1] == pytest.approx(14 / 24)  # contrast along the rows: (4 x 1 + 2 x 1 + 2 x 4) / 24
    expected = np.concatenate([by_angle.mean(0), by_angle.max(0) - by_angle.min(0)])
    np.testing.assert_allclose(glcm((HARALICK[None] + 0.5) / 16)[0], expected, rtol=1e-12)


def test_wavelet_energies() -> None:
    row, column = np.mgrid[:32, :32]
    flat = np.full((32, 32), 0.25)
    stripes = 0.5 + 0.1 * (-1.0) ** row
    board = 0.5 + 0.1 * (-1.0) ** (row + column)
    wide = 0.5 + 0.1 * (-1.0) ** (column // 4)
    found = wavelet(np.stack([flat, stripes, board, wide]))
    # Haar's approximation doubles with every level: 8 times the mean after three. A pattern of amplitude b and
    # period 2 has coefficients 2 b in one sub-band of the finest level; one of period 8 has 8 b in the coarsest.
    expected = np.zeros((4, 10))
    expected[:, 0] = [2, 4, 4, 4]
    expected[1, 7], expected[2, 9], expected[3, 2] = 0.2, 0.2, 0.8
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_wavelet_energies_add_up_to_the_patch() -> None:
    patches = picture(3, 32, 32)
    counts = np.array([16, 16, 16, 16, 64, 64, 64, 256, 256, 256])
    np.testing.assert_allclose((wavelet(patches) ** 2) @ counts, np.square(patches).sum((1, 2)))


def test_lbp_by_its_definition() -> None:
    patch = np.round(picture(16, 16) * 65535) / 65535
    angles = 2 * np.pi * np.arange(8) / 8
    expected = np.zeros(10)
    for row in range(1, 15):
        for column in range(1, 15):
            around = map_coordinates(patch, [row - np.sin(angles), column + np.cos(angles)], order=1)
            signs = around >= patch[row, column]
            uniform = (signs != np.roll(signs, 1)).sum() <= 2
            expected[signs.sum() if uniform else 9] += 1 / 14**2
    np.testing.assert_allclose(lbp(patch[None])[0], expected, atol=1e-12)


def test_lbp_of_a_flat_patch_and_of_one_bright_pixel() -> None:
    patches = np.full((2, 16, 16), 0.3)
    patches[1, 5, 5] = 0.9
    flat, spot = lbp(patches)
    assert flat.tolist() == [0] * 8 + [1, 0]  # no neighbour is darker
    assert spot[0] == pytest.approx(1 / 14**2)  # every neighbour of the bright pixel is


def test_first_order_statistics() -> None:
    patch = picture(32, 32) ** 2
    values = patch.ravel()
    shares = np.histogram(values, 16, (0, 1))[0] / values.size
    expected = [
        values.mean(),
        values.std(),
        stats.skew(values),
        stats.kurtosis(values),
        stats.entropy(shares),
        *np.percentile(values, [5, 50, 95]),
    ]
    flat = np.full((32, 32), 0.3)
    half = np.repeat([[0.0, 0.5]], 16, axis=1).repeat(32, axis=0)
    found = first_order(np.stack([patch, flat, half]))
    np.testing.assert_allclose(found[0], expected, rtol=1e-9)
    np.testing.assert_allclose(found[1], [0.3, 0, 0, 0, 0, 0.3, 0.3, 0.3], atol=1e-7)
    # two equal halves: a standard deviation of half their distance, kurtosis 1 - 3, entropy log 2
    np.testing.assert_allclose(found[2], [0.25, 0.25, 0, -2, np.log(2), 0, 0.25, 0.5], atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_patch_is_described_by_itself_alone(family: Family) -> None:
    image = picture(1, 64, 96)
    other = image.copy()
    other[0, 32:, 32:64] = picture(32, 32, seed=1)
    (before,), (after,) = describe(image, [family], 32), describe(other, [family], 32)
    assert before.shape == (6, WIDTHS[family])
    changed = (before != after).any(1)
    assert changed.tolist() == [False] * 4 + [True, False]  # second row, second column


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("level", [0.0, 0.37, 1.0])
def test_flat_patches_have_finite_features(family: Family, level: float) -> None:
    (found,) = describe(np.full((1, 32, 32), level, np.float32), [family], 16)
    assert np.isfinite(found).all()


def test_families_come_in_the_order_asked_for() -> None:
    image = picture(1, 32, 32)
    found = describe(image, ["lbp", "hog"], 32)
    assert [family.shape[1] for family in found] == [10, 36]
    np.testing.assert_array_equal(found[1], hog(image))


def test_texture_of_a_colour_image_is_that_of_its_luminance() -> None:
    image = picture(3, 32, 32)
    grey = (0.2125 * image[0] + 0.7154 * image[1] + 0.0721 * image[2])[None]
    for family in ("hog", "glcm", "wavelet", "lbp"):
        np.testing.assert_allclose(describe(image, [family], 32)[0], describe(grey, [family], 32)[0], atol=1e-12)  # type: ignore[list-item]
    (statistics,) = describe(image, ["first-order"], 32)
    assert statistics.shape == (1, 24)
    np.testing.assert_allclose(statistics[0, [0, 8, 16]], image.mean((1, 2)))
