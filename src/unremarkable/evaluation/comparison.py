"""Tests between detectors on the same cases: the AUROCs of correlated ROC curves, and many comparisons at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.errors import UsageError
from unremarkable.evaluation.metrics import Floats
from unremarkable.scoring.checks import binary_labels, finite_scores

#: a variance that differences between equal shares leave by rounding
_ROUNDING = 1e-18


@dataclass(frozen=True)
class AurocDifference:
    """The AUROC of a first detector minus that of a second on the same cases.

    Attributes:
        first, second: their names.
        auroc_first, auroc_second, difference: None where a class is missing.
        patients: independent patients that the test rests on.
        low, high: interval of the difference.
        standard_error: of the difference.
        z, p_value: of the two-sided test that the AUROCs are equal.
        p_holm: the p-value adjusted for all comparisons that were made together (`all_pairs`), else None.
        reason: why something is None, or None.
    """

    first: str
    second: str
    auroc_first: float | None
    auroc_second: float | None
    difference: float | None
    patients: int
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    z: float | None = None
    p_value: float | None = None
    p_holm: float | None = None
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible form."""
        return asdict(self)


def delong(
    first: ArrayLike,
    second: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    names: tuple[str, str] = ("first", "second"),
    level: float = 0.95,
) -> AurocDifference:
    """Test whether two detectors have the same AUROC on the same cases (DeLong et al. 1988).

    By midranks, as Sun and Xu (2014), which takes O(N log N) and counts ties half; with several cases of a patient,
    the variance is that of Obuchowski (1997, equations 4 and 5), which is DeLong's where each patient has one.

    Where the variance is zero, every patient speaks for the same difference, and no more can be said of it: there is
    no interval, and the p-value is 1 for a difference of 0 and undefined for any other.

    Args:
        first, second: `(N,)` scores of the two detectors; larger is more anomalous.
        labels: `(N,)`, 0 normal, 1 abnormal.
        groups: `(N,)`, the patient of each case; None where each case is its own.
        names: of the detectors, for the record.
        level: of the interval.

    Raises:
        InputError: a score is not finite.
        UsageError: lengths differ, or a label is neither 0 nor 1.
    """
    scores = finite_scores(first), finite_scores(second)
    abnormal = binary_labels(labels, len(scores[0]))
    if len(scores[1]) != len(abnormal) or (groups is not None and len(groups) != len(abnormal)):
        raise UsageError(
            "two detectors are compared on the same cases: one score of each, and one group, for every case"
        )
    cluster = np.arange(len(abnormal)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    patients = len(np.unique(cluster))
    if not 0 < abnormal.sum() < len(abnormal):
        return AurocDifference(*names, None, None, None, patients, reason="needs both normal and abnormal cases")
    components = [_components(one, abnormal) for one in scores]
    areas = [float(component[abnormal].mean()) for component in components]
    difference = areas[0] - areas[1]
    variance = _variance(components[0] - components[1], difference, abnormal, cluster)
    result = AurocDifference(*names, areas[0], areas[1], difference, patients)
    if variance is None:
        return replace(result, reason="needs two patients with normal and two with abnormal cases")
    if variance < -_ROUNDING:
        return replace(result, reason="the variance comes out negative: too few patients for their many cases")
    if variance <= _ROUNDING:
        reason = "the detectors differ alike on every patient, which bounds nothing"
        p_value = 1.0 if abs(difference) < _ROUNDING**0.5 else None
        return replace(result, standard_error=0.0, p_value=p_value, reason=reason)
    from scipy.special import ndtr, ndtri

    error = float(np.sqrt(variance))
    half = float(ndtri((1 + level) / 2)) * error
    z = difference / error
    return replace(
        result,
        low=max(-1.0, difference - half),
        high=min(1.0, difference + half),
        standard_error=error,
        z=z,
        p_value=float(2 * ndtr(-abs(z))),
    )


def all_pairs(
    scores: Mapping[str, ArrayLike],
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    level: float = 0.95,
) -> list[AurocDifference]:
    """`delong` for every two of several detectors `{name: (N,) scores}`, with Holm's adjustment over all of them.

    Raises:
        InputError, UsageError: as `delong`; fewer than two detectors.
    """
    if len(scores) < 2:
        raise UsageError("a comparison needs at least two detectors")
    found = [
        delong(scores[a], scores[b], labels, groups, names=(a, b), level=level) for a, b in combinations(scores, 2)
    ]
    tested = [one.p_value for one in found if one.p_value is not None]
    adjusted = iter(holm(tested))
    return [one if one.p_value is None else replace(one, p_holm=float(next(adjusted))) for one in found]


def holm(p_values: ArrayLike) -> Floats:
    """p-values `(m,)` adjusted for their number, in the order they came in (Holm 1979).

    Raises:
        UsageError: one is not between 0 and 1.
    """
    values = np.atleast_1d(np.asarray(p_values, dtype=np.float64))
    if not ((values >= 0) & (values <= 1)).all():
        raise UsageError("p-values lie between 0 and 1")
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def _components(scores: Floats, abnormal: NDArray[np.bool_]) -> Floats:
    """Of each case `(N,)`, the share of the other class that it is on the right side of; ties count half."""
    among_all = _midranks(scores)
    result = np.empty(len(scores))
    for side, other in ((abnormal, ~abnormal), (~abnormal, abnormal)):
        below = (among_all[side] - _midranks(scores[side])) / other.sum()
        result[side] = below if side is abnormal else 1 - below
    return result


def _midranks(scores: Floats) -> Floats:
    """Ranks from 1; equal scores share the mean of theirs."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    return np.asarray(np.cumsum(count) - (count - 1) / 2)[place]


def _variance(
    components: Floats, value: float, abnormal: NDArray[np.bool_], cluster: NDArray[np.int64]
) -> float | None:
    """Variance of a (difference of) AUROC from its components, summed within patients; None of fewer than two."""
    n_abnormal, n_normal, patients = abnormal.sum(), (~abnormal).sum(), int(cluster.max()) + 1
    with_abnormal, with_normal = len(np.unique(cluster[abnormal])), len(np.unique(cluster[~abnormal]))
    if min(with_abnormal, with_normal) < 2:
        return None
    centred = components - value
    of_abnormal = np.bincount(cluster[abnormal], centred[abnormal], patients)
    of_normal = np.bincount(cluster[~abnormal], centred[~abnormal], patients)
    variance = (
        with_abnormal / (with_abnormal - 1) * (of_abnormal**2).sum() / n_abnormal**2
        + with_normal / (with_normal - 1) * (of_normal**2).sum() / n_normal**2
        + 2 * patients / (patients - 1) * (of_abnormal * of_normal).sum() / (n_abnormal * n_normal)
    )
    return float(variance)
