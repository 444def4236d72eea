"""Protocols: which cases of a data set a cell learns from, and which it is tested on.

The splits that are drawn have a seed of their own, the same for every seed of a method: what varies over seeds is the
method alone.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case, Dataset
from unremarkable.datasets.load import digest
from unremarkable.datasets.parallel import map_in_order, with_progress
from unremarkable.datasets.splits import k_folds, split_cases
from unremarkable.errors import InputError, UsageError
from unremarkable.training.plan import parse_fractions

PUBLISHED, EXTERNAL = "published", "external"
SPLIT_SEED = 0
_DRAWN = "70/15/15"
_ONE_CLASS = "one-class:"


@dataclass(frozen=True)
class Protocol:
    """`text` is "published", "external", shares such as "70/15/15", "kfold:5", or "one-class:60".

    The last learns from that share (in percent) of the patients with normal cases alone, and tests on everyone else:
    what a set without a split of its own needs, so that no abnormal case is wasted on training that cannot use it.
    """

    text: str = PUBLISHED
    deduplicate: bool = False

    def __post_init__(self) -> None:
        if self.text.startswith("kfold:"):
            count = self.text.removeprefix("kfold:")
            if not count.isdigit() or int(count) < 2:
                raise UsageError(f"protocol {self.text!r} is not understood; write kfold:5 for five folds")
        elif self.text.startswith(_ONE_CLASS):
            share = self.text.removeprefix(_ONE_CLASS)
            if not share.isdigit() or not 0 < int(share) < 100:
                raise UsageError(
                    f"protocol {self.text!r} is not understood; write one-class:60 for 60 % of the normals"
                )
        elif self.text not in (PUBLISHED, EXTERNAL):
            try:
                parse_fractions(self.text)
            except UsageError:
                known = "published, 70/15/15 or other shares, kfold:5, one-class:60, external"
                raise UsageError(f"protocol {self.text!r} is not understood; it is one of: {known}") from None

    @property
    def folds(self) -> int | None:
        """The number of folds; None without cross-validation."""
        return int(self.text.removeprefix("kfold:")) if self.text.startswith("kfold:") else None


@dataclass(frozen=True)
class Parts:
    """What a cell learns from and is tested on.

    `learning` has the split "train" or "val" on every case, so that a detector fits it as published; it holds normals
    alone, unless abnormal cases were asked for. `selection` says in words how the parts came about, `notes` what was
    left out.
    """

    learning: Dataset
    test: tuple[Case, ...]
    selection: str
    notes: tuple[str, ...] = ()


def apply_protocol(
    protocol: Protocol,
    dataset: Dataset,
    fold: int | None = None,
    other: Dataset | None = None,
    digests: Mapping[str, str] | None = None,
    *,
    labelled: bool = False,
) -> Parts:
    """The parts of `dataset`; with "external", the test cases are those of `other`.

    Args:
        fold: which fold is tested, with cross-validation.
        digests: the content of each case by its path, where copies are to be left out.
        labelled: also give the abnormal cases to learn from, for methods that need labels.

    Raises:
        UsageError: a part would be empty.
    """
    cases, how = _splits(protocol.text, dataset, fold)
    wanted = (NORMAL, ABNORMAL, None) if labelled else (NORMAL, None)
    learning = tuple(case for case in cases if case.split in ("train", "val") and case.label in wanted)
    source, tested = (dataset, cases) if other is None else (other, other.cases)
    test = tuple(case for case in tested if case.label is not None and case.split == "test")
    if other is not None:
        # Another data set is new to the model in all its cases, where its publisher names none for the test.
        test = test or tuple(case for case in tested if case.label is not None)
        how = f"{how}; tested on {other.name}"
    notes: tuple[str, ...] = ()
    if protocol.deduplicate:
        learning, test, notes = _without_copies(learning, test, digests or {})
    if not any(case.split == "train" and case.label != ABNORMAL for case in learning):
        raise UsageError(f"{dataset.root}: no normal cases to learn from by the protocol {protocol.text}")
    if not any(case.label == NORMAL for case in test) or not any(case.label == ABNORMAL for case in test):
        raise UsageError(
            f"{source.root}: by the protocol {protocol.text} the test has {len(test)} cases, and not both normal and"
            " abnormal ones; give another --protocol, or say which classes are normal with --normal"
        )
    return Parts(replace(dataset, cases=learning), test, how, notes)


def content(cases: Sequence[Case], *, progress: bool = False) -> dict[str, str]:
    """The digest of each case's bytes, by its path; "unreadable" where there are none to be had."""

    def read(case: Case) -> str:
        try:
            return digest(case)
        except InputError:
            return "unreadable"

    found = with_progress(map_in_order(read, cases), len(cases), "Reading the data", progress)
    return {case.path: value for case, value in zip(cases, found, strict=True)}


