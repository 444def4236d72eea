"""Areas and overlaps of pixel counts: ROC, precision-recall, PRO, PIMO, Dice.

Each takes counts `(..., T)` at T map values from the highest down and gives `(...)`, NaN where it is undefined.
"""

from __future__ import annotations

import numpy as np

from unremarkable.evaluation.levels import Floats, PixelCounts

#: false-positive rate up to which PRO is integrated (Bergmann et al. 2021)
PRO_LIMIT = 0.3
#: shared false-positive rates between which PIMO is integrated (Bertoldo et al. 2024)
PIMO_BOUNDS = (1e-5, 1e-4)


def curve_metrics(counts: PixelCounts) -> dict[str, Floats]:
    """AUROC, AUPRC, AUPRO, AUPIMO, best Dice and best IoU of pooled counts; each of shape `(...)`, NaN if undefined."""
    dice, overlap = dice_and_iou(counts)
    return {
        "auroc": area_under_roc(counts.positive, counts.negative),
        "auprc": average_precision(counts.positive, counts.negative),
        "aupro": area_under_pro(counts.region, counts.negative),
        "aupimo": area_under_pimo(counts),
        "best_dice": dice.max(axis=-1),
        "best_iou": overlap.max(axis=-1),
    }


def area_under_roc(positive: Floats, negative: Floats) -> Floats:
    """How often a marked pixel lies above an unmarked one, ties counting half; of counts `(..., T)`, highest first."""
    true = np.cumsum(positive, axis=-1)
    pairs = np.einsum("...t,...t->...", true - positive / 2, negative)
    return _ratio(pairs, true[..., -1] * negative.sum(axis=-1))


def average_precision(positive: Floats, negative: Floats) -> Floats:
    """Σ (Rₙ − Rₙ₋₁) Pₙ over all map values, not interpolated; of counts `(..., T)`, highest first."""
    true, flagged = np.cumsum(positive, axis=-1), np.cumsum(positive + negative, axis=-1)
    precision = np.divide(true, flagged, out=np.zeros_like(true), where=flagged > 0)
    return _ratio(np.einsum("...t,...t->...", positive, precision), true[..., -1])


def area_under_pro(region: Floats, negative: Floats, limit: float = PRO_LIMIT) -> Floats:
    """Area under the per-region overlap against the false-positive rate up to `limit`, divided by `limit`.

    Bergmann et al., *The MVTec Anomaly Detection Dataset*, IJCV 2021: the share of a region's pixels that
    is flagged, averaged over all connected components of all masks; the false-positive rate is that of the unmarked
    pixels of all cases pooled; trapezoids, and the curve is cut exactly at `limit` by interpolation. (Widespread code
    divides by the last rate below the limit, which flatters.)

    Args:
        region: `(..., T)`, flagged shares of regions summed over regions, highest map value first.
        negative: `(..., T)`, unmarked pixels.
        limit: false-positive rate, up to 1.
    """
    overlap = np.cumsum(_shares(region), axis=-1)
    rate = np.cumsum(_shares(negative), axis=-1)
    before, start = _before(overlap), _before(rate)
    width = np.minimum(rate, limit) - np.minimum(start, limit)
    whole = rate - start
    part = np.divide(width, whole, out=np.zeros_like(whole), where=whole > 0)
    return np.einsum("...t,...t->...", width, before + (overlap - before) * part / 2) / limit


def area_under_pimo(counts: PixelCounts, bounds: tuple[float, float] = PIMO_BOUNDS) -> Floats:
    """Mean over abnormal cases of the area under their per-image overlap (recall) on a log scale of false positives.

    Bertoldo et al., *AUPIMO*, BMVC 2024: the rate is the mean, over normal cases, of the share of the case that is
    flagged; it runs between the `bounds`, and the area is divided by the log of their ratio. At a rate x the recall
    counts at the lowest threshold whose rate is at most x, so a map without contrast has 0. NaN with fewer pixels of
    normal cases than the lower bound can be told from 0 with.
    """
    low, high = bounds
    rate = np.cumsum(_shares(counts.normal), axis=-1)
    # A pixel is flagged at every x from the rate at its own value upwards.
    flagged_for = np.log(high / rate.clip(low, high)) / np.log(high / low)
    area = np.einsum("...t,...t->...", _shares(counts.image), flagged_for)
    return area if counts.normal_pixels * low >= 1 else np.full_like(area, np.nan)


def dice_and_iou(counts: PixelCounts) -> tuple[Floats, Floats]:
    """Dice and IoU of the pooled pixels when those at or above each of T map values are flagged."""
    true, false = np.cumsum(counts.positive, axis=-1), np.cumsum(counts.negative, axis=-1)
    marked = true[..., -1:]
    any_marks = np.where(marked > 0, 1.0, np.nan)
    return any_marks * _ratio(2 * true, marked + true + false), any_marks * _ratio(true, marked + false)


def _shares(column: Floats) -> Floats:
    return _ratio(column, column.sum(axis=-1, keepdims=True))


def _before(curve: Floats) -> Floats:
    """The curve one step earlier, starting at 0."""
    return np.concatenate([np.zeros_like(curve[..., :1]), curve[..., :-1]], axis=-1)


def _ratio(part: Floats, whole: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.true_divide(part, whole)
