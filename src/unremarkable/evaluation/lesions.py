"""Lesion metrics: which marked regions an anomaly map finds, and how many false alarms that takes.

A map thresholded at a value falls into connected components (diagonal neighbours included). By the hit rule, a lesion
is found when some component hits it, and a component that hits no lesion is a false positive:

- "iou": intersection over union of component and lesion at least `MIN_IOU`, the default; 0.1 is what detection in
  medical volumes commonly asks for (Jaeger et al. 2020). It takes size into account: a low threshold, at which
  everything is one component, finds nothing.
- "centre": the component's centre of mass lies in the lesion, as LUNA16 asks for (Setio et al. 2017).
- "overlap": they share a pixel. A component that covers the whole image finds everything without a false positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.datasets.masks import Lesion
from unremarkable.errors import UsageError, unknown_name
from unremarkable.evaluation.case_weights import patient_intervals
from unremarkable.evaluation.intervals import Interval
from unremarkable.evaluation.levels import Floats, LabelledMap
from unremarkable.evaluation.published_ra import ra_detection

HitRule = Literal["iou", "centre", "overlap"]
HIT_RULES = ("iou", "centre", "overlap")
MIN_IOU = 0.1
#: false positives per image at which LUNA16 averages the sensitivity (Setio et al. 2017)
RATES = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)


@dataclass(frozen=True, eq=False)
class Froc:
    """Free-response ROC: `(K,)` each, from the highest threshold down; a pixel is flagged above its threshold.

    Without components that merge, both rise; thresholds at which they do may lower either.
    """

    thresholds: Floats
    false_positives: Floats
    sensitivity: Floats


@dataclass(frozen=True)
class LesionMetrics:
    """What `lesion_metrics` found.

    Attributes:
        metrics: "froc" (mean sensitivity at `RATES` false positives per image), "sensitivity_at_RATE_fp" of each; with
            a threshold "sensitivity" and "false_positives_per_image" at it, and by the published RA rule "ra_detected"
            (share of the abnormal cases) and "ra_f1" (mean over them).
        froc: the curve.
        counts: "lesions" and, with a threshold, "ra_detected", the published "#det".
    """

    metrics: dict[str, Interval]
    froc: Froc
    counts: dict[str, int]


def lesion_metrics(
    cases: Sequence[LabelledMap],
    thresholds: ArrayLike,
    threshold: float | None = None,
    *,
    hit: HitRule = "iou",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> LesionMetrics:
    """Lesion metrics of maps with known lesions; false positives count in normal and abnormal cases alike.

    At a rate of false positives the sensitivity is the highest of all thresholds that make no more of them.

    Args:
        cases: maps, masks and lesions.
        thresholds: map values at which the FROC curve is drawn; none for no curve.
        threshold: the one from normals alone, or given.
        hit: hit rule.
        replicates, seed, level: of the intervals, resampled by patient; 0 replicates for none.

    Raises:
        UsageError: unknown hit rule, or no cases.
    """
    if not len(cases):
        raise UsageError("lesion metrics need at least one anomaly map with its ground truth")
    if hit not in HIT_RULES:
        raise unknown_name("hit rule", hit, HIT_RULES)
    drawn_at = np.unique(np.asarray(thresholds, dtype=np.float64))[::-1]
    found, alarms = np.zeros((len(cases), len(drawn_at))), np.zeros((len(cases), len(drawn_at)))
    per_case: dict[str, list[float]] = {name: [] for name in ("found", "alarms", "ra_detected", "ra_f1")}
    groups, marked_cases, lesion_counts = [], [], []
    for row, case in enumerate(cases):
        groups.append(case.group or case.name or str(row))
        marked_cases.append(case.abnormal)
        lesion_counts.append(len(case.lesions))
        for column, value in enumerate(drawn_at):
            found[row, column], alarms[row, column] = detect(case.values > value, case.lesions, hit)
        if threshold is not None:
            hits, false = detect(case.values > threshold, case.lesions, hit)
            detected, f1 = ra_detection(case.values, case.mask, threshold) if case.abnormal else (np.nan, np.nan)
            for name, one in zip(per_case, (hits, false, detected, f1), strict=True):
                per_case[name].append(one)
    abnormal, lesions = np.array(marked_cases), np.array(lesion_counts, dtype=np.float64)
    at_threshold = {name: np.array(column) for name, column in per_case.items()} if threshold is not None else {}

    def metrics(weights: NDArray[np.floating]) -> dict[str, Floats]:
        with np.errstate(invalid="ignore", divide="ignore"):
            images, marked = weights.sum(axis=1), weights @ lesions
            curve = (weights @ found) / marked[:, None]
            result = _at_rates(curve, (weights @ alarms) / images[:, None]) if len(drawn_at) else {}
            if at_threshold:
                result["sensitivity"] = (weights @ at_threshold["found"]) / marked
                result["false_positives_per_image"] = (weights @ at_threshold["alarms"]) / images
                for name in ("ra_detected", "ra_f1"):
                    of_abnormal = weights[:, abnormal]
                    result[name] = (of_abnormal @ at_threshold[name][abnormal]) / of_abnormal.sum(axis=1)
        return result

    counts = {"lesions": int(lesions.sum())}
    if at_threshold:
        counts["ra_detected"] = int(np.nansum(at_threshold["ra_detected"]))
    return LesionMetrics(
        metrics=patient_intervals(
            metrics,
            groups,
            abnormal,
            replicates=replicates,
            seed=seed,
            level=level,
            undefined={},
            otherwise="no lesions are marked",
        ),
        froc=Froc(drawn_at, alarms.sum(axis=0) / max(1, len(cases)), found.sum(axis=0) / max(1, lesions.sum())),
        counts=counts,
    )


def detect(flagged: NDArray[np.bool_], lesions: Sequence[Lesion], hit: HitRule = "iou") -> tuple[int, int]:
    """How many of the lesions are found, and the number of false positives, when these pixels are flagged."""
    from scipy import ndimage

    if not flagged.any():
        return 0, 0
    numbered, count = ndimage.label(flagged, ndimage.generate_binary_structure(flagged.ndim, flagged.ndim))
    hits = np.zeros((count + 1, len(lesions)), bool)
    if hit == "centre" and lesions:
        centres = np.array(ndimage.center_of_mass(flagged, numbered, np.arange(1, count + 1)))
        for column, lesion in enumerate(lesions):
            hits[1:, column] = _contains(lesion, np.floor(centres + 0.5).astype(int))
    elif lesions:
        sizes = np.bincount(numbered.ravel(), minlength=count + 1)
        for column, lesion in enumerate(lesions):
            shared = np.bincount(numbered[lesion.place][lesion.inside], minlength=count + 1)
            share = shared / (sizes + lesion.pixels - shared)
            hits[:, column] = share >= MIN_IOU if hit == "iou" else shared > 0
    hits[0] = False  # what is not flagged
    return int(hits.any(axis=0).sum()), int(count - hits.any(axis=1).sum())


def _contains(lesion: Lesion, points: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Whether each of the pixels `(n, axes)` lies in the lesion."""
    local = points - [side.start for side in lesion.place]
    near = ((local >= 0) & (local < lesion.inside.shape)).all(axis=1)
    near[near] = lesion.inside[tuple(local[near].T)]
    return near


def _at_rates(sensitivity: Floats, false_positives: Floats) -> dict[str, Floats]:
    """Of curves `(R, K)`; nothing flagged, with a sensitivity of 0, is always allowed."""
    found = {
        f"sensitivity_at_{rate:g}_fp": np.where(false_positives <= rate, sensitivity, 0 * sensitivity).max(
            axis=1, initial=0
        )
        for rate in RATES
    }
    return {"froc": np.mean(list(found.values()), axis=0), **found}
