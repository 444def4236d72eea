"""Results by the values of a column (sex, age, scanner, site, finding), and the worst gap between two of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unremarkable.errors import UsageError
from unremarkable.evaluation.bootstrap import Resampled, resample
from unremarkable.evaluation.columns import grouped
from unremarkable.evaluation.intervals import Interval, intervals
from unremarkable.scoring.checks import binary_labels, finite_scores

METRICS = ("auroc", "sensitivity", "specificity")
#: patients of each class that a metric needs, that a value may count for the worst gap
ENOUGH = 10


@dataclass(frozen=True)
class SubgroupResult:
    """The cases with one value. `metrics` holds those of `METRICS`; `note` says what they are too few for, or None."""

    cases: int
    patients: int
    normal: int
    abnormal: int
    metrics: dict[str, Interval]
    note: str | None


@dataclass(frozen=True)
class Gap:
    """The largest difference of one metric between two values of a column; None where no two can be compared.

    The interval of the difference holds for all pairs of values at once, so that it may be read for the worst of
    them: the intervals of the two values, at the level 1 − (1 − level) / pairs (Bonferroni), are combined as in Zou and
    Donner (2008), who take the two as independent. Where patients have cases of both it is, as a rule, too wide.
    """

    highest: str | None
    lowest: str | None
    difference: Interval


@dataclass(frozen=True)
class Subgroups:
    """One column: results by value, the worst gap by metric, and how many cases have no value.

    `cut_at_quartiles` says whether a column of numbers was divided.
    """

    values: dict[str, SubgroupResult]
    gaps: dict[str, Gap]
    missing: int
    cut_at_quartiles: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible form."""
        return {
            "values": {
                name: {**vars(found), "metrics": {key: one.to_dict() for key, one in found.metrics.items()}}
                for name, found in self.values.items()
            },
            "worst_gaps": {
                name: {**vars(gap), "difference": gap.difference.to_dict()} for name, gap in self.gaps.items()
            },
            "missing": self.missing,
            "cut_at_quartiles": self.cut_at_quartiles,
        }


def by_subgroup(
    column: str,
    values: Sequence[Any],
    scores: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    flagged: ArrayLike | None = None,
    *,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Subgroups:
    """AUROC and, with verdicts, sensitivity and specificity among the cases with each value of a column.

    Cases without a value are left out; numbers are divided as `columns.grouped` says.

    Args:
        column: its name, for errors.
        values: `(N,)`, one a case.
        scores: `(N,)`, larger is more anomalous.
        labels: `(N,)`, 0 normal, 1 abnormal.
        groups: `(N,)`, the patient of each case; None where each case is its own.
        flagged: `(N,)` verdicts, or None.
        replicates, seed, level: of the intervals.

    Raises:
        UsageError: no case has a value, more than fifty different words, or lengths differ.
        InputError: a score is not finite.
    """
    ranked = finite_scores(scores)
    abnormal = binary_labels(labels, len(ranked))
    verdict = None if flagged is None else np.asarray(flagged, dtype=bool)
    patients = np.arange(len(ranked)).astype(str) if groups is None else np.asarray([str(one) for one in groups])
    if not len(values) == len(patients) == len(ranked):
        raise UsageError(f"{len(values)} values of {column} for {len(ranked)} scores: each case needs one")
    grouping = grouped(column, values)
    results: dict[str, SubgroupResult] = {}
    large: dict[str, dict[str, Resampled]] = {"auroc": {}}
    if verdict is not None:
        large |= {"sensitivity": {}, "specificity": {}}
    for name in grouping.names:
        rows = np.array([mine == name for mine in grouping.of_case])
        drawn = resample(
            ranked[rows],
            abnormal[rows],
            patients[rows].tolist(),
            None if verdict is None else verdict[rows],
            replicates=replicates,
            seed=seed,
        )
        normal, other = len(set(patients[rows & ~abnormal])), len(set(patients[rows & abnormal]))
        fewest = {"auroc": min(normal, other), "sensitivity": other, "specificity": normal}
        few = [metric for metric in large if fewest[metric] < ENOUGH]
        for metric in set(large) - set(few):
            large[metric][name] = drawn
        found = intervals(drawn, level)
        results[name] = SubgroupResult(
            cases=int(rows.sum()),
            patients=len(set(patients[rows])),
            normal=int((rows & ~abnormal).sum()),
            abnormal=int((rows & abnormal).sum()),
            metrics={metric: found[metric] for metric in large},
            note=f"{normal} normal and {other} abnormal patients: too few for {', '.join(few)}" if few else None,
        )
    gaps = {metric: _worst(metric, drawn, replicates, level) for metric, drawn in large.items()}
    return Subgroups(results, gaps, grouping.of_case.count(None), grouping.cut_at_quartiles)


def _worst(metric: str, drawn: Mapping[str, Resampled], replicates: int, level: float) -> Gap:
    """The largest difference of a metric between two of these values."""
    if len(drawn) < 2:
        reason = f"fewer than two values with {ENOUGH} patients of each class that the metric needs"
        return Gap(None, None, Interval(None, None, None, reason))
    observed = {name: one.observed[metric] for name, one in drawn.items()}
    highest, lowest = max(observed, key=observed.__getitem__), min(observed, key=observed.__getitem__)
    if highest == lowest:  # all are equal
        highest, lowest = tuple(observed)[:2]
    pairs = math.comb(len(drawn), 2)
    strict = 1 - (1 - level) / pairs
    high, low = (intervals(drawn[name], strict)[metric] for name in (highest, lowest))
    difference = observed[highest] - observed[lowest]
    needed = math.ceil(2 * pairs / (1 - level))
    if 0 < replicates < needed:
        reason = f"{pairs} pairs of values need {needed} replicates, not {replicates}"
        return Gap(highest, lowest, Interval(difference, None, None, reason))
    if high.low is None or high.high is None or low.low is None or low.high is None:
        return Gap(highest, lowest, Interval(difference, None, None, high.reason or low.reason))
    least = difference - math.hypot(observed[highest] - high.low, low.high - observed[lowest])
    most = difference + math.hypot(high.high - observed[highest], observed[lowest] - low.low)
    return Gap(highest, lowest, Interval(difference, max(-1.0, least), min(1.0, most)))
