"""The pixels of each case, counted in bins that all cases share: what resampling whole patients needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unremarkable.evaluation.areas import area_under_roc, average_precision
from unremarkable.evaluation.levels import Floats, LabelledMap, Levels, PixelCounts, columns_of

#: bins per case; fewer where more than 8,192 cases would take more memory than this leaves
BINS, MOST_COUNTS = 4096, 2**25
#: map values that are tried for the best mean over cases
CANDIDATES = 512


@dataclass(frozen=True, eq=False)
class CaseCounts:
    """C cases of which A are abnormal, in B bins from the highest map values down.

    Attributes:
        groups: `(C,)`, patients.
        abnormal: `(C,)`, whether anything is marked.
        size: `(C,)`, pixels.
        negative: `(C, B)`, unmarked pixels.
        positive, region: `(A, B)`, marked pixels, and shares of regions as in `PixelCounts`.
        dice, overlap: `(A, K)`, Dice and IoU of each case when the pixels down to each of `candidates` are flagged.
        candidates: `(K,)`, steps of the levels.
        auroc, auprc: `(A,)`, of each case's own pixels; NaN where all are marked.
        true, false: `(C,)`, marked and unmarked pixels above the threshold; None without one.
        normal_pixels: of normal cases in all.
    """

    groups: list[str]
    abnormal: NDArray[np.bool_]
    size: Floats
    negative: NDArray[np.float32]
    positive: NDArray[np.float32]
    region: NDArray[np.float32]
    dice: Floats
    overlap: Floats
    candidates: NDArray[np.int64]
    auroc: Floats
    auprc: Floats
    true: Floats | None
    false: Floats | None
    normal_pixels: int

    @property
    def marked(self) -> Floats:
        """`(A,)`, marked pixels."""
        return self.positive.sum(axis=1, dtype=np.float64)

    def pooled(self, weights: NDArray[np.float32]) -> PixelCounts:
        """The pooled counts `(R, B)` when case j counts `weights[r, j]` times."""
        abnormal, normal = weights[:, self.abnormal], weights[:, ~self.abnormal]
        per_pixel = (normal / self.size[~self.abnormal]).astype(np.float32)
        per_mark = (abnormal / self.marked).astype(np.float32)
        return PixelCounts(
            positive=(abnormal @ self.positive).astype(np.float64),
            negative=(weights @ self.negative).astype(np.float64),
            region=(abnormal @ self.region).astype(np.float64),
            image=(per_mark @ self.positive).astype(np.float64),
            normal=(per_pixel @ self.negative[~self.abnormal]).astype(np.float64),
            normal_pixels=self.normal_pixels,
        )


def count_cases(
    cases: Sequence[LabelledMap], levels: Levels, counts: PixelCounts, threshold: float | None
) -> CaseCounts:
    """Count each case in bins chosen by the pooled `counts`, and measure it by itself."""
    ends = _bin_ends(counts, len(cases))
    bin_of = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1)).astype(np.int32)
    rows: dict[str, list[NDArray[np.float32]]] = {"negative": [], "positive": [], "region": []}
    groups, abnormal, size = [], [], []
    auroc, auprc, true, false = [], [], [], []
    for index, case in enumerate(cases):
        groups.append(case.group or case.name or str(index))
        abnormal.append(case.abnormal)
        size.append(case.mask.size)
        steps, (positive, negative, region, _, _) = columns_of(case, levels)
        for name, column in (("positive", positive), ("negative", negative), ("region", region)):
            if column is not None:
                picked, weight = column
                each = None if isinstance(weight, float) else weight
                row = np.bincount(bin_of[steps[picked]], each, minlength=len(ends))
                rows[name].append(row.astype(np.float32))
        if case.abnormal:
            own, place = np.unique(steps, return_inverse=True)
            mine = [np.bincount(place[part], minlength=len(own)) for part in (case.mask.ravel(), ~case.mask.ravel())]
            auroc.append(float(area_under_roc(mine[0].astype(np.float64), mine[1].astype(np.float64))))
            auprc.append(float(average_precision(mine[0].astype(np.float64), mine[1].astype(np.float64))))
        if threshold is not None:
            above = case.values > threshold
            true.append(np.count_nonzero(above & case.mask))
            false.append(np.count_nonzero(above & ~case.mask))
    empty = np.empty((0, len(ends)), np.float32)
    tables = {name: np.stack(found) if found else empty for name, found in rows.items()}
    candidates = np.unique(np.linspace(0, len(ends) - 1, min(CANDIDATES, len(ends))).round().astype(int))
    hits = np.cumsum(tables["positive"], axis=1, dtype=np.float64)[:, candidates]
    alarms = np.cumsum(tables["negative"][np.array(abnormal)], axis=1, dtype=np.float64)[:, candidates]
    marked = tables["positive"].sum(axis=1, dtype=np.float64)[:, None]
    return CaseCounts(
        groups=groups,
        abnormal=np.array(abnormal),
        size=np.array(size, dtype=np.float64),
        **tables,
        dice=2 * hits / (marked + hits + alarms),
        overlap=hits / (marked + alarms),
        candidates=ends[candidates],
        auroc=np.array(auroc),
        auprc=np.array(auprc),
        true=None if threshold is None else np.array(true, dtype=np.float64),
        false=None if threshold is None else np.array(false, dtype=np.float64),
        normal_pixels=counts.normal_pixels,
    )


def case_means(cases: CaseCounts, weights: NDArray[np.float32]) -> dict[str, Floats]:
    """Means over cases, and Dice and IoU at the threshold, `(R,)` each, when case j counts `weights[r, j]` times."""
    abnormal, normal = weights[:, cases.abnormal], weights[:, ~cases.abnormal]
    with np.errstate(invalid="ignore"):
        found = {
            "auroc_per_image": _mean(cases.auroc, abnormal),
            "auprc_per_image": _mean(cases.auprc, abnormal),
            "best_dice_per_image": _best(cases.dice, abnormal),
            "best_iou_per_image": _best(cases.overlap, abnormal),
        }
        if cases.true is None or cases.false is None:
            return found
        true, false = cases.true[cases.abnormal], cases.false[cases.abnormal]
        hits, alarms, marked = abnormal @ true, weights @ cases.false, abnormal @ cases.marked
        return found | {
            "dice": np.where(marked > 0, 2 * hits / (marked + hits + alarms), np.nan),
            "iou": np.where(marked > 0, hits / (marked + alarms), np.nan),
            "dice_per_image": _mean(2 * true / (cases.marked + true + false), abnormal),
            "iou_per_image": _mean(true / (cases.marked + false), abnormal),
            "normal_area_flagged": _mean(cases.false[~cases.abnormal] / cases.size[~cases.abnormal], normal),
        }


def _mean(values: Floats, weights: NDArray[np.float32]) -> Floats:
    defined = ~np.isnan(values)
    used = weights[:, defined]
    return (used @ values[defined]) / used.sum(axis=1)


def _best(table: Floats, weights: NDArray[np.float32]) -> Floats:
    """The highest weighted mean of a column."""
    return (weights @ table).max(axis=1) / weights.sum(axis=1)


def _bin_ends(counts: PixelCounts, cases: int) -> NDArray[np.int64]:
    """The last step of each bin: at quantiles of marked pixels, of the others, and of these evenly in the logarithm."""
    bins = max(256, min(BINS, MOST_COUNTS // max(1, cases)))
    marked, others = np.cumsum(counts.positive), np.cumsum(counts.negative)
    ends = [np.array([len(marked) - 1])]
    if marked[-1]:
        ends.append(np.searchsorted(marked, np.linspace(0, marked[-1], bins // 2 + 1)[1:-1]))
    if others[-1]:
        ends.append(np.searchsorted(others, np.linspace(0, others[-1], bins // 4 + 1)[1:-1]))
        ends.append(np.searchsorted(others, np.geomspace(1, others[-1], bins // 4)[:-1]))
    return np.unique(np.concatenate(ends))
