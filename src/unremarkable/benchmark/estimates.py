"""From cells to the places of a table: seeds and folds put together, with a spread and an interval."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unremarkable.benchmark.store import DONE, Blank, Store

Cells = Sequence[Mapping[str, Any]]
POINTS = ("normals", "best-f1")
#: metrics that need scores alone, the same at every operating point
RANKING = ("auroc", "auprc", "fpr_at_tpr95", "fpr_at_tpr99", "sensitivity_at_specificity95")


@dataclass(frozen=True)
class Estimate:
    """A figure over cells: mean, standard deviation (None for one cell), number of cells, and 95 % interval.

    `mean` is None where it is undefined in any of the cells.
    """

    mean: float | None
    sd: float | None
    n: int
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Place:
    """One place of the table: the finished cells of one row and column, and how many failed, or why it is blank."""

    row: str
    column: str
    cells: tuple[Mapping[str, Any], ...] = ()
    failed: int = 0
    blank: str | None = None

    def metric(self, name: str, point: str = "normals", finding: str | None = None) -> Estimate | None:
        """A metric over the cells, with the verdicts of an operating point; None where no cell has it.

        Args:
            name: as in `Evaluation.metrics`; those that need no verdict are the same at every operating point.
            point: "normals", "best-f1", "pixel", "lesion" or "reconstruction".
            finding: of the abnormal cases, this class alone.
        """
        found = []
        for cell in self.cells:
            source = cell if finding is None else cell["findings"].get(finding)
            points = source["metrics"] if source else {}
            interval = points.get(point, {}).get(name)
            if interval is None and point in POINTS and name in RANKING:
                interval = next((points[one][name] for one in POINTS if name in points.get(one, {})), None)
            if interval is not None:
                found.append((cell["cell"]["seed"], interval))
        return combine(found) if found else None

    def cost(self, name: str) -> float | None:
        """A cost, averaged over the cells; None where it is not known."""
        values = [value for cell in self.cells if (value := cell["cost"].get(name)) is not None]
        return statistics.fmean(values) if values else None


def combine(found: Sequence[tuple[int, Mapping[str, float | None]]]) -> Estimate:
    """One figure from intervals, each with the seed of its cell.

    Several cells of one seed are the folds of a cross-validation: other patients each, so that the errors of the mean
    add in squares (Zou and Donner, Statistics in Medicine 27, 2008). Cells of several seeds were tested on the same
    patients: the bounds are averaged, which is exact where all seeds move together, and too wide where they do not.
    """
    values = [interval["value"] for _, interval in found]
    defined = [value for value in values if value is not None]
    if len(defined) < len(values):
        return Estimate(None, None, len(values), None, None)
    seeds: dict[int, list[Mapping[str, float | None]]] = defaultdict(list)
    for seed, interval in found:
        seeds[seed].append(interval)
    bounds = [_of_folds(folds) for folds in seeds.values()]
    lows, highs = [low for low, _ in bounds if low is not None], [high for _, high in bounds if high is not None]
    whole = len(lows) == len(highs) == len(bounds)
    return Estimate(
        mean=statistics.fmean(defined),
        sd=statistics.stdev(defined) if len(defined) > 1 else None,
        n=len(defined),
        low=statistics.fmean(lows) if whole else None,
        high=statistics.fmean(highs) if whole else None,
    )


def _of_folds(folds: Sequence[Mapping[str, float | None]]) -> tuple[float | None, float | None]:
    low_squares = high_squares = total = 0.0
    for interval in folds:
        value, low, high = interval["value"], interval["low"], interval["high"]
        if value is None or low is None or high is None:
            return None, None
        total += value
        low_squares += (value - low) ** 2
        high_squares += (high - value) ** 2
    n = len(folds)
    return (total - math.sqrt(low_squares)) / n, (total + math.sqrt(high_squares)) / n


@dataclass(frozen=True)
class Grid:
    """The whole table: rows and columns in the order they came in, and the place of each pair."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    places: Mapping[tuple[str, str], Place]

    def place(self, row: str, column: str) -> Place:
        """The place of a row and a column; blank where nothing was asked for."""
        return self.places.get((row, column)) or Place(row, column, blank="")


def read_grid(results: Cells, blanks: Sequence[Blank] = ()) -> Grid:
    """Put results together by row and column; the order is by name, the same however a run came about.

    Rows of one name with other options, and columns of one name with other content, stay apart, and say how they
    differ.
    """
    rows, columns = _told_apart(results, _row_identity), _told_apart(results, _column_identity)
    together: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for result, row, column in zip(results, rows, columns, strict=True):
        together[row, column].append(result)
    places = {
        (row, column): Place(
            row,
            column,
            tuple(sorted((c for c in cells if c["status"] == DONE), key=_order)),
            sum(c["status"] != DONE for c in cells),
        )
        for (row, column), cells in together.items()
    }
    for one in blanks:
        places.setdefault((one.row, one.column), Place(one.row, one.column, blank=one.reason))
    return Grid(tuple(sorted({row for row, _ in places})), tuple(sorted({column for _, column in places})), places)


def read_store(store: Store) -> Grid:
    """The table of one benchmark."""
    return read_grid(store.results(), store.blanks)


def _order(result: Mapping[str, Any]) -> tuple[int, int]:
    return result["cell"]["seed"], result["cell"]["fold"] or 0


def _row_identity(result: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    cell = result["cell"]
    return result["row"], {"method": cell["method"], **cell["options"], **cell["settings"]}


def _column_identity(result: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return result["column"], {"content": result["cell"]["data_digest"][:6]}


def _told_apart(results: Cells, identity: Any) -> list[str]:
    """The name of each result's row or column, with what differs between those of one name."""
    found = [identity(result) for result in results]
    variants: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, values in found:
        if values not in variants[name]:
            variants[name].append(values)
    names = []
    for name, values in found:
        keys = {key for one in variants[name] for key in one}
        differing = sorted(k for k in keys if any(one.get(k) != variants[name][0].get(k) for one in variants[name]))
        extra = ", ".join(f"{key}={values.get(key)}" for key in differing)
        names.append(f"{name} ({extra})" if extra else name)
    return names


def as_records(grid: Grid) -> list[dict[str, Any]]:
    """The table as plain values: a record a place, with its metrics at each operating point, or why it has none."""
    records = []
    for column in grid.columns:
        for row in grid.rows:
            place = grid.place(row, column)
            if place.blank == "":
                continue
            keys = sorted({(p, m) for cell in place.cells for p, values in cell["metrics"].items() for m in values})
            metrics: dict[str, dict[str, Any]] = defaultdict(dict)
            for point, metric in keys:
                found = place.metric(metric, point)
                metrics[point][metric] = None if found is None else vars(found)
            counts = {"cells": len(place.cells), "failed": place.failed}
            records.append({"data": column, "method": row, **counts, "note": place.blank, "metrics": metrics})
    return records
