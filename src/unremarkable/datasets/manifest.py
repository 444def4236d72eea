"""Manifests: a table with one row a case, as CSV, TSV or Parquet."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case, Dataset
from unremarkable.datasets.folders import ABNORMAL_NAMES, Labeller, is_normal_name, plain, split_of
from unremarkable.datasets.tables import Row, read_rows, write_rows
from unremarkable.errors import UsageError, unknown_name

#: What a column can mean. Any other column is kept in `Case.extra`.
ROLES = ("path", "label", "finding", "split", "patient", "study", "mask", "boxes")
_NUMBERS = {"0": NORMAL, "1": ABNORMAL, "0.0": NORMAL, "1.0": ABNORMAL, "false": NORMAL, "true": ABNORMAL}
_UNCLEAR = frozenset(
    {"unknown", "unclear", "uncertain", "unlabelled", "unlabeled", "nan", "na", "n/a", "none", "null", "?"}
)

Fault = Callable[[int, str], UsageError]
Box = tuple[float, float, float, float]


def read_manifest(
    path: str | Path, *, labeller: Labeller | None = None, columns: Mapping[str, str] | None = None
) -> Dataset:
    """The cases of a table.

    Columns, in any case and order: `path` (relative to the table's folder, or absolute); `label` (0 or 1, normal or
    abnormal, or class names); `finding`; `split`; `patient`; `study`; `mask` (one, several with ";" between, or a JSON
    list); `boxes` (a JSON list of `[x, y, width, height]`, or "x y w h; ..."). Only `path` must be there; empty cells
    are unknown. `columns` names the column of a role where it is called otherwise: `{"path": "file"}`. Rows whose
    files are missing go to `skipped`.

    Raises:
        UsageError: the table cannot be read, has no path column or no usable row, or a cell cannot be understood; the
            row number counts from 1 and leaves the header out.
    """
    path = Path(path)
    rows = read_rows(path)
    named = _roles(path, list(rows[0]), columns or {})

    def fault(row: int, text: str) -> UsageError:
        return UsageError(f"{path}: row {row}: {text}")

    labels = _labels([_cell(row, named.get("label")) for row in rows], labeller or Labeller(), path, fault)
    cases: list[Case] = []
    skipped: list[tuple[str, str]] = []
    first_row: dict[str, int] = {}
    for number, (row, (label, finding, left_out)) in enumerate(zip(rows, labels, strict=True), start=1):
        text = {role: _cell(row, named.get(role)) for role in ROLES}
        if text["path"] is None:
            raise fault(number, "the path is empty")
        file = _resolve(path.parent, text["path"])
        masks = tuple(_resolve(path.parent, mask) for mask in _masks(row.get(named.get("mask", "")), number, fault))
        if reason := _why_not(file, masks, left_out, first_row):
            skipped.append((file, f"row {number}: {reason}"))
            continue
        first_row[file] = number
        split = None if text["split"] is None else split_of(text["split"])
        if split is None and text["split"] is not None:
            raise fault(number, f"split {text['split']!r} is none of train, val, test")
        cases.append(
            Case(
                path=file,
                label=label,
                finding=text["finding"] or finding,
                split=split,
                patient=text["patient"],
                study=text["study"],
                masks=masks,
                boxes=_boxes(row.get(named.get("boxes", "")), number, fault),
                extra={name: cell for name, cell in row.items() if name not in named.values() and cell is not None},
            )
        )
    if not cases:
        raise UsageError(f"{path}: none of the {len(rows)} rows can be used; {skipped[0][0]}: {skipped[0][1]}")
    return Dataset(path.stem, path.parent, tuple(cases), "manifest", skipped=tuple(skipped))


def write_manifest(dataset: Dataset | Iterable[Case], path: str | Path) -> None:
    """Write cases as a table that `read_manifest` gives back: CSV, TSV or Parquet by the suffix.

    Files below the table's folder are written relative to it, others absolute. Written whole or not at all.

    Raises:
        UsageError: the suffix is another one, or the file cannot be written.
    """
    path = Path(path)
    home = path.parent.resolve()

    def short(file: str) -> str:
        full = Path(file).resolve()
        return full.relative_to(home).as_posix() if full.is_relative_to(home) else str(full)

    rows: list[Row] = [
        {
            "path": short(case.path),
            "label": case.label,
            "finding": case.finding,
            "split": case.split,
            "patient": case.patient,
            "study": case.study,
            "mask": json.dumps([short(mask) for mask in case.masks]) if case.masks else None,
            "boxes": json.dumps(case.boxes) if case.boxes else None,
            **case.extra,
        }
        for case in dataset
    ]
    write_rows(path, rows, list(dict.fromkeys([*ROLES, *(name for row in rows for name in row)])))


def _roles(path: Path, header: list[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Role → column name."""
    lower = {name.casefold(): name for name in header}
    named = {role: lower[role] for role in ROLES if role in lower}
    for role, column in columns.items():
        if role not in ROLES:
            raise unknown_name("column role", role, ROLES)
        if column not in header:
            raise unknown_name(f"column of {path}", column, header)
        named[role] = column
    if "path" not in named:
        raise UsageError(f"{path}: no column 'path'; say which holds the files (columns: {', '.join(header)})")
    return named


