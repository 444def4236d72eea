"""A folder's cases against the published counts of a data set."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from unremarkable.datasets.case import Dataset
from unremarkable.datasets.catalog.base import ANY, Counts, Entry, class_of, count


@dataclass(frozen=True)
class Row:
    """One split and class; `expected` is None where nothing is published, and "*" stands for all."""

    split: str
    name: str
    expected: int | None
    found: int

    @property
    def difference(self) -> int | None:
        """Found less expected."""
        return None if self.expected is None else self.found - self.expected


@dataclass(frozen=True)
class Comparison:
    """What was found against one edition of a data set, "" where no counts are published."""

    entry: str
    edition: str
    rows: tuple[Row, ...]

    @property
    def agrees(self) -> bool:
        """Whether every published number is met."""
        return not any(row.difference for row in self.rows)

    @property
    def gap(self) -> float:
        """Cases missing or too many, as a share of those published."""
        apart = sum(abs(row.difference or 0) for row in self.rows)
        return apart / max(1, sum(row.expected or 0 for row in self.rows))

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        rows = [
            {"split": r.split, "class": r.name, "expected": r.expected, "found": r.found, "difference": r.difference}
            for r in self.rows
        ]
        return {"data_set": self.entry, "edition": self.edition, "agrees": self.agrees, "rows": rows}


def compare(entry: Entry, dataset: Dataset) -> Comparison:
    """The counts of a data set beside the published ones, of the edition that it is nearest to."""
    every = [_against(entry.name, edition, counts, dataset) for edition, counts in entry.counts.items()]
    return min(every or [_against(entry.name, "", {}, dataset)], key=lambda comparison: comparison.gap)


def _against(name: str, edition: str, counts: Counts, dataset: Dataset) -> Comparison:
    rows = [Row(split, kind, expected, count(dataset, split, kind)) for (split, kind), expected in counts.items()]
    # What no published number speaks of is shown too, so that the table adds up.
    seen = Counter((case.split or "", class_of(case), case.label) for case in dataset)
    labels = {0: "normal", 1: "abnormal", None: "unlabelled"}
    spoken = {(split, kind) for split, kind in counts}
    rest: Counter[tuple[str, str]] = Counter()
    for (split, kind, label), cases in seen.items():
        covered = {(s, k) for s in (split, ANY) for k in (kind, labels[label], ANY)}
        if not covered & spoken:
            rest[split, kind] += cases
    return Comparison(name, edition, (*rows, *(Row(s, k, None, n) for (s, k), n in sorted(rest.items()))))
