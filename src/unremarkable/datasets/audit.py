"""A look over a data set before anything is learnt from it: what is broken, copied, leaking, or too easy."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case, Dataset
from unremarkable.datasets.descriptors import NAMES, NUMBERS, Look, look, outlines
from unremarkable.datasets.duplicates import DuplicateGroup, exact_groups, near_groups
from unremarkable.datasets.folders import count_lines
from unremarkable.datasets.parallel import map_in_order, with_progress

#: AUROC of a trivial descriptor from which it counts as a shortcut.
SHORTCUT = 0.75
_SHOWN = 5
_LABELS = {NORMAL: "normal", ABNORMAL: "abnormal", None: "unlabelled"}


@dataclass(frozen=True)
class Row:
    """One class of one split: how many cases, and how many of each size, colour mode, bit depth and file type."""

    split: str | None
    label: str
    finding: str | None
    cases: int
    sizes: dict[str, int]
    colours: dict[str, int]
    bits: dict[str, int]
    file_types: dict[str, int]


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes:
        name: of the data set; cases: how many it has.
        rows: by split and class.
        unreadable: path and reason of cases that cannot be read; skipped: of files that are no cases.
        exact, near: groups of byte-identical files; groups of different files that show the same picture.
        patients_across_splits: for each such patient, the splits.
        shortcuts: for each trivial descriptor, the AUROC it reaches alone, without a direction (0.5 to 1), normal
            against abnormal, best first; empty unless both labels are there. Descriptors without an order are ranked
            by each value's share of abnormal cases, which flatters them a little.
        shortcut_scope: which cases that is: "test" where the test split has both labels, else "all".
    """

    name: str
    cases: int
    rows: tuple[Row, ...]
    unreadable: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str], ...]
    exact: tuple[DuplicateGroup, ...]
    near: tuple[DuplicateGroup, ...]
    patients_across_splits: dict[str, tuple[str, ...]]
    shortcuts: dict[str, float]
    shortcut_scope: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line for each thing that would make a result wrong or look too good."""
        lines = []
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} of {self.cases} cases cannot be read")
        for groups, what in ((self.exact, "byte-identical files"), (self.near, "near-identical images")):
            if across := sum(group.across_labels for group in groups):
                lines.append(f"{across} groups of {what} are labelled normal in one place and abnormal in another")
            if across := sum(group.across_splits for group in groups):
                lines.append(f"{across} groups of {what} span splits: what is tested has been trained on")
        if self.patients_across_splits:
            lines.append(f"{len(self.patients_across_splits)} patients span splits")
        easy = [f"{name} {auroc:.2f}" for name, auroc in self.shortcuts.items() if auroc >= SHORTCUT]
        if easy:
            where = "the test split" if self.shortcut_scope == "test" else "the data"
            lines.append(
                f"shortcuts separate normal from abnormal in {where} (AUROC {', '.join(easy)}): "
                "a high score may show where the images come from, and not the disease"
            )
        return tuple(lines)

    def lines(self) -> tuple[str, ...]:
        """The whole finding in plain text, without the warnings."""
        text = [f"{self.name}: {self.cases} cases"]
        for row in self.rows:
            name = " / ".join(part for part in (row.split, row.finding or row.label) if part)
            marked = f"{name} ({row.label})" if row.finding else name
            bits = {f"{bits}-bit": number for bits, number in row.bits.items()}
            kinds = "; ".join(count_lines(c, " × ", 3) for c in (row.sizes, row.colours, bits, row.file_types))
            text.append(f"  {marked}: {row.cases} cases: {kinds}")
        text += _listing(f"{len(self.unreadable)} unreadable", self.unreadable)
        text += _listing(f"{len(self.skipped)} files left out", self.skipped)
        for groups, what in ((self.exact, "byte-identical files"), (self.near, "different files of the same picture")):
            spanning = sum(group.across_splits for group in groups)
            examples = sorted(groups, key=lambda group: not group.across_splits)
            text += _listing(
                f"{len(groups)} groups of {what}, {sum(len(group.paths) for group in groups)} in all, "
                f"{spanning} groups span splits",
                [(group.paths[0], ", ".join(group.paths[1:4])) for group in examples],
            )
        text += _listing(
            f"{len(self.patients_across_splits)} patients in several splits",
            [(patient, ", ".join(splits)) for patient, splits in self.patients_across_splits.items()],
        )
        if self.shortcuts:
            text.append(f"AUROC of trivial descriptors ({self.shortcut_scope}; from {SHORTCUT} on, a shortcut):")
            text.append("  " + ", ".join(f"{name} {auroc:.2f}" for name, auroc in self.shortcuts.items()))
        return tuple(text)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {**asdict(self), "warnings": list(self.warnings)}


def audit(dataset: Dataset, *, workers: int | None = None, progress: bool = False) -> Audit:
    """Read every case of a data set once and report what a careful person would want to know before training.

    Compares all pairs of images; meant for some ten thousand cases. A case that cannot be read is reported, and the
    rest goes on. `progress` shows a bar on standard error.
    """
    found = list(
        with_progress(map_in_order(look, dataset.cases, workers), len(dataset), f"Checking {dataset.name}", progress)
    )
    good = [(case, seen) for case, seen in zip(dataset.cases, found, strict=True) if isinstance(seen, Look)]
    bad = [
        (case.path, seen.reason) for case, seen in zip(dataset.cases, found, strict=True) if not isinstance(seen, Look)
    ]
    cases, looks = [case for case, _ in good], [seen for _, seen in good]
    digests = [seen.digest for seen in looks]
    near: tuple[DuplicateGroup, ...] = ()
    if looks:
        near = near_groups(cases, digests, outlines(np.stack([seen.thumbnail for seen in looks])))
    scope, chosen = _scope(good)
    return Audit(
        name=dataset.name,
        cases=len(dataset),
        rows=_rows(good),
        unreadable=tuple(bad),
        skipped=dataset.skipped,
        exact=exact_groups(cases, digests),
        near=near,
        patients_across_splits=_patients(dataset.cases),
        shortcuts=_shortcuts(chosen),
        shortcut_scope=scope,
    )


def auroc(scores: Sequence[float], labels: Sequence[int]) -> float:
    """Area under the ROC curve of a score without a direction, 0.5 to 1; ties count half (Mann-Whitney)."""
    from scipy.stats import rankdata

    positive = np.asarray(labels) == ABNORMAL
    n, p = int((~positive).sum()), int(positive.sum())
    area = (rankdata(scores)[positive].sum() - p * (p + 1) / 2) / (n * p)
    return float(max(area, 1 - area))


def _scope(good: list[tuple[Case, Look]]) -> tuple[str, list[tuple[Case, Look]]]:
    """Labelled cases to look for shortcuts in: those on which a result would be measured."""
    labelled = [(case, seen) for case, seen in good if case.label is not None]
    test = [(case, seen) for case, seen in labelled if case.split == "test"]
    return ("test", test) if len({case.label for case, _ in test}) == 2 else ("all", labelled)


def _shortcuts(chosen: list[tuple[Case, Look]]) -> dict[str, float]:
    found = {}
    for name in (*NUMBERS, *NAMES):
        pairs = [(seen.values[name], case.label) for case, seen in chosen]
        known = [(value, label) for value, label in pairs if value is not None and label is not None]
        if len(known) < len(pairs) or len({label for _, label in known}) < 2:
            continue
        labels = [label for _, label in known]
        share = defaultdict(list)
        for value, label in known:
            share[value].append(label)
        scores = [float(np.mean(share[value])) if name in NAMES else float(value) for value, _ in known]
        found[name] = auroc(scores, labels)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _rows(good: list[tuple[Case, Look]]) -> tuple[Row, ...]:
    members: dict[tuple[str, str, str], list[Look]] = defaultdict(list)
    for case, seen in good:
        members[case.split or "", _LABELS[case.label], case.finding or ""].append(seen)

    def counts(looks: list[Look], *names: str) -> dict[str, int]:
        return dict(Counter("×".join(f"{seen.values[name]}" for name in names) for seen in looks).most_common())

    order = {"train": 0, "val": 1, "test": 2, "": 3}
    ranked = sorted(members, key=lambda key: (order[key[0]], key[1] == "abnormal", key[2]))
    return tuple(
        Row(
            split=split or None,
            label=label,
            finding=finding or None,
            cases=len(members[split, label, finding]),
            sizes=counts(members[split, label, finding], "width", "height"),
            colours=counts(members[split, label, finding], "colour"),
            bits=counts(members[split, label, finding], "bits"),
            file_types=counts(members[split, label, finding], "file_type"),
        )
        for split, label, finding in ranked
    )


def _patients(cases: Sequence[Case]) -> dict[str, tuple[str, ...]]:
    splits: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        if case.patient is not None and case.split is not None:
            splits[case.patient].add(case.split)
    return {patient: tuple(sorted(found)) for patient, found in splits.items() if len(found) > 1}


def _listing(title: str, entries: Sequence[tuple[str, str]]) -> list[str]:
    if not entries:
        return []
    more = [f"  and {len(entries) - _SHOWN} more"] if len(entries) > _SHOWN else []
    return [f"{title}:", *(f"  {name}: {text}" for name, text in entries[:_SHOWN]), *more]
