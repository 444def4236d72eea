"""Intervals: how far a metric would move if other patients had been sampled.

Bias-corrected and accelerated bootstrap over patients (BCa: Efron 1987; Efron and Tibshirani 1993, chapter 14;
clustered as in Field and Welsh 2007). In simulation the plain percentile bootstrap holds an AUROC of 0.95, told from 20
normal and 20 abnormal patients, 90 % of the time where 95 % are promised, and nearly every miss is an interval too
high; BCa holds it 96 % of the time, and 95 % from 50 and 50.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unremarkable.evaluation.bootstrap import Resampled, resample
from unremarkable.evaluation.metrics import REASONS, Floats


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
    prevalence: float | None = None,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Every metric of the scores and, with verdicts, of the verdicts, each with its interval.

    The metrics are those of `ranking_metrics` and `VERDICT_METRICS`, and with a prevalence "ppv_at_prevalence" and
    "npv_at_prevalence". The same for any order of the cases, and under any strictly increasing transformation of the
    scores.

    Args:
        scores: `(N,)`, larger is more anomalous.
        labels: `(N,)`, 0 normal, 1 abnormal.
        groups: `(N,)`, the patient of each case; None where each case is its own.
        flagged: `(N,)` verdicts, or None.
        prevalence: share of abnormal cases to state PPV and NPV for, or None; needs verdicts.
        replicates: number of resamples; 0 for values without intervals.
        seed: of the resampling.
        level: how often the interval of a new sample should hold the truth.

    Raises:
        InputError: a score is not finite.
        UsageError: lengths differ, a label is neither 0 nor 1, fewer than 100 replicates, or an impossible prevalence.
    """
    found = resample(scores, labels, groups, flagged, prevalence=prevalence, replicates=replicates, seed=seed)
    return intervals(found, level)


def intervals(found: Resampled, level: float) -> dict[str, Interval]:
    """The interval of each metric at a level (0 to 1)."""
    return {name: _interval(found, name, level) for name in found.observed}


def _interval(found: Resampled, name: str, level: float) -> Interval:
    value, drawn, units = found.observed[name], found.drawn[name], found.units.get(name)
    if np.isnan(value):
        return Interval(None, None, None, REASONS[name])
    if not len(drawn):
        return Interval(value, None, None, "no interval asked for")
    if name in found.refused:
        return Interval(value, None, None, found.refused[name])
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
    low, high = np.quantile(defined, _shares(value, defined, found.acceleration[name], level), method="weibull")
    return Interval(value, float(low), float(high))


def _shares(value: float, drawn: Floats, acceleration: float, level: float) -> Floats:
    """The shares of the resamples below the two bounds (Efron and Tibshirani 1993, equation 14.10).

    Resamples level with the value count half, as in a rank: without, a metric with few possible values would be biased.
    """
    from scipy.special import ndtr, ndtri

    below = ((drawn < value).sum() + (drawn == value).sum() / 2) / len(drawn)
    bias = ndtri(np.clip(below, 1 / (len(drawn) + 1), len(drawn) / (len(drawn) + 1)))
    moved = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    # Of a handful of patients the divisor can pass zero, where the share has long reached its end.
    return np.asarray(ndtr(bias + moved / np.maximum(1 - acceleration * moved, 1e-9)))
