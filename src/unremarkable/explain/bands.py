"""Pointwise bootstrap bands of the ROC and precision-recall curves.

Whole patients are drawn with replacement, normal and abnormal ones apart where no patient has both, as for the
intervals of the areas (Efron and Tibshirani 1993, chapter 13). At each place on the x axis the band holds the middle
`level` of the resampled curves: it is pointwise, and a whole curve leaves it somewhere more often than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.errors import UsageError
from unremarkable.evaluation.case_weights import case_weights
from unremarkable.scoring.checks import binary_labels, finite_scores

Floats = NDArray[np.float64]
_PLACES = 101


@dataclass(frozen=True, eq=False)
class Band:
    """Between `low` and `high` at each of `x`, `(101,)` each."""

    x: Floats
    low: Floats
    high: Floats


def roc_band(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Band:
    """Band of the sensitivity at each false-positive rate; `groups` names each case's patient.

    Raises:
        InputError: a score is not finite.
        UsageError: labels of one class only, or another number of groups.
    """
    x = np.linspace(0, 1, _PLACES)
    curves = [
        np.interp(x, np.append(0, false / false[-1]), np.append(0, true / true[-1]))
        for true, false in _resampled(scores, labels, groups, replicates, seed)
    ]
    return _middle(x, curves, level)


def pr_band(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Band:
    """Band of the precision where each recall is first reached; else as `roc_band`."""
    x = np.linspace(0, 1, _PLACES)
    curves = []
    for true, false in _resampled(scores, labels, groups, replicates, seed):
        # Recall 0 is taken as the first step above it: with nothing flagged there is no precision.
        place = np.searchsorted(true, np.maximum(x * true[-1], 1) - 1e-9)
        curves.append(true[place] / (true[place] + false[place]))
    return _middle(x, curves, level)


def _resampled(
    scores: ArrayLike, labels: ArrayLike, groups: Sequence[str] | None, replicates: int, seed: int
) -> Iterator[tuple[Floats, Floats]]:
    """True and false positives at each distinct score, from high to low, of each resample that has both classes."""
    values = finite_scores(scores)
    abnormal = binary_labels(labels, len(values))
    if not 0 < abnormal.sum() < len(abnormal):
        raise UsageError("a curve needs both normal and abnormal cases")
    if groups is not None and len(groups) != len(values):
        raise UsageError(f"{len(groups)} groups for {len(values)} scores: each case needs one")
    # Sorted first, so that the order in which the cases came changes nothing.
    order = np.lexsort((abnormal, -values))
    values, abnormal = values[order], abnormal[order]
    # Cases without a patient are their own: their numbers sort as they stand.
    patients = [f"{i:012d}" for i in range(len(order))] if groups is None else [groups[i] for i in order]
    last_of_tie = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    for weights in case_weights(patients, abnormal, replicates, seed):
        true = np.cumsum(weights * abnormal, axis=1, dtype=np.float64)[:, last_of_tie]
        false = np.cumsum(weights * ~abnormal, axis=1, dtype=np.float64)[:, last_of_tie]
        for row in np.flatnonzero((true[:, -1] > 0) & (false[:, -1] > 0)):
            yield true[row], false[row]


def _middle(x: Floats, curves: list[Floats], level: float) -> Band:
    if not curves:
        raise UsageError("a band needs at least one resample with both classes; ask for more replicates")
    low, high = np.quantile(curves, ((1 - level) / 2, (1 + level) / 2), axis=0)
    return Band(x, low, high)
