"""Resampling of patients: every metric on many samples drawn from the one at hand, whole patients at a time.

Where each patient has cases of one class only, normal and abnormal patients are drawn separately, so every replicate
has the sample's own proportions; otherwise all are drawn together, and replicates that lack a class are left out of
the metrics that need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.errors import UsageError
from unremarkable.evaluation.bca import accelerations, find_strata
from unremarkable.evaluation.metrics import VERDICT_METRICS, Floats, predictive_values, ranking_metrics
from unremarkable.scoring.checks import binary_labels, finite_scores

#: values held at once, in replicates × cases: few enough to stay in the processor's cache
_BLOCK = 30_000


@dataclass(frozen=True, eq=False)
class Resampled:
    """What `resample` found, each by the metric's name.

    Attributes:
        observed: the value in the sample; NaN where undefined.
        drawn: `(R,)` values in the resamples; NaN where undefined.
        acceleration: how the standard error moves with the value, for BCa intervals.
        units: the independent patients that the metric rests on, where an exact bound is known.
        refused: why a metric can have no interval from this sample, where it can have none.
    """

    observed: dict[str, float]
    drawn: dict[str, Floats]
    acceleration: dict[str, float]
    units: dict[str, int]
    refused: dict[str, str]


def resample(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    flagged: ArrayLike | None = None,
    *,
    prevalence: float | None = None,
    replicates: int = 2000,
    seed: int = 0,
) -> Resampled:
    """Every metric of the scores and of the verdicts, if there are any, in the sample and in its resamples.

    The same for any order of the cases, and under any strictly increasing transformation of the scores.

    Args:
        scores: `(N,)`, larger is more anomalous.
        labels: `(N,)`, 0 normal, 1 abnormal.
        groups: `(N,)`, the patient of each case; None where each case is its own.
        flagged: `(N,)` verdicts, or None.
        prevalence: share of abnormal cases to state PPV and NPV for, or None; needs verdicts.
        replicates: number of resamples; 0 for values only.
        seed: of the resampling.

    Raises:
        InputError: a score is not finite.
        UsageError: lengths differ, a label is neither 0 nor 1, fewer than 100 replicates, or an impossible prevalence.
    """
    values = finite_scores(scores)
    abnormal = binary_labels(labels, len(values))
    verdict = None if flagged is None else np.asarray(flagged, dtype=bool)
    if len(values) == 0 or (groups is not None and len(groups) != len(values)):
        raise UsageError("an evaluation needs at least one case, and one group for each")
    if verdict is not None and verdict.shape != values.shape:
        raise UsageError(f"{len(values)} scores and {verdict.size} verdicts: each case needs one of each")
    if replicates and replicates < 100:
        raise UsageError(f"{replicates} replicates give no usable interval; take 2000, at least 100, or 0 for none")

    # One canonical order, from the highest score, makes the resampling the same for any order of the input.
    keys = [abnormal, -values] if verdict is None else [verdict, abnormal, -values]
    order = np.lexsort(keys)
    ranked, abnormal = values[order], abnormal[order]
    verdict = None if verdict is None else verdict[order]
    cluster = np.arange(len(order)) if groups is None else np.unique(np.asarray(groups)[order], return_inverse=True)[1]

    sample = _Sample(ranked, abnormal, verdict, prevalence)
    strata = find_strata(cluster, abnormal)
    column = np.empty(int(cluster.max()) + 1, dtype=np.int64)
    column[np.concatenate(strata)] = np.arange(len(column))
    column = column[cluster]
    sizes = [len(stratum) for stratum in strata]
    observed = sample.metrics(np.ones((1, len(order))))
    drawn: dict[str, list[Floats]] = {name: [np.empty(0)] for name in observed}
    block = max(1, _BLOCK // len(order))
    # A generator for each stratum, so that the draws do not depend on the block size.
    draws = list(zip(np.random.default_rng(seed).spawn(len(strata)), sizes, strict=True))
    for start in range(0, replicates, block):
        counts = _draw(draws, min(block, replicates - start))
        for name, value in sample.metrics(counts.take(column, axis=1)).items():
            drawn[name].append(value)
    return Resampled(
        observed={name: float(value[0]) for name, value in observed.items()},
        drawn={name: np.concatenate(parts) for name, parts in drawn.items()},
        acceleration=accelerations(sample.metrics, cluster, strata, seed, block) if replicates else {},
        units=_units(cluster, abnormal, verdict),
        refused=_refused(len(np.unique(cluster[~abnormal])), len(np.unique(cluster[abnormal]))),
    )


class _Sample:
    """The cases from the highest score, ready to be weighted many times over."""

    def __init__(
        self,
        ranked: Floats,
        abnormal: NDArray[np.bool_],
        verdict: NDArray[np.bool_] | None,
        prevalence: float | None,
    ) -> None:
        self.starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
        self.tied = len(self.starts) < len(ranked)
        self.abnormal = abnormal.astype(np.float64)
        self.verdict = None if verdict is None else verdict.astype(np.float64)
        self.prevalence = prevalence

    def metrics(self, weights: Floats) -> dict[str, Floats]:
        """Every metric, each `(B,)`, when case j counts `weights[b, j]` times."""
        positive = weights * self.abnormal
        negative = weights - positive
        result: dict[str, Floats] = {}
        if self.verdict is not None:
            tp, fp = positive @ self.verdict, negative @ self.verdict
            tn, fn = negative.sum(axis=1) - fp, positive.sum(axis=1) - tp
            result = {name: metric(tp, fp, tn, fn) for name, metric in VERDICT_METRICS.items()}
            if self.prevalence is not None:
                ppv, npv = predictive_values(result["sensitivity"], result["specificity"], self.prevalence)
                result |= {"ppv_at_prevalence": ppv, "npv_at_prevalence": npv}
        if self.tied:
            positive = np.add.reduceat(positive, self.starts, axis=1)
            negative = np.add.reduceat(negative, self.starts, axis=1)
        return ranking_metrics(positive, negative) | result


def _draw(strata: Sequence[tuple[np.random.Generator, int]], replicates: int) -> Floats:
    """How often each cluster is drawn, `(replicates, clusters)`, stratum after stratum of these sizes."""
    counts = []
    for rng, size in strata:
        picks = rng.integers(size, size=(replicates, size)) + np.arange(replicates)[:, None] * size
        counts.append(np.bincount(picks.ravel(), minlength=replicates * size).reshape(replicates, size))
    return np.concatenate(counts, axis=1).astype(np.float64)


def _units(
    cluster: NDArray[np.int64], abnormal: NDArray[np.bool_], verdict: NDArray[np.bool_] | None
) -> dict[str, int]:
    def count(cases: NDArray[np.bool_]) -> int:
        return len(np.unique(cluster[cases]))

    units = {"auroc": min(count(abnormal), count(~abnormal))}
    if verdict is not None:
        units |= {
            "sensitivity": count(abnormal),
            "specificity": count(~abnormal),
            "accuracy": count(np.ones_like(abnormal)),
            "precision": count(verdict),
            "npv": count(~verdict),
        }
    return units


def _refused(normal: int, abnormal: int) -> dict[str, str]:
    """Metrics whose threshold is the lowest or highest score of a class: resamples of an extreme tell nothing.

    The bootstrap of the smallest of n is inconsistent (Bickel and Freedman 1981, section 6); it becomes a quantile
    once more than one patient may lie beyond it.
    """
    have = {
        "fpr_at_tpr95": (abnormal, 20),
        "fpr_at_tpr99": (abnormal, 100),
        "sensitivity_at_specificity95": (normal, 20),
    }
    side = {name: "normal" if name.startswith("sensitivity") else "abnormal" for name in have}
    return {
        name: f"no interval from fewer than {needed} {side[name]} patients"
        for name, (patients, needed) in have.items()
        if patients < needed
    }
