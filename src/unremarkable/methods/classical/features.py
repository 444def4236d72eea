"""Hand-made descriptions of square patches: gradients, co-occurrences, wavelets, binary patterns, grey levels.

Every family looks at each patch alone, so that changing one patch changes its own description and no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Family = Literal["hog", "glcm", "wavelet", "lbp", "first-order"]
Patches = NDArray[np.float64]

#: luminance of linear red, green and blue (ITU-R BT.709)
_LUMINANCE = np.array([0.2125, 0.7154, 0.0721])
_LEVELS = 16
_WAVELET_LEVELS = 3


def describe(image: NDArray[np.floating], families: Sequence[Family], patch: int) -> list[Patches]:
    """What each family says of each patch, `(P, features)` a family; patches row by row.

    Args:
        image: `(C, H, W)` in [0, 1], C 1 or 3, both sides a multiple of `patch`. Texture is taken from the luminance of
            a colour image, grey-level statistics from each channel.
        families: in the order of the result.
        patch: side of a patch in pixels, a multiple of 8 and at least 16.
    """
    channels, height, width = image.shape
    rows, columns = height // patch, width // patch
    cut = image.astype(np.float64).reshape(channels, rows, patch, columns, patch).swapaxes(2, 3)
    cut = np.ascontiguousarray(cut.reshape(channels, rows * columns, patch, patch))
    grey = cut[0] if channels == 1 else np.tensordot(_LUMINANCE, cut, 1)
    found = []
    for family in families:
        planes = cut if family == "first-order" else grey[None]
        found.append(np.concatenate([_FAMILIES[family](plane) for plane in planes], axis=1))
    return found


def hog(patches: Patches) -> Patches:
    """Histograms of oriented gradients: 2 x 2 cells of 9 orientations in one block, L2-Hys; 36 values."""
    from skimage.feature import hog as of_one

    cell = patches.shape[1] // 2
    return np.stack([of_one(patch, 9, (cell, cell), (2, 2), block_norm="L2-Hys") for patch in patches])


def glcm(patches: Patches) -> Patches:
    """Haralick's angular second moment, contrast, correlation, inverse difference moment and entropy; 10 values.

    Of symmetric co-occurrences of 16 grey levels at distance 1; first the means over the four angles, then the ranges.
    """
    from scipy.special import xlogy
    from skimage.feature import graycomatrix, graycoprops

    levels = np.clip(patches * _LEVELS, 0, _LEVELS - 1).astype(np.uint8)
    angles = np.pi / 4 * np.arange(4)
    # Patches stand where skimage expects distances, so that the measures of all are taken at once.
    counts = [graycomatrix(patch, [1], angles, _LEVELS, symmetric=True, normed=True)[:, :, 0] for patch in levels]
    joint = np.stack(counts, axis=2)
    measures = [graycoprops(joint, name) for name in ("ASM", "contrast", "correlation", "homogeneity")]
    by_angle = np.stack([*measures, -xlogy(joint, joint).sum((0, 1))], axis=1)
    return np.concatenate([by_angle.mean(2), np.ptp(by_angle, axis=2)], axis=1)


def wavelet(patches: Patches) -> Patches:
    """Root mean squares of the Haar coefficients: the approximation, then three sub-bands a level; 10 values.

    Three levels, the coarsest first. Haar's wavelets never cross the border of a patch.
    """
    import pywt

    approximation, *details = pywt.wavedec2(patches, "haar", "periodization", level=_WAVELET_LEVELS, axes=(1, 2))
    bands = [approximation, *(band for level in details for band in level)]
    return np.stack([np.sqrt(np.square(band).mean((1, 2))) for band in bands], axis=1)


def lbp(patches: Patches) -> Patches:
    """Shares of the rotation-invariant uniform binary patterns of 8 neighbours at radius 1; 10 values."""
    from skimage.feature import local_binary_pattern

    # In whole numbers, finer than any scan's: rounding in the interpolation would make patterns of flat regions.
    whole = np.round(patches * 65535).astype(np.uint16)
    codes = local_binary_pattern(whole.reshape(-1, whole.shape[2]), 8, 1, "uniform").reshape(whole.shape)
    # Neighbours of a patch's outermost pixels belong to others.
    return _shares(codes[:, 1:-1, 1:-1].astype(np.intp), 10)


def first_order(patches: Patches) -> Patches:
    """Mean, standard deviation, skewness, excess kurtosis, entropy of 16 levels, percentiles 5, 50, 95; 8 values."""
    from scipy.special import xlogy

    values = patches.reshape(len(patches), -1)
    mean, sd = values.mean(1, keepdims=True), values.std(1, keepdims=True)
    standard = (values - mean) / np.maximum(sd, 1e-6)  # so that of a constant patch is 0 and not undefined
    flat = sd[:, 0] < 1e-6
    kurtosis = np.where(flat, 0, (standard**4).mean(1) - 3)
    shares = _shares(np.clip(values * _LEVELS, 0, _LEVELS - 1).astype(np.intp), _LEVELS)
    entropy = -xlogy(shares, shares).sum(1)
    percentiles = np.percentile(values, (5, 50, 95), axis=1)
    return np.stack([mean[:, 0], sd[:, 0], (standard**3).mean(1), kurtosis, entropy, *percentiles], axis=1)


def _shares(codes: NDArray[np.intp], count: int) -> Patches:
    """Relative frequencies `(P, count)` of the codes below `count` in each patch."""
    flat = codes.reshape(len(codes), -1)
    offset = flat + count * np.arange(len(flat))[:, None]
    return np.bincount(offset.ravel(), minlength=count * len(flat)).reshape(-1, count) / flat.shape[1]


_FAMILIES: dict[Family, Callable[[Patches], Patches]] = {
    "hog": hog,
    "glcm": glcm,
    "wavelet": wavelet,
    "lbp": lbp,
    "first-order": first_order,
}
