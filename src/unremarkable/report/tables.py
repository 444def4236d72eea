"""Any dictionary of results as headings, lines and tables, so that a page shows what it was not told of.

What counts as what: a dictionary with "value", "low" and "high" is a figure with its interval; dictionaries side by
side whose entries are figures or plain values are the rows of a table; any other dictionary is a part with a heading.
Long lists of numbers (curves) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unremarkable.evaluation.names import label
from unremarkable.report import wording
from unremarkable.report.folder import interval

_LISTED = 8


@dataclass(frozen=True)
class Cell:
    """A value and its interval, each as text; the interval may be empty."""

    text: str
    bounds: str = ""


@dataclass(frozen=True)
class Table:
    """`rows` pairs each row's name with one cell for each of `columns`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Block:
    """A part of a page: heading, named values, a table, sentences, and parts of its own; each may be empty."""

    title: str
    facts: tuple[tuple[str, Cell], ...] = ()
    table: Table | None = None
    lines: tuple[str, ...] = ()
    inner: tuple[Block, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing below the heading."""
        return not (self.facts or self.table or self.lines or self.inner)


def block(title: str, values: Mapping[str, Any]) -> Block:
    """The part of a page that shows `values`."""
    facts: list[tuple[str, Cell]] = []
    inner: list[Block] = []
    for name, value in values.items():
        heading = label(name)
        if value is None or value == []:
            continue
        if (shown := _cell(value)) is not None:
            facts.append((heading, shown))
        elif rows := _rows(value):
            inner.append(Block(heading, table=_table(rows)))
        elif isinstance(value, Mapping) and not (part := block(heading, value)).empty:
            inner.append(part)
    return Block(title, tuple(facts), inner=tuple(inner))


def _cell(value: Any) -> Cell | None:
    """A figure, a plain value or a short list of them; None for anything else."""
    if _is_figure(value):
        return Cell(*wording.value(interval(value)))
    if isinstance(value, str | int | float | None):
        return Cell(wording.number(value))
    if isinstance(value, Sequence) and len(value) <= _LISTED and all(isinstance(v, str | int | float) for v in value):
        return Cell(", ".join(wording.number(one) for one in value) or "–")
    return None


def _rows(value: Any) -> dict[str, dict[str, Any]]:
    """The rows of a table by name, each flat; empty where `value` is no table."""
    if isinstance(value, Mapping):
        named = [(str(key), row) for key, row in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        named = [("", row) for row in value]
    else:
        return {}
    if not named or not all(isinstance(row, Mapping) and row and not _is_figure(row) for _, row in named):
        return {}
    flat = [(name, _flat(row)) for name, row in named]
    if any(row is None for _, row in flat):
        return {}
    # Rows of a list have no name of their own: the first value of each stands for it.
    rows: dict[str, dict[str, Any]] = {}
    for name, row in flat:
        assert row is not None
        if not name:
            first, value = next(iter(row.items()))
            name, row = f"{label(first)} {wording.number(value)}", dict(list(row.items())[1:])
        rows[name] = row
    return rows


def _flat(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row whose entries can all be cells, those of one inner dictionary among them; else None."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping) and not _is_figure(value):
            if any(_cell(inner) is None for inner in value.values()):
                return None
            flat.update(value)
        elif _cell(value) is None:
            return None
        else:
            flat[key] = value
    return flat


def _table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    # A column without a single value (a note that no row has) only takes room.
    columns = [key for key in columns if any(row.get(key) is not None for row in rows.values())]
    return Table(
        tuple(label(key) for key in columns),
        tuple((name, tuple(_cell(row.get(key)) or Cell("–") for key in columns)) for name, row in rows.items()),
    )


def _is_figure(value: Any) -> bool:
    return isinstance(value, Mapping) and {"value", "low", "high"} <= set(value)
