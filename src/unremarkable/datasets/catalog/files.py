"""What readers of the catalogue share: tables as text, images by name, class folders."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from unremarkable.datasets.case import Case
from unremarkable.datasets.catalog.base import Found
from unremarkable.datasets.folders import is_ignored
from unremarkable.datasets.walk import image_files
from unremarkable.errors import UsageError

#: split, label, finding of a folder
Meaning = tuple[str | None, int | None, str]


def table(path: Path, needed: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a publisher's CSV (TSV by the suffix), by column; all cells text, stripped, missing ones "".

    Columns without a name are dropped, rows may be short or long.

    Raises:
        UsageError: it cannot be read, or lacks a needed column.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="strict", newline="") as file:
            lines = list(csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as a table in UTF-8: {error}") from error
    header = [name.strip() for name in lines[0]] if lines else []
    if missing := [name for name in needed if name not in header]:
        raise UsageError(f"{path}: no column {missing[0]!r}; columns: {', '.join(filter(None, header)) or 'none'}")
    rows = []
    for line in lines[1:]:
        if any(cell.strip() for cell in line):
            cells = [cell.strip() for cell in line] + [""] * (len(header) - len(line))
            rows.append({name: cell for name, cell in zip(header, cells, strict=False) if name})
    return rows


def one(root: Path, *patterns: str) -> Path:
    """The first file that a pattern names below a folder.

    Raises:
        UsageError: there is none.
    """
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            return path
    raise UsageError(f"{root}: no file {patterns[0]}")


def by_name(root: Path, suffixes: tuple[str, ...], *, stem: bool = False) -> dict[str, Path]:
    """Every file with one of the suffixes below a folder, by its name, or by its name without the suffix."""
    found: dict[str, Path] = {}
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        for name in sorted(names):
            suffix = next((s for s in suffixes if name.lower().endswith(s)), None)
            if suffix is not None and not is_ignored(name):
                found.setdefault(name[: -len(suffix)] if stem else name, Path(folder, name))
    return found


def class_folders(
    meanings: Mapping[str, Meaning], patient: Callable[[Path], str | None] = lambda path: None
) -> Callable[[Path], Found]:
    """A reader of folders of images that each mean one split and class; whatever lies elsewhere is not looked at.

    Args:
        meanings: split, label and finding of each folder, by its path below the set's folder.
        patient: the patient that an image's path names, if any.
    """

    def read(root: Path) -> Found:
        cases: list[Case] = []
        skipped: list[tuple[str, str]] = []
        for name, (split, label, finding) in meanings.items():
            folder = root / name
            if not folder.is_dir() or not any(folder.iterdir()):
                continue
            for image in image_files(folder, skipped):
                cases.append(Case(str(image.path), label, finding, split, patient(image.path)))
        return Found(tuple(cases), tuple(skipped))

    return read


def with_images(cases: Iterable[Case], files: Mapping[str, Path], table_path: Path) -> Found:
    """Cases whose path is a name, with the file of that name in its place; and those whose file is not there.

    A set of a hundred thousand images is often there in part: missing files give one note and no line each.
    """
    there, missing = [], 0
    for case in cases:
        if (file := files.get(case.path)) is None:
            missing += 1
        else:
            there.append(replace(case, path=str(file)))
    notes = (f"{missing} of the {missing + len(there)} images that {table_path.name} names are not there",)
    return Found(tuple(there), notes=notes if missing else ())
