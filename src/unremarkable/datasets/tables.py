"""Tables on disk, CSV, TSV or Parquet, as plain rows."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unremarkable.errors import UsageError, unknown_name
from unremarkable.files import whole_file

_PARQUET = frozenset({".parquet", ".pq"})
SUFFIXES = frozenset({".csv", ".tsv"}) | _PARQUET
_DELIMITERS = (",", ";", "\t")
_INTEGER, _REAL = re.compile(r"-?(0|[1-9][0-9]*)"), re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?")

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows of a table, by column name; empty cells are None.

    A text column whose filled cells are all numbers without leading zeros becomes int or float. A `.csv` may use
    commas, semicolons or tabs.

    Raises:
        UsageError: the file cannot be read as a table, or reading Parquet needs a package that is not installed.
    """
    rows = _read_parquet(path) if path.suffix.lower() in _PARQUET else _read_text(path)
    if not rows:
        raise UsageError(f"{path}: the table has no rows")
    return rows


def write_rows(path: Path, rows: list[Row], header: list[str]) -> None:
    """Write rows as the suffix says, whole or not at all.

    Raises:
        UsageError: the suffix is none of `SUFFIXES`, or the file cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise unknown_name("manifest suffix", path.suffix, SUFFIXES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as unfinished:
            _write(unfinished, rows, header)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


def _write(path: Path, rows: list[Row], header: list[str]) -> None:
    suffix = path.suffix.lower()
    if suffix in _PARQUET:
        _pandas().DataFrame(rows, columns=header).to_parquet(path, index=False)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _read_text(path: Path) -> list[Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.split("\n", 1)[0]
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(_DELIMITERS, key=first.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        lines = [line for line in reader if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as a table in UTF-8: {error}") from error
    if not lines:
        return []
    names, lines = [name.strip() for name in lines[0]], lines[1:]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{path}: column {doubled[0]!r} is there twice")
    for number, line in enumerate(lines, start=1):
        if len(line) != len(names):
            raise UsageError(f"{path}: row {number}: {len(line)} cells under {len(names)} columns")
    kinds = [_kind([line[column] for line in lines]) for column in range(len(names))]
    return [
        {name: kind(cell) if cell.strip() else None for name, kind, cell in zip(names, kinds, line, strict=True)}
        for line in lines
    ]


def _kind(cells: list[str]) -> Callable[[str], Any]:
    """Numbers where every filled cell of a column is one, else text: "007" stays a name."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    if all(_INTEGER.fullmatch(cell) for cell in filled):
        return int
    if all(_INTEGER.fullmatch(cell) or _REAL.fullmatch(cell) for cell in filled):
        return float
    return str.strip


def _read_parquet(path: Path) -> list[Row]:
    pandas = _pandas()
    try:
        table = pandas.read_parquet(path)
    except Exception as error:  # pyarrow has an exception class of its own for each thing that can be wrong inside
        raise UsageError(f"{path}: cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    return [{str(name): _native(value) for name, value in row.items()} for row in table.to_dict("records")]


def _native(value: Any) -> Any:
    """A Parquet cell as plain Python: lists for arrays, text for dates and the like, None for what is missing."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [_native(item) for item in value]
    if value is None or (isinstance(value, float) and math.isnan(value)) or str(value) in ("NaT", "<NA>", ""):
        return None
    return value if isinstance(value, bool | int | float | str) else str(value)


def _pandas() -> Any:
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow: pip install 'unremarkable[parquet]', or use CSV") from error
    return pandas
