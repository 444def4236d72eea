"""The detection rule of the Reversed Auto-Encoder's published evaluation (Bercea et al. 2023), as it stands.

It is kept to compare with the published tables, beside the FROC of `lesions`; read with care. It is one verdict an
image, not one a lesion, and its false positives are a ratio of summed map values, rounded down: no number of blobs
outside the mask makes one as long as the map sums up higher inside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import UsageError

#: share of a mask's pixels that must be above the threshold
RA_SHARE = 0.1
#: mean share of a healthy image's pixels that may be above it
RA_RATE = 0.05


def ra_threshold(
    healthy: Sequence[NDArray[np.floating]], rate: float = RA_RATE, highest: float = 1.0, steps: int = 1000
) -> float:
    """The lowest of `steps` thresholds, evenly from 0 to `highest`, that keeps the mean share of pixels above ≤ `rate`.

    Args:
        healthy: maps of healthy images alone, any sizes, within 0 to `highest`.
        rate: mean over images of the share of an image's pixels above the threshold; background counts.
        highest: the last threshold tried; 1 as published, for maps in [0, 1].
        steps: thresholds tried.

    Raises:
        UsageError: no maps, or too many pixels above even the highest threshold.
    """
    if not len(healthy):
        raise UsageError("the threshold search needs maps of healthy images")
    thresholds = np.linspace(0, highest, steps)
    above = np.zeros(steps)
    for values in healthy:
        flat = np.sort(values, axis=None)
        above += (1 - np.searchsorted(flat, thresholds, side="right") / flat.size) / len(healthy)
    allowed = np.flatnonzero(above <= rate)
    if not len(allowed):
        raise UsageError(f"maps go beyond the highest threshold tried, {highest:g}; give the highest map value")
    return float(thresholds[allowed[0]])


def ra_detection(values: NDArray[np.floating], mask: NDArray[np.bool_], threshold: float) -> tuple[float, float]:
    """Whether an abnormal image is detected (1 or 0), and its F1.

    Map values up to the threshold become 0. Detected: more than 0.1 of the mask's pixels are left. False positives:
    what is left outside of the mask, summed, over what is left inside (at least 1), rounded down. With precision
    P = TP / max(TP + FP, 1), F1 = 2 P TP / (P + TP + 1e-8).
    """
    above = values > threshold
    detected = float(np.count_nonzero(above & mask) > RA_SHARE * np.count_nonzero(mask))
    inside = values[above & mask].sum(dtype=np.float64)
    false = np.floor(values[above & ~mask].sum(dtype=np.float64) / max(inside, 1.0))
    precision = detected / max(detected + false, 1.0)
    return detected, float(2 * precision * detected / (precision + detected + 1e-8))
