"""Do the p-values keep their promise? On normals, a share of at most alpha should have p ≤ alpha, for every alpha.

The p-values of one model share its calibration normals, so even where the promise holds on average the share of one
model lies off alpha: of m new normals, the number with p ≤ alpha follows a beta-binomial distribution with
parameters l and n + 1 − l, l = floor(alpha (n + 1)), for n calibration normals (Vovk 2012; Bates et al. 2023,
section 2). Excess is judged against that, not against the binomial with alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.errors import UsageError
from unremarkable.evaluation.intervals import Interval, bootstrap
from unremarkable.evaluation.metrics import brier
from unremarkable.scoring.checks import binary_labels

ALPHAS = (0.01, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class AlarmRate:
    """The normals with p ≤ `alpha`: their share with its interval, and what to expect of it.

    `expected` is the share that the calibration promises on average, and `p_excess` the probability of as many or
    more such normals if the promise holds; each None where it is unknown.
    """

    alpha: float
    flagged: int
    share: Interval
    expected: float | None
    p_excess: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible form."""
        return {**vars(self), "share": self.share.to_dict()}


@dataclass(frozen=True)
class PValueCalibration:
    """The p-values of the normals of a labelled set against the uniform distribution.

    Attributes:
        normals, patients: how many of each; `calibration_normals`: how many the p-values were made with, or None.
        rates: one a level of alpha.
        interval: how the intervals of the shares were made.
        ks_excess: the most by which the share of normals with p ≤ t exceeds t, over all t (one-sided Kolmogorov
            distance). 0 is a promise kept everywhere: p-values from ranks may be too large, not too small.
        ks_distance: the two-sided Kolmogorov distance to the uniform distribution; of p-values in steps of
            1 / (n + 1) at least about half a step.
        brier_of_one_minus_p: mean squared difference of 1 − p and the label, over normals and abnormal cases. It is no
            Brier score of a probability of disease, which 1 − p is not: perfect p-values of normals are uniform and
            contribute a third each. It only compares p-values made from the same number of normals.
    """

    normals: int
    patients: int
    calibration_normals: int | None
    rates: tuple[AlarmRate, ...]
    interval: str
    ks_excess: float | None
    ks_distance: float | None
    brier_of_one_minus_p: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible form."""
        return {**vars(self), "rates": [rate.to_dict() for rate in self.rates]}


def p_value_calibration(
    p_values: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    calibration_normals: int | None = None,
    alphas: Sequence[float] = ALPHAS,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> PValueCalibration:
    """Check p-values on cases whose labels are known.

    Intervals are exact (Clopper and Pearson 1934) where each patient has one normal case; else they are bootstrap
    intervals over patients, and no `p_excess` is given, for several images of one patient are no independent trials.

    Args:
        p_values: `(N,)`, between 0 and 1.
        labels: `(N,)`, 0 normal, 1 abnormal.
        groups: `(N,)`, the patient of each case; None where each case is its own.
        calibration_normals: how many normals the p-values were made with, where known.
        alphas: the levels to check.
        replicates, seed: of the bootstrap.
        level: of the intervals.

    Raises:
        UsageError: a p-value outside 0 to 1 or NaN, lengths differ, no cases, or a label that is neither 0 nor 1.
    """
    values = np.atleast_1d(np.asarray(p_values, dtype=np.float64))
    if values.ndim != 1 or not len(values) or not ((values >= 0) & (values <= 1)).all():
        raise UsageError("p-values are numbers between 0 and 1, one for each of at least one case")
    normal = ~binary_labels(labels, len(values))
    patients = np.arange(len(values)) if groups is None else np.asarray(groups)
    if patients.shape != values.shape:
        raise UsageError(f"{patients.size} groups for {len(values)} p-values: each case needs one")
    found, owners = values[normal], [str(owner) for owner in patients[normal]]
    independent = len(set(owners)) == len(owners)
    rates = []
    for alpha in alphas:
        flagged = found <= alpha
        share = exact_share(int(flagged.sum()), len(found), level)
        if not independent:
            share = _clustered_share(flagged, owners, replicates, seed, level)
        expected, excess = _promise(alpha, int(flagged.sum()), len(found), calibration_normals)
        rates.append(AlarmRate(alpha, int(flagged.sum()), share, expected, excess if independent else None))
    above, below = _distances(found)
    return PValueCalibration(
        normals=len(found),
        patients=len(set(owners)),
        calibration_normals=calibration_normals,
        rates=tuple(rates),
        interval="exact binomial" if independent else "bootstrap over patients",
        ks_excess=above,
        ks_distance=None if above is None or below is None else max(above, below),
        brier_of_one_minus_p=brier(1 - values, ~normal),
    )


def exact_share(count: int, of: int, level: float = 0.95) -> Interval:
    """The share `count / of` of independent trials with its exact interval (Clopper and Pearson 1934)."""
    if not of:
        return Interval(None, None, None, "needs normal cases")
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(count, of - count + 1, tail)) if count else 0.0
    high = float(betaincinv(count + 1, of - count, 1 - tail)) if count < of else 1.0
    return Interval(count / of, low, high)


def _promise(alpha: float, flagged: int, normals: int, calibration: int | None) -> tuple[float | None, float | None]:
    """The expected share with p ≤ alpha, and the probability of `flagged` or more."""
    if calibration is None or not normals:
        return None, None
    ranks = np.arange(1, calibration + 2)
    allowed = int((ranks / (calibration + 1) <= alpha).sum())
    if allowed in (0, calibration + 1):
        return allowed / (calibration + 1), 1.0 if allowed or not flagged else 0.0
    from scipy.stats import betabinom

    excess = float(betabinom.sf(flagged - 1, normals, allowed, calibration + 1 - allowed))
    return allowed / (calibration + 1), excess


def _distances(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Largest excess of the distribution function over t, and of t over it; both at least 0."""
    if not len(values):
        return None, None
    ordered, steps = np.sort(values), np.arange(len(values) + 1) / len(values)
    return max(0.0, float((steps[1:] - ordered).max())), max(0.0, float((ordered - steps[:-1]).max()))


def _clustered_share(
    flagged: NDArray[np.bool_], owners: Sequence[str], replicates: int, seed: int, level: float
) -> Interval:
    # The share of normals that a verdict clears is its specificity, and bootstrapped as such.
    nothing = np.zeros(len(flagged), dtype=int)
    drawn = bootstrap(nothing, nothing, owners, ~flagged, replicates=replicates, seed=seed, level=level)
    return drawn["specificity"]
