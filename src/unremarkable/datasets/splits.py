"""Splits without leaks: whole patients, every class in its share, the same for any order of the cases."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from unremarkable.datasets.case import Case
from unremarkable.errors import UsageError

SPLITS = ("train", "val", "test")


def split_cases(
    cases: Iterable[Case], fractions: tuple[float, float, float] = (0.7, 0.15, 0.15), seed: int = 0
) -> tuple[Case, ...]:
    """The same cases in the same order, each with `split` drawn anew.

    Cases of one `group` (patient, else study, else the case itself) stay together. Shares are of groups: over all of
    them each split is within one group of its exact fraction, and within two in every label and finding. The
    assignment depends on the seed and on the identifiers, not on the order of the cases or the folder they lie in.

    Args:
        fractions: shares of train, val and test; not negative, summing to 1.

    Raises:
        UsageError: the fractions are not such.
    """
    if len(fractions) != 3 or min(fractions) < 0 or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise UsageError(f"split fractions must be three numbers from 0 to 1 that sum to 1, not {fractions}")
    cases = tuple(cases)
    names = _names(cases)
    groups = _grouped(cases, names)
    drawn = _shuffled(groups, seed)
    # A stable sort by stratum keeps the shuffled order within it; taking turns over that line stratifies.
    drawn.sort(key=lambda group: _stratum(groups[group]))
    split_of = dict(zip(drawn, _turns(len(drawn), fractions), strict=True))
    return tuple(replace(case, split=SPLITS[split_of[name]]) for case, name in zip(cases, names, strict=True))


def hold_out(
    cases: Iterable[Case], *, share: float | None = None, count: int | None = None, seed: int = 0
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Divide cases into those kept and those held out, each in the order given.

    Whole groups are held out, in an order that depends on seed and identifiers alone, until there are at least
    `count` cases, or `share` of all cases. At least one group is held out and one is kept.

    Raises:
        UsageError: there are too few groups, or neither or both of `share` and `count` are given, or out of range.
    """
    cases = tuple(cases)
    if (share is None) == (count is None):
        raise UsageError("hold out either a share or a count of the cases")
    if share is not None and not 0 < share < 1:
        raise UsageError(f"the share held out must lie between 0 and 1, not {share}")
    wanted = round(share * len(cases)) if share is not None else (count or 0)
    if count is not None and not 0 < count < len(cases):
        raise UsageError(f"cannot hold out {count} of {len(cases)} cases")
    names = _names(cases)
    groups = _grouped(cases, names)
    if len(groups) < 2:
        raise UsageError(f"cannot hold out whole patients: the {len(cases)} cases have one patient or none")
    held: set[str] = set()
    taken = 0
    for group in _shuffled(groups, seed)[:-1]:
        if held and taken >= wanted:
            break
        held.add(group)
        taken += len(groups[group])
    marks = [name in held for name in names]
    kept = tuple(case for case, out in zip(cases, marks, strict=True) if not out)
    return kept, tuple(case for case, out in zip(cases, marks, strict=True) if out)


def k_folds(cases: Iterable[Case], k: int, seed: int = 0) -> tuple[int, ...]:
    """The fold of each case, 0 to k - 1, for cross-validation by patient.

    Cases of one `group` lie in one fold; over all, and in every label and finding, the folds' numbers of groups differ
    by at most two. Like `split_cases`, the same for any order of the cases.

    Raises:
        UsageError: fewer than two folds, or more than there are groups.
    """
    cases = tuple(cases)
    names = _names(cases)
    groups = _grouped(cases, names)
    if not 2 <= k <= len(groups):
        raise UsageError(
            f"{len(groups)} patients cannot be divided into {k} folds; from 2 to {len(groups)} are possible"
        )
    drawn = _shuffled(groups, seed)
    drawn.sort(key=lambda group: _stratum(groups[group]))
    fold_of = dict(zip(drawn, _turns(len(drawn), (1 / k,) * k), strict=True))
    return tuple(fold_of[name] for name in names)


def _names(cases: Sequence[Case]) -> list[str]:
    """The group of each case; a path counts from the folder that all cases share, so that a moved set splits alike."""
    parents = {str(Path(case.path).parent) for case in cases if case.group == case.path}
    mixed = len({Path(parent).is_absolute() for parent in parents}) > 1
    root = os.path.commonpath(parents) if parents and not mixed else ""
    return [os.path.relpath(case.path, root) if root and case.group == case.path else case.group for case in cases]


def _grouped(cases: Sequence[Case], names: Sequence[str]) -> dict[str, list[Case]]:
    groups: dict[str, list[Case]] = {}
    for case, name in zip(cases, names, strict=True):
        groups.setdefault(name, []).append(case)
    return groups


def _shuffled(groups: Iterable[str], seed: int) -> list[str]:
    return sorted(groups, key=lambda group: hashlib.sha256(f"{seed}\0{group}".encode()).digest())


def _stratum(cases: Sequence[Case]) -> tuple[int, tuple[str, ...]]:
    """A patient counts as abnormal if any case is; unknown labels come first."""
    label = max(-1 if case.label is None else case.label for case in cases)
    return label, tuple(sorted({case.finding or "" for case in cases}))


def _turns(n: int, fractions: Sequence[float]) -> list[int]:
    """Whose turn it is, n times, so that at every moment each split has had its fraction of the turns to within 1.

    The chairman assignment of Tijdeman (Discrete Mathematics 32, 1980): of those that can take a turn without running
    ahead, the one whose turn falls due first.
    """
    members = [index for index, fraction in enumerate(fractions) if fraction > 0]
    slack = 1 - 1 / (2 * len(members) - 2) if len(members) > 1 else 1.0
    had = [0] * len(fractions)
    turns = []
    for turn in range(1, n + 1):
        ready = [i for i in members if fractions[i] * turn - had[i] >= 1 - slack - 1e-9]
        due = min(ready, key=lambda i: (math.ceil((slack + had[i]) / fractions[i] - 1e-9), i))
        had[due] += 1
        turns.append(due)
    return turns
