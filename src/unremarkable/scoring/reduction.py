"""From anomaly maps to one score per image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import UsageError, unknown_name


def _top(share: int) -> Callable[[NDArray[np.floating]], NDArray[np.float64]]:
    """Mean of the highest 1/`share` of each row, at least one pixel."""

    def reduce(rows: NDArray[np.floating]) -> NDArray[np.float64]:
        count = max(1, round(rows.shape[1] / share))
        highest = np.partition(rows, -count, axis=1)[:, -count:]
        # NaN partitions to the top, so it reaches the mean. Sorted, so that the sum's rounding does not depend on where
        # in the map the pixels lie.
        return np.sort(highest, axis=1).mean(axis=1, dtype=np.float64)

    return reduce


REDUCTIONS: dict[str, Callable[[NDArray[np.floating]], NDArray[np.float64]]] = {
    "max": lambda rows: rows.max(axis=1).astype(np.float64),
    "mean": lambda rows: rows.mean(axis=1, dtype=np.float64),
    "top1": _top(100),
    "top10": _top(10),
}


def reduce_map(maps: NDArray[np.floating], how: str) -> NDArray[np.float64]:
    """Scores `(N,)` of anomaly maps `(N, h, w)`; NaN for a map that holds a NaN, and only for it.

    Args:
        maps: larger is more anomalous.
        how: "max", "mean", or the mean of the highest 1 % ("top1") or 10 % ("top10") of the pixels, rounded and
            never fewer than one.

    Raises:
        UsageError: unknown reduction, or maps of another shape.
    """
    if how not in REDUCTIONS:
        raise unknown_name("score reduction", how, REDUCTIONS)
    _check(maps)
    return REDUCTIONS[how](maps.reshape(len(maps), -1)) if len(maps) else np.empty(0)


def smooth(maps: NDArray[np.floating], sigma: float) -> NDArray[np.floating]:
    """Each of the maps `(N, h, w)` filtered by a Gaussian of `sigma` map pixels; 0 leaves them as they are.

    The border is mirrored, so a constant map stays constant; a NaN spoils its own map and no other.

    Raises:
        UsageError: negative sigma, or maps of another shape.
    """
    if not 0 <= sigma < np.inf:
        raise UsageError(f"the smoothing width is {sigma}; it must be 0 (none) or a positive number of map pixels")
    _check(maps)
    if sigma == 0 or not len(maps):
        return maps
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(maps, sigma=(0, sigma, sigma), mode="reflect"))


def _check(maps: NDArray[np.floating]) -> None:
    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise UsageError(f"anomaly maps have the shape (N, h, w) with at least one pixel, not {maps.shape}")