def data_digest(dataset: Dataset, digests: Mapping[str, str]) -> str:
    """One number for a data set: the content of its cases and everything that is known of them, wherever they lie."""
    rows = sorted(
        f"{digests[case.path]}\0{case.label}\0{case.finding}\0{case.split}\0{case.patient}\0{case.study}\0"
        f"{len(case.masks)}\0{case.boxes}"
        for case in dataset.cases
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _splits(text: str, dataset: Dataset, fold: int | None) -> tuple[tuple[Case, ...], str]:
    """The cases with the split that the protocol gives them, and that in words."""
    cases = dataset.cases
    if fold is not None:
        count = int(text.removeprefix("kfold:"))
        folds = k_folds(cases, count, SPLIT_SEED)
        marked = zip(cases, folds, strict=True)
        drawn = tuple(replace(case, split="test" if mine == fold else "train") for case, mine in marked)
        return drawn, f"{count} folds by patient drawn with seed {SPLIT_SEED}, fold {fold + 1} tested"
    if text.startswith(_ONE_CLASS):
        return _one_class(cases, int(text.removeprefix(_ONE_CLASS)))
    if text in (PUBLISHED, EXTERNAL) and any(case.split for case in cases):
        return cases, f"the published split of {dataset.name}"
    shares = _DRAWN if text in (PUBLISHED, EXTERNAL) else text
    drawn = split_cases(cases, parse_fractions(shares), SPLIT_SEED)
    return drawn, f"{shares} by patient, drawn with seed {SPLIT_SEED}"


def _one_class(cases: Sequence[Case], percent: int) -> tuple[tuple[Case, ...], str]:
    """A share of the patients without an abnormal case to learn from, everyone else to test."""
    tested = {case.group for case in cases if case.label == ABNORMAL}
    healthy = [case for case in cases if case.group not in tested]
    drawn = iter(split_cases(healthy, (percent / 100, 0.0, 1 - percent / 100), SPLIT_SEED))
    marked = tuple(replace(case, split="test") if case.group in tested else next(drawn) for case in cases)
    how = f"{percent} % of the patients who have normal cases alone, drawn with seed {SPLIT_SEED}; the rest tested"
    return marked, how


def _without_copies(
    learning: Sequence[Case], test: Sequence[Case], digests: Mapping[str, str]
) -> tuple[tuple[Case, ...], tuple[Case, ...], tuple[str, ...]]:
    """Nothing to learn from that is tested too, and every picture tested once."""
    copies: dict[str, list[Case]] = defaultdict(list)
    for case in test:
        copies[digests[case.path]].append(case)
    kept = {group[0].path for key, group in copies.items() if key != "unreadable"}
    once = tuple(case for case in test if case.path in kept or digests[case.path] == "unreadable")
    unseen = tuple(case for case in learning if digests[case.path] == "unreadable" or digests[case.path] not in copies)
    torn = sum(len({case.label for case in group}) > 1 for key, group in copies.items() if key != "unreadable")
    notes = [
        f"{len(learning) - len(unseen)} of the {len(learning)} cases to learn from are byte for byte test cases and"
        f" are left out; {len(test) - len(once)} of the {len(test)} test cases are copies of another and are left out"
    ]
    if torn:
        notes.append(f"{torn} pictures are in the test both as normal and as abnormal; the first of each is kept")
    return unseen, once, tuple(notes)
