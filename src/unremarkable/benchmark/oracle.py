"""How far each label-free choice falls short of the choice by labels: an oracle's view, after the choice.

It judges the criteria and never chooses: nothing in `benchmark.selection` can reach it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unremarkable.benchmark.selection import Selection
from unremarkable.datasets.case import Case
from unremarkable.errors import UsageError
from unremarkable.evaluation.intervals import Interval, bootstrap


@dataclass(frozen=True)
class Oracle:
    """The candidates by labels.

    Attributes:
        auroc: of each candidate on the labelled cases of the pool that every candidate has scored.
        best: the label of the candidate with the highest.
        regret: by criterion, the best candidate's AUROC less that of the chosen one; None where none was chosen.
        blindfold: the same for a candidate drawn at random, on average.
        counts: "normal" and "abnormal" cases.
    """

    auroc: dict[str, Interval]
    best: str
    regret: dict[str, float | None]
    blindfold: float
    counts: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible form, which says what it is."""
        return {
            "oracle": "made with the pool's labels after the choice; it judges the criteria and chooses nothing",
            **vars(self),
            "auroc": {label: interval.to_dict() for label, interval in self.auroc.items()},
        }


def judge(selection: Selection, cases: Mapping[str, Case], *, replicates: int = 2000, seed: int = 0) -> Oracle:
    """Judge the choices by the labels of the pool; `cases` are its labelled cases by path.

    Raises:
        UsageError: the labels are not of both classes.
    """
    sound = [one for one in selection.candidates if one.failure is None]
    shared = set.intersection(*(set(one.pool_scores) for one in sound))
    judged = [case for path, case in sorted(cases.items()) if path in shared and case.label is not None]
    abnormal = sum(case.label or 0 for case in judged)
    if not 0 < abnormal < len(judged):
        raise UsageError(
            f"{len(judged)} labelled cases of the pool, {abnormal} abnormal: the oracle takes both classes"
        )
    labels, groups = [case.label or 0 for case in judged], [case.group for case in judged]
    auroc = {
        one.label: bootstrap(
            [one.pool_scores[case.path] for case in judged], labels, groups, replicates=replicates, seed=seed
        )["auroc"]
        for one in sound
    }
    values = {label: interval.value or 0.0 for label, interval in auroc.items()}
    best = max(values, key=lambda label: values[label])
    return Oracle(
        auroc=auroc,
        best=best,
        regret={
            choice.criterion: None if choice.chosen is None else values[best] - values[choice.chosen]
            for choice in selection.choices
        },
        blindfold=values[best] - sum(values.values()) / len(values),
        counts={"normal": len(judged) - abnormal, "abnormal": abnormal},
    )
