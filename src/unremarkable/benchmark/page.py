"""The benchmark as one HTML page that needs nothing else: tables, ROC curves, ranks, and every cell on its own."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from scipy.stats import rankdata

from unremarkable.benchmark.estimates import POINTS, RANKING, Grid, Place
from unremarkable.benchmark.store import DONE, ERROR, SCORES
from unremarkable.benchmark.tables import NOTE, SEEDS, best, columns_of, costs, number, summary
from unremarkable.evaluation.curves import Curve
from unremarkable.evaluation.intervals import Interval
from unremarkable.evaluation.names import label
from unremarkable.evaluation.repeats import friedman
from unremarkable.explain.curves import Drawn, roc_figure
from unremarkable.explain.ranks import critical_difference_figure
from unremarkable.explain.scores import score_figure
from unremarkable.explain.style import svg
from unremarkable.files import whole_file

#: what the figures of a cell are grouped by, in order
_GROUPS = {
    "scores": "Scores alone",
    "normals": "At the threshold from the calibration normals",
    "best-f1": "At the threshold of the best F1, chosen on the test labels",
    "pixel": "Pixels",
    "lesion": "Lesions",
    "reconstruction": "Reconstruction of normals",
}
_COSTS = {
    "fit_seconds": ("fit", "{:,.1f} s"),
    "fit_core_seconds": ("fit, on all cores together", "{:,.1f} s"),
    "score_seconds": ("scoring", "{:,.1f} s"),
    "images_per_second": ("images per second", "{:,.1f}"),
    "peak_memory_mb": ("peak memory", "{:,.0f} MiB"),
    "gpu_memory_mb": ("GPU memory", "{:,.0f} MiB"),
    "parameters": ("parameters", "{:,}"),
    "buffers": ("kept by fitting", "{:,} values"),
    "flops": ("FLOPs an image", "{:,}"),
}
#: points at which the curves of several seeds are averaged
_POINTS = 401


def write_page(path: Path, grid: Grid, results: Sequence[Mapping[str, Any]]) -> None:
    """Write the page of one benchmark, whole or not at all."""
    environment = Environment(
        loader=PackageLoader("unremarkable.benchmark"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("benchmark.html.j2").render(
        title=f"Benchmark: {len(grid.rows)} methods on {len(grid.columns)} data sets",
        note=NOTE,
        columns=[_column(grid, name) for name in grid.columns],
        ranks=_ranks(grid),
        cells=[_cell(result) for result in results],
    )
    with whole_file(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")


def _column(grid: Grid, name: str) -> dict[str, Any]:
    """One data set: its rows of figures, and the ROC curves of all methods."""
    rows, columns = [], columns_of(grid, name)
    places = [place for row in grid.rows if (place := grid.place(row, name)).blank != ""]
    for place in places:
        figures = []
        for column in columns if place.cells else ():
            found = place.metric(column.metric, column.point)
            mean = found.mean if found else None
            text, _, bounds = number(found).partition(" (")
            figures.append((text, bounds.rstrip(")"), mean is not None and round(mean, 3) == best(grid, name, column)))
        rows.append({"name": _breakable(place.row), "cells": summary(place), "figures": figures, "costs": costs(place)})
    curves = {place.row: _mean_curve(place) for place in places if place.cells}
    drawn = Markup(svg(roc_figure(curves), f"ROC curves on {name}")) if curves else None
    headings = [SEEDS, *(column.heading.replace(" %", "\u00a0%") for column in columns)]
    prices = [heading.replace(", ", ",\u00a0") for heading, _ in costs(places[0])] if places else []
    return {"name": name, "headings": headings, "costs": prices, "rows": rows, "roc": drawn}


def _breakable(name: str) -> Markup:
    """A row's name, which may break after the commas of its options."""
    return escape(name).replace(",", Markup(",<wbr>"))


