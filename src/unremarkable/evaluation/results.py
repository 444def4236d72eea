"""What `evaluate` left in a folder, read back for a comparison: `scores.csv`, case by case."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import InputError, UsageError


@dataclass(frozen=True, eq=False)
class Results:
    """The scored cases of one folder, by path: `(N,)` scores, labels (0 normal, 1 abnormal) and patients."""

    name: str
    paths: tuple[str, ...]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    patients: tuple[str, ...]


def read_results(folder: Path) -> Results:
    """The scored cases of a folder that `evaluate` wrote, sorted by path; those that could not be scored are left out.

    Raises:
        UsageError: there is no `scores.csv`.
        InputError: it is not one of ours, or cases have no label, no finite score, or come twice.
    """
    file = folder / "scores.csv"
    if not file.is_file():
        raise UsageError(f"{folder} holds no scores.csv; name folders that `unremarkable evaluate -o` wrote")
    with file.open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    missing = [name for name in ("path", "score", "label", "patient") if not rows or name not in rows[0]]
    if missing:
        raise InputError(file, f"no cases, or no column {', '.join(missing)}; evaluate again to write it anew")
    rows = sorted((row for row in rows if not row.get("error")), key=lambda row: row["path"] or "")
    if any(row["label"] not in ("0", "1") for row in rows):
        raise InputError(file, "there are cases without a label, and a comparison needs labels; evaluate labelled data")
    paths = tuple(row["path"] for row in rows)
    if len(set(paths)) < len(paths) or not paths:
        raise InputError(file, "a case comes twice" if paths else "no case could be scored")
    try:
        scores = np.array([float(row["score"]) for row in rows])
    except ValueError as error:
        raise InputError(file, f"a score is not a number ({error})") from error
    if not np.isfinite(scores).all():
        raise InputError(file, "a score is not a finite number; evaluate again to write it anew")
    labels = np.array([int(row["label"]) for row in rows])
    return Results(str(folder), paths, scores, labels, tuple(row["patient"] or row["path"] for row in rows))


def require_same_cases(results: Sequence[Results]) -> None:
    """Refuse results that are not of the same cases with the same labels and patients.

    Raises:
        UsageError: they are not; says how many cases are common.
    """
    first = results[0]
    for other in results[1:]:
        common = len(set(first.paths) & set(other.paths))
        if first.paths != other.paths:
            raise UsageError(
                f"{first.name} and {other.name} are not of the same cases: {len(first.paths)} and {len(other.paths)}, "
                f"{common} of them common; evaluate both on the same data and split"
            )
        changed = int((first.labels != other.labels).sum())
        if changed:
            raise UsageError(f"{first.name} and {other.name} label {changed} of their {common} cases differently")
        if first.patients != other.patients:
            raise UsageError(
                f"{first.name} and {other.name} name different patients for the same cases; evaluate both with the "
                "same --patient-pattern or manifest"
            )
