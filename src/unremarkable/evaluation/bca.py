"""The bias-corrected and accelerated bootstrap of patients: what it takes beyond the resamples themselves.

BCa: Efron 1987; Efron and Tibshirani 1993, chapter 14; of whole patients as in Field and Welsh 2007.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from unremarkable.evaluation.metrics import Floats

#: parts of a stratum that are left out one at a time; more of them would estimate the same skewness at a higher price
_PARTS = 200


def find_strata(cluster: NDArray[np.int64], abnormal: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Clusters that are drawn together: those of one class each where no cluster mixes them, else all.

    Args:
        cluster: `(N,)`, the patient of each case, numbered from 0.
        abnormal: `(N,)`, whether a case is.
    """
    normal, other = np.unique(cluster[~abnormal]), np.unique(cluster[abnormal])
    if len(np.intersect1d(normal, other)):
        return [np.unique(cluster)]
    return [stratum for stratum in (normal, other) if len(stratum)]


def accelerations(
    metrics: Callable[[Floats], dict[str, Floats]],
    cluster: NDArray[np.int64],
    strata: Sequence[NDArray[np.int64]],
    seed: int,
    block: int,
) -> dict[str, float]:
    """Skewness of the patients' influence on each metric, / 6, by the jackknife (Efron and Tibshirani 1993, 14.15).

    In several samples the third and second moments of the strata add up (Davison and Hinkley 1997, 5.3.2). Both are
    cumulants of a sum, so leaving out random parts of a stratum in place of single patients estimates the same.

    Args:
        metrics: takes weights `(B, N)` of the cases, and gives each metric `(B,)`.
        cluster: `(N,)`, the patient of each case, numbered from 0.
        strata: as `find_strata` has them.
        seed: of the parts.
        block: how many of them `metrics` is given at once.
    """
    rng = np.random.default_rng(seed)
    third: dict[str, float] = {}
    second: dict[str, float] = {}
    for stratum in strata:
        parts = min(len(stratum), _PARTS)
        part = np.full(int(cluster.max()) + 1, -1)
        part[stratum] = rng.permutation(len(stratum)) % parts
        part = part[cluster]
        found: dict[str, list[Floats]] = {}
        for first in range(0, parts, block):
            left_out = np.arange(first, min(first + block, parts))
            with np.errstate(invalid="ignore", divide="ignore"):  # without its only patient a class has no mean
                jackknife = metrics((part != left_out[:, None]).astype(np.float64))
            for name, value in jackknife.items():
                found.setdefault(name, []).append(value)
        for name, values in found.items():
            jackknifed = np.concatenate(values).astype(np.float64)
            influence = (parts - 1) / parts * (jackknifed.mean() - jackknifed)
            third[name] = third.get(name, 0.0) + float((influence**3).sum())
            second[name] = second.get(name, 0.0) + float((influence**2).sum())
    # Where leaving someone out leaves a metric undefined (NaN), or nothing moves it, no skewness can be told.
    return {name: third[name] / (6 * second[name] ** 1.5) if second[name] > 0 else 0.0 for name in third}


def bca_bounds(value: float, drawn: Floats, acceleration: float, level: float) -> tuple[float, float]:
    """The two bounds (Efron and Tibshirani 1993, equations 14.9 and 14.10).

    Args:
        value: the metric in the sample.
        drawn: `(R,)`, the same in the resamples, without NaN.
        acceleration: as `accelerations` has it.
        level: how often the interval of a new sample should hold the truth.
    """
    from scipy.special import ndtr, ndtri

    # Resamples level with the value count half, as in a rank: without, a metric with few possible values is biased.
    # Equal sums taken in another order differ by rounding, which must not tell them apart.
    level_with = np.abs(drawn - value) <= 1e-5 * np.ptp(drawn)
    below = ((drawn[~level_with] < value).sum() + level_with.sum() / 2) / len(drawn)
    bias = ndtri(np.clip(below, 1 / (len(drawn) + 1), len(drawn) / (len(drawn) + 1)))
    moved = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    # Of a handful of patients the divisor can pass zero, where the share has long reached its end.
    shares = ndtr(bias + moved / np.maximum(1 - acceleration * moved, 1e-9))
    low, high = np.quantile(drawn, shares, method="weibull")
    return float(low), float(high)