def _mean_curve(place: Place) -> Drawn:
    """The ROC curve of a place; of several cells, the mean sensitivity at each false-positive rate (Fawcett 2006)."""
    found = place.metric("auroc")
    area = Interval(None, None, None, "undefined") if found is None else Interval(found.mean, found.low, found.high)
    curves = [cell["curves"]["roc"] for cell in place.cells]
    if len(curves) == 1:
        x, y = np.array(curves[0]["x"]), np.array(curves[0]["y"])
    else:
        grid = np.linspace(0, 1, _POINTS)
        mean = np.mean([np.interp(grid, curve["x"], curve["y"]) for curve in curves], axis=0)
        x, y = np.append(0, grid), np.append(0, mean)
    return Drawn(Curve(x, y, np.full(len(x), np.nan)), area)


def _ranks(grid: Grid) -> dict[str, Any] | None:
    """Average ranks by AUROC over the data sets that every method was tested on; None with nothing to rank."""
    table, columns = rank_table(grid)
    if table is None:
        return None
    names = [row for row in grid.rows if any(grid.place(row, column).cells for column in columns)]
    text = f"Ranks by AUROC, averaged over {len(columns)} data sets ({', '.join(columns)}); 1 is best."
    if len(names) < 3:  # Friedman's test compares three or more
        ranks, critical = rankdata(-table, axis=1).mean(axis=0).tolist(), None
    else:
        test = friedman(table, names)
        ranks, critical = list(test.mean_ranks), test.critical_difference
        if test.p_value is not None:
            text += f" Friedman's test: p = {test.p_value:.3g}; a bar joins what Nemenyi's test does not tell apart."
    figure = critical_difference_figure(names, ranks, critical)
    return {"figure": Markup(svg(figure, "Average ranks")), "text": text}


def rank_table(grid: Grid) -> tuple[np.ndarray[Any, np.dtype[np.float64]] | None, list[str]]:
    """Mean AUROC `(data sets, methods)` where every method that ran at all has one, and the names of those data sets.

    None where fewer than two methods or data sets are left.
    """
    rows = [row for row in grid.rows if any(grid.place(row, column).cells for column in grid.columns)]
    found, names = [], []
    for column in grid.columns:
        means = [grid.place(row, column).metric("auroc") for row in rows]
        known = [one.mean for one in means if one is not None and one.mean is not None]
        if len(known) == len(rows):
            found.append(known)
            names.append(column)
    return (np.array(found), names) if len(found) > 1 and len(rows) > 1 else (None, names)


def _cell(result: Mapping[str, Any]) -> dict[str, Any]:
    """One cell for its drill-down."""
    cell = result["cell"]
    fold = "" if cell["fold"] is None else f", fold {cell['fold'] + 1}"
    shared = {
        "title": f"{result['row']} on {result['column']}, seed {cell['seed']}{fold}",
        "done": result["status"] == DONE,
        "settings": {**cell["settings"], **cell["options"]},
    }
    if result["status"] != DONE:
        trace = result["folder"] / ERROR
        return shared | {"error": result["error"], "trace": trace.read_text("utf-8") if trace.exists() else ""}
    return shared | {
        "selection": result["selection"],
        "notes": result["notes"],
        "failures": result["failures"],
        "plan": result["plan"],
        "groups": _groups(result),
        "histogram": Markup(svg(_histogram(result), f"Scores of {shared['title']}")),
        "cost": [
            (name, form.format(value))
            for key, (name, form) in _COSTS.items()
            if (value := result["cost"].get(key)) is not None
        ],
        "provenance": result["provenance"],
    }


def _groups(result: Mapping[str, Any]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Heading, note, and names and values of the figures; those that need no verdict stand in a group of their own."""
    found: dict[str, dict[str, str]] = {group: {} for group in _GROUPS}
    for point, values in result["metrics"].items():
        for key, one in values.items():
            group = "scores" if key in RANKING and point in POINTS else point
            interval = Interval(one["value"], one["low"], one["high"], one.get("reason"))
            why = f": {interval.reason}" if interval.value is None else ""
            found[group][label(key)] = interval.text(between="–") + why
    notes = {point: about["description"] for point, about in result["operating_points"].items()}
    return [(_GROUPS[group], notes.get(group, ""), list(rows.items())) for group, rows in found.items() if rows]


def _histogram(result: Mapping[str, Any]) -> Figure:
    with (result["folder"] / SCORES).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    point = result["operating_points"].get("normals")
    return score_figure(
        [float(row["score"]) for row in rows],
        [int(row["label"]) for row in rows],
        result["calibration"],
        point["value"] if point else None,
    )
