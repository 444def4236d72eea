"""Pixel metrics: how well anomaly maps find the marked pixels, over all cases pooled and per image.

Maps and masks are compared on the image's own pixel grid: maps are enlarged to it, and masks are never resized, which
alone moves these figures. Point values are counted over every pixel: exactly, of maps as float32, up to four million
pixels; of more, map values are told apart in four million steps (`levels.EqualSteps`), and `PixelMetrics.auroc_error`
bounds what that costs. For the intervals, patients are resampled with the pixels of each case counted in at most 4,096
quantile bins, half of them between marked pixels, a quarter each evenly and on a log scale between the others; AUROC
moves by less than 0.001 through that. The best Dice and IoU per image are the best of 512 of these bins' bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unremarkable.evaluation.areas import PIMO_BOUNDS, curve_metrics, dice_and_iou
from unremarkable.evaluation.case_weights import patient_intervals
from unremarkable.evaluation.intervals import Interval
from unremarkable.evaluation.levels import EveryValue, Floats, LabelledMap, Levels, PixelCounts, count_pixels, levels_of
from unremarkable.evaluation.pixel_cases import CaseCounts, case_means, count_cases

#: thresholds of the FROC curve
ALARM_LEVELS = 32
#: metrics whose threshold is chosen on the labels that they are measured on
ON_TEST_LABELS = ("best_dice", "best_iou", "best_dice_per_image", "best_iou_per_image")
REASONS = {
    "auroc": "needs marked and unmarked pixels",
    "auprc": "needs marked pixels",
    "aupro": "needs marked and unmarked pixels",
    "aupimo": f"needs abnormal cases with marks, and {1 / PIMO_BOUNDS[0]:,.0f} pixels of normal cases or more",
    "normal_area_flagged": "needs normal cases",
}
_NO_MARKS = "needs abnormal cases with marks"


@dataclass(frozen=True)
class PixelMetrics:
    """What `pixel_metrics` found.

    Attributes:
        metrics: each with its interval. Over the pooled pixels: "auroc", "auprc" (average precision), "aupro",
            "best_dice", "best_iou". Means over abnormal cases: "aupimo", "auroc_per_image", "auprc_per_image",
            "best_dice_per_image", "best_iou_per_image" (one threshold for all). With a threshold: "dice", "iou",
            "dice_per_image", "iou_per_image", and "normal_area_flagged", the mean share of a normal case above it.
        thresholds: map values which the pixels exceed that the metrics in `ON_TEST_LABELS` flag.
        alarm_levels: map values that shares of 0.00001 to 0.5 of the unmarked pixels exceed, evenly in the logarithm.
        auroc_error: AUROC is exact to this, map values that share a step being taken for ties.
    """

    metrics: dict[str, Interval]
    thresholds: dict[str, float]
    alarm_levels: tuple[float, ...]
    auroc_error: float


def pixel_metrics(
    cases: Sequence[LabelledMap],
    threshold: float | None = None,
    *,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> PixelMetrics:
    """Pixel metrics of maps with known ground truth; `cases` is gone through three times and may load them as it goes.

    Args:
        cases: maps and masks.
        threshold: map value above which a pixel is flagged; from normals alone, or given.
        replicates, seed, level: of the intervals, resampled by patient; 0 replicates for none.

    Raises:
        InputError: a map has values that are not finite, or another shape than its mask; names the case.
        UsageError: there are no cases.
    """
    levels = levels_of(cases)
    counts = count_pixels(cases, levels)
    values = curve_metrics(counts)
    by_case = count_cases(cases, levels, counts, threshold)

    def metrics(weights: NDArray[np.floating]) -> dict[str, Floats]:
        counted = weights.astype(np.float32, copy=False)
        return curve_metrics(by_case.pooled(counted)) | case_means(by_case, counted)

    everyone = np.ones((1, len(by_case.groups)), np.float32)
    values |= {name: value[0] for name, value in case_means(by_case, everyone).items()}
    return PixelMetrics(
        metrics=patient_intervals(
            metrics,
            by_case.groups,
            by_case.abnormal,
            replicates=replicates,
            seed=seed,
            level=level,
            undefined=REASONS,
            otherwise=_NO_MARKS,
            values={name: float(value) for name, value in values.items()},
        ),
        thresholds=_thresholds(levels, counts, by_case),
        alarm_levels=_alarm_levels(levels, counts),
        auroc_error=0.0 if isinstance(levels, EveryValue) else _auroc_error(counts),
    )


def _thresholds(levels: Levels, counts: PixelCounts, by_case: CaseCounts) -> dict[str, float]:
    """Where the best Dice and IoU of the pooled pixels, and of the mean over cases, are reached."""
    if not counts.positive.any():
        return {}
    steps = {
        name: int(found.argmax()) for name, found in zip(("best_dice", "best_iou"), dice_and_iou(counts), strict=True)
    }
    means = {"best_dice_per_image": by_case.dice, "best_iou_per_image": by_case.overlap}
    steps |= {name: int(by_case.candidates[found.mean(axis=0).argmax()]) for name, found in means.items()}
    return {name: levels.threshold(step) for name, step in steps.items()}


def _alarm_levels(levels: Levels, counts: PixelCounts) -> tuple[float, ...]:
    flagged = np.cumsum(counts.negative)
    steps = np.searchsorted(flagged, np.geomspace(1e-5, 0.5, ALARM_LEVELS) * flagged[-1])
    return tuple(levels.threshold(int(step)) for step in np.unique(steps))


def _auroc_error(counts: PixelCounts) -> float:
    """Half of the pairs that share a step, which is all that ties can hide."""
    pairs = counts.positive.sum() * counts.negative.sum()
    return float(counts.positive @ counts.negative / 2 / pairs) if pairs else 0.0
