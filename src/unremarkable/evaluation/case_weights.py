"""Resampling whole patients, for metrics that are sums over cases: percentile bootstrap, as Field and Welsh 2007."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.evaluation.intervals import Interval

#: replicates held at once: few enough that what is counted for them stays in the processor's cache
BLOCK = 16


def case_weights(
    groups: Sequence[str], abnormal: ArrayLike, replicates: int, seed: int, block: int = BLOCK
) -> Iterator[NDArray[np.float32]]:
    """How often each of N cases counts in each replicate, in blocks `(at most block, N)`.

    Patients are drawn with replacement, all their cases with them: normal and abnormal ones apart where no patient has
    cases of both, else all together. The same for any order of the cases.

    Args:
        groups: `(N,)`, the patient of each case.
        abnormal: `(N,)`, whether a case is.
        replicates: resamples in all.
        seed: of the drawing.
        block: resamples that are held at once.
    """
    label = np.asarray(abnormal, dtype=bool)
    cluster = np.unique(np.asarray(groups), return_inverse=True)[1]
    normal, other = np.unique(cluster[~label]), np.unique(cluster[label])
    strata = [np.union1d(normal, other)] if len(np.intersect1d(normal, other)) else [normal, other]
    generators = np.random.default_rng(seed).spawn(len(strata))
    for start in range(0, replicates, block):
        rows = min(block, replicates - start)
        counts = np.zeros((rows, int(cluster.max()) + 1), np.float32)
        for rng, members in zip(generators, strata, strict=True):
            if len(members):
                drawn = members[rng.integers(len(members), size=(rows, len(members)))]
                np.add.at(counts, (np.arange(rows)[:, None], drawn), 1)
        yield counts[:, cluster]


def interval_of(value: float, drawn: Sequence[float] | NDArray[np.floating], level: float, reason: str) -> Interval:
    """The percentile interval of resampled values; `reason` says why the value is undefined where it is NaN."""
    if np.isnan(value):
        return Interval(None, None, None, reason)
    values = np.asarray(drawn, dtype=np.float64)
    if not len(values):
        return Interval(float(value), None, None, "no interval asked for")
    defined = values[~np.isnan(values)]
    if 2 * len(defined) < len(values):
        return Interval(float(value), None, None, "undefined in most resamples: too few patients")
    low, high = np.quantile(defined, ((1 - level) / 2, (1 + level) / 2))
    if low == high:
        return Interval(float(value), None, None, "the resamples agree, which bounds nothing")
    return Interval(float(value), float(low), float(high))
