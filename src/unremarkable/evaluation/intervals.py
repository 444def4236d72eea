"""Intervals: how far a metric would move if other patients had been sampled.

Percentile bootstrap over patients (Efron and Tibshirani 1993, chapter 13; clustered as in Field and Welsh 2007): whole
patients are drawn with replacement, all their cases with them. Where each patient has cases of one class only, normal
and abnormal patients are drawn separately, so every replicate has the classes' published proportions; otherwise all
are drawn together, and replicates that lack a class are left out of the metrics that need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.errors import UsageError
from unremarkable.evaluation.metrics import REASONS, VERDICT_METRICS, Floats, ranking_metrics
from unremarkable.scoring.checks import binary_labels, finite_scores

#: values held at once, in replicates × cases: few enough to stay in the processor's cache
_BLOCK = 30_000


@dataclass(frozen=True)
class Interval:
    """A value with its interval. What is None is undefined, and `reason` says why; else `reason` is None."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """`{"value", "low", "high"}`, with `"reason"` where there is one."""
        bounds = {"value": self.value, "low": self.low, "high": self.high}
        return bounds if self.reason is None else {**bounds, "reason": self.reason}


def bootstrap(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    flagged: ArrayLike | None = None,
    *,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """AUROC and AUPRC of the scores and, with verdicts, every verdict metric, each with its interval.

    The same for any order of the cases, and under any strictly increasing transformation of the scores.

    Args:
        scores: `(N,)`, larger is more anomalous.
        labels: `(N,)`, 0 normal, 1 abnormal.
        groups: `(N,)`, the patient of each case; None where each case is its own.
        flagged: `(N,)` verdicts, or None.
        replicates: number of resamples; 0 for values without intervals.
        seed: of the resampling.
        level: share of the resampled values inside the interval.

    Raises:
        InputError: a score is not finite.
        UsageError: lengths differ, a label is neither 0 nor 1, or fewer than 100 replicates.
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

    sample = _Sample(ranked, abnormal, verdict)
    strata = _strata(cluster, abnormal)
    column = np.empty(int(cluster.max()) + 1, dtype=np.int64)
    column[np.concatenate(strata)] = np.arange(len(column))
    column = column[cluster]
    # A generator for each stratum, so that the draws do not depend on the block size.
    draws = list(zip(np.random.default_rng(seed).spawn(len(strata)), map(len, strata), strict=True))
    observed = sample.metrics(np.ones((1, len(order))))
    drawn: dict[str, list[Floats]] = {name: [np.empty(0)] for name in observed}
    block = max(1, _BLOCK // len(order))
    for start in range(0, replicates, block):
        counts = _draw(draws, min(block, replicates - start))
        for name, value in sample.metrics(counts.take(column, axis=1)).items():
            drawn[name].append(value)
    units = _units(cluster, abnormal, verdict)
    return {
        name: _interval(name, float(observed[name][0]), np.concatenate(drawn[name]), units[name], level)
        for name in observed
    }


class _Sample:
    """The cases from the highest score, ready to be weighted many times over."""

    def __init__(self, ranked: Floats, abnormal: NDArray[np.bool_], verdict: NDArray[np.bool_] | None) -> None:
        self.starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
        self.tied = len(self.starts) < len(ranked)
        self.abnormal = abnormal.astype(np.float64)
        self.verdict = None if verdict is None else verdict.astype(np.float64)

    def metrics(self, weights: Floats) -> dict[str, Floats]:
        """Every metric, each `(B,)`, when case j counts `weights[b, j]` times."""
        positive = weights * self.abnormal
        negative = weights - positive
        result: dict[str, Floats] = {}
        if self.verdict is not None:
            tp, fp = positive @ self.verdict, negative @ self.verdict
            tn, fn = negative.sum(axis=1) - fp, positive.sum(axis=1) - tp
            result = {name: metric(tp, fp, tn, fn) for name, metric in VERDICT_METRICS.items()}
        if self.tied:
            positive = np.add.reduceat(positive, self.starts, axis=1)
            negative = np.add.reduceat(negative, self.starts, axis=1)
        return ranking_metrics(positive, negative) | result


def _strata(cluster: NDArray[np.int64], abnormal: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Clusters that are drawn together: those of one class each where no cluster mixes them, else all."""
    normal, other = np.unique(cluster[~abnormal]), np.unique(cluster[abnormal])
    if len(np.intersect1d(normal, other)):
        return [np.unique(cluster)]
    return [stratum for stratum in (normal, other) if len(stratum)]


def _draw(strata: Sequence[tuple[np.random.Generator, int]], replicates: int) -> Floats:
    """How often each cluster is drawn, `(replicates, clusters)`, stratum after stratum of these sizes."""
    counts = []
    for rng, size in strata:
        picks = rng.integers(size, size=(replicates, size)) + np.arange(replicates)[:, None] * size
        counts.append(np.bincount(picks.ravel(), minlength=replicates * size).reshape(replicates, size))
    return np.concatenate(counts, axis=1).astype(np.float64)


def _units(
    cluster: NDArray[np.int64], abnormal: NDArray[np.bool_], verdict: NDArray[np.bool_] | None
) -> dict[str, int | None]:
    """Independent patients that each metric rests on; None where no exact bound is known."""

    def count(cases: NDArray[np.bool_]) -> int:
        return len(np.unique(cluster[cases]))

    units: dict[str, int | None] = {"auroc": min(count(abnormal), count(~abnormal)), "auprc": None, "f1": None}
    if verdict is not None:
        units |= {
            "sensitivity": count(abnormal),
            "specificity": count(~abnormal),
            "accuracy": count(np.ones_like(abnormal)),
            "precision": count(verdict),
            "npv": count(~verdict),
        }
    return units


def _interval(name: str, value: float, drawn: Floats, units: int | None, level: float) -> Interval:
    if np.isnan(value):
        return Interval(None, None, None, REASONS[name])
    if not len(drawn):
        return Interval(value, None, None, "no interval asked for")
    defined = drawn[~np.isnan(drawn)]
    if 2 * len(defined) < len(drawn):
        return Interval(value, None, None, "undefined in most resamples: too few patients")
    if defined.min() == defined.max():
        if value not in (0.0, 1.0) or units is None:
            return Interval(value, None, None, "all resamples agree, which bounds nothing")
        # Of n patients without exception the share is at least tail^(1 / n) (Clopper and Pearson 1934); an AUROC of 1
        # has n disjoint pairs of a normal and an abnormal patient without exception.
        bound = ((1 - level) / 2) ** (1 / units)
        return Interval(value, bound, 1.0) if value == 1.0 else Interval(value, 0.0, 1 - bound)
    low, high = np.quantile(defined, ((1 - level) / 2, (1 + level) / 2))
    return Interval(value, float(low), float(high))