def _cell(row: Row, column: str | None) -> str | None:
    value = None if column is None else row.get(column)
    return None if value is None else str(value).strip() or None


def _resolve(folder: Path, path: str) -> str:
    return os.path.normpath(folder / Path(path).expanduser())


def _why_not(file: str, masks: tuple[str, ...], left_out: bool, first_row: Mapping[str, int]) -> str | None:
    if left_out:
        return "its class is neither --normal nor --abnormal"
    if file in first_row:
        return f"the same file as row {first_row[file]}"
    if not _is_there(file):
        return "no such file"
    return next((f"no mask file {mask}" for mask in masks if not _is_there(mask)), None)


def _is_there(file: str) -> bool:
    """Whether a file is on disk, or the file or folder that it names a part of."""
    return Path(file).exists() or Path(file.rpartition("#")[0] or file).exists()


def _labels(
    cells: list[str | None], labeller: Labeller, path: Path, fault: Fault
) -> list[tuple[int | None, str | None, bool]]:
    """Label, finding, and whether the row is left out, of each row."""
    given = {cell for cell in cells if cell is not None}
    if not given:
        return [(None, None, False)] * len(cells)
    if not labeller.normal and not labeller.abnormal and all(map(_is_number, given)):
        return [(None if cell is None else _number(cell, row, fault), None, False) for row, cell in enumerate(cells, 1)]
    for row, cell in enumerate(cells, 1):
        if cell is not None and cell.casefold() in _UNCLEAR:
            raise fault(row, f"label {cell!r} says neither normal nor abnormal; leave the cell empty where unknown")
    table = labeller.labels(given, path)
    verdicts_only = all(is_normal_name(cell) or plain(cell) in ABNORMAL_NAMES for cell in given)
    return [
        (table.get(cell or ""), None if verdicts_only else cell, cell is not None and table[cell] is None)
        for cell in cells
    ]


def _is_number(cell: str) -> bool:
    return cell.casefold() in _NUMBERS or re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", cell) is not None


def _number(cell: str, row: int, fault: Fault) -> int:
    if cell.casefold() not in _NUMBERS:
        raise fault(row, f"label {cell!r} is neither 0 (normal) nor 1 (abnormal); for class numbers: --normal NUMBER")
    return _NUMBERS[cell.casefold()]


def _listed(value: Any, row: int, fault: Fault) -> Any:
    """A cell that may hold a JSON list, as that list, or else as its text."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise fault(row, f"{value!r} is not a JSON list") from error


def _masks(value: Any, row: int, fault: Fault) -> list[str]:
    names = _listed(value, row, fault)
    if names is None:
        return []
    if not isinstance(names, list):
        names = str(names).split(";")
    return [str(name).strip() for name in names if str(name).strip()]


def _boxes(value: Any, row: int, fault: Fault) -> tuple[Box, ...]:
    listed = _listed(value, row, fault)
    if listed is None:
        return ()
    if isinstance(listed, str):
        listed = [part.replace(",", " ").split() for part in listed.split(";") if part.strip()]
    try:
        four = [listed] if listed and not isinstance(listed[0], list) else listed
        boxes = tuple((float(x), float(y), float(w), float(h)) for x, y, w, h in four)
    except (TypeError, ValueError) as error:
        raise fault(row, f"boxes {value!r} are not lists of x, y, width, height") from error
    if any(not all(map(math.isfinite, box)) or box[2] <= 0 or box[3] <= 0 for box in boxes):
        raise fault(row, f"boxes {value!r} have a width or height that is not positive")
    return boxes
