"""The table as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unremarkable.benchmark.estimates import Estimate, Grid, Place
from unremarkable.benchmark.store import DONE
from unremarkable.evaluation.names import name_of
from unremarkable.evaluation.reconstruction import LPIPS, PERCEPTUAL

Rows = list[list[str]]


@dataclass(frozen=True)
class Column:
    """A metric as a table shows it: key in the evaluation, heading, and operating point of its verdicts."""

    metric: str
    heading: str
    point: str = "normals"
    lower_is_better: bool = False


_SCORES = ("auroc", "auprc", "sensitivity_at_specificity95", "sensitivity", "specificity")
COLUMNS = (
    *(Column(metric, name_of(metric)) for metric in _SCORES),
    Column("f1", "best F1", "best-f1"),
    Column("auprc", "pixel AUPRC", "pixel"),
    Column("best_dice", name_of("best_dice"), "pixel"),
    Column("ssim", f"{name_of('ssim')} of normals", "reconstruction"),
    *(Column(key, f"{name_of(key)} of normals", "reconstruction", lower_is_better=True) for key in (PERCEPTUAL, LPIPS)),
)
#: said beside every table that shows them
NOTE = (
    "Mean ± standard deviation over seeds and folds where there are several, and the 95 % bootstrap interval over"
    " patients. Sensitivity and specificity are at a false-alarm rate of 5 % set by held-out training normals."
    " Sensitivity at 95 % specificity, best F1 and best Dice are at thresholds that the test cases themselves favour,"
    " which flatters them. Where a figure has no interval, every resample agrees or the patients are too few for one."
)
#: heading of the column that `summary` fills
SEEDS = "seeds"
_COSTS = (
    ("fit_seconds", "fit, s", "{:.0f}", 1),
    ("fit_core_seconds", "fit, core s", "{:.0f}", 1),
    ("images_per_second", "images/s", "{:.1f}", 1),
    ("peak_memory_mb", "peak memory, MiB", "{:.0f}", 1),
    ("parameters", "parameters, M", "{:.2f}", 1e6),
    ("flops", "GFLOPs", "{:.2f}", 1e9),
)
_TIMES = ("fit_seconds", "fit_core_seconds", "images_per_second")
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}"}
)


def number(estimate: Estimate | None, *, interval: bool = True) -> str:
    """`0.880 ± 0.004 (0.854–0.904)`, as far as it is known."""
    if estimate is None or estimate.mean is None:
        return "–"
    text = f"{estimate.mean:.3f}"
    if estimate.sd is not None:
        text += f" ± {estimate.sd:.3f}"
    if interval and estimate.low is not None and estimate.high is not None:
        text += f" ({estimate.low:.3f}–{estimate.high:.3f})"
    return text


def columns_of(grid: Grid, name: str) -> list[Column]:
    """The metrics that some method has on a data set."""
    places = [grid.place(row, name) for row in grid.rows]
    return [column for column in COLUMNS if any(place.metric(column.metric, column.point) for place in places)]


def best(grid: Grid, column: str, metric: Column) -> float | None:
    """The best mean of a metric on a data set, as rounded in the table; None where there is none to choose from."""
    means = [_mean(grid.place(row, column), metric) for row in grid.rows]
    known = [mean for mean in means if mean is not None]
    if len(known) < 2:
        return None
    return min(known) if metric.lower_is_better else max(known)


def markdown(grid: Grid) -> str:
    """A table for each data set: figures with their intervals, the best in bold, and what they cost."""
    parts = []
    for name in grid.columns:
        columns = columns_of(grid, name)
        header = ["method", SEEDS, *(c.heading for c in columns), *(heading for _, heading, _, _ in _COSTS)]
        rows = []
        for row in grid.rows:
            place = grid.place(row, name)
            if place.blank == "":
                continue
            figures = [_bold(place, c, best(grid, name, c), "**{}**", number) for c in columns]
            rows.append([row, summary(place), *figures, *(text for _, text in costs(place))])
        parts.append(f"## {name}\n\n{pipe(header, rows)}")
    return "\n\n".join([*parts, NOTE]) + "\n"


def pipe(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def table_csv(grid: Grid) -> str:
    """Every metric of every place, one a line: mean, sd, interval and number of cells. Holds no times."""
    lines: Rows = []
    for name in grid.columns:
        for row in grid.rows:
            place = grid.place(row, name)
            for point, metric in sorted({key for cell in place.cells for key in _metrics(cell)}):
                found = place.metric(metric, point)
                assert found is not None
                values = (found.mean, found.sd, found.low, found.high)
                shown = ["" if value is None else f"{value:.6f}" for value in values]
                lines.append([name, row, point, metric, *shown, str(found.n), ""])
            if not place.cells and place.blank != "":
                lines.append([name, row, "", "", "", "", "", "", "0", summary(place)])
    return _csv(["data", "method", "operating point", "metric", "mean", "sd", "low", "high", "cells", "note"], lines)


def cells_csv(results: Sequence[Mapping[str, Any]]) -> str:
    """Every cell, one a line, with its costs, or its error."""
    names = [key for key, _, _, _ in _COSTS]
    keys = sorted({key for result in results if result["status"] == DONE for key in _metrics(result)})
    header = ["data", "method", "seed", "fold", "status", *(f"{metric} ({point})" for point, metric in keys)]
    lines = []
    for result in results:
        cell, done = result["cell"], result["status"] == DONE
        lines.append([result["column"], result["row"], str(cell["seed"]), _shown(cell["fold"]), result["status"]])
        for point, metric in keys:
            lines[-1].append(_shown(result["metrics"].get(point, {}).get(metric, {}).get("value")) if done else "")
        lines[-1] += [_shown(result["cost"].get(name)) if done else "" for name in names]
        provenance = result.get("provenance", {})
        lines[-1] += [_shown(provenance.get("commit")), _shown(provenance.get("command")), result.get("error", "")]
    return _csv([*header, *names, "commit", "command", "error"], lines)


def latex(grid: Grid) -> str:
    """A `booktabs` table: methods down, data sets with their metrics across; mean ± sd, the best in bold."""
    shown = [c for c in COLUMNS if any(c in columns_of(grid, name) for name in grid.columns)] or list(COLUMNS[:2])
    names = grid.columns
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{l{'r' * len(shown) * len(names)}}}",
        "\\toprule",
        " & ".join(["", *(f"\\multicolumn{{{len(shown)}}}{{c}}{{{escape(name)}}}" for name in names)]) + " \\\\",
        " ".join(f"\\cmidrule(lr){{{2 + i * len(shown)}-{1 + (i + 1) * len(shown)}}}" for i in range(len(names))),
        " & ".join(["Method", *(escape(c.heading) for _ in names for c in shown)]) + " \\\\",
        "\\midrule",
    ]
    for row in grid.rows:
        figures = []
        for name in names:
            place = grid.place(row, name)
            if not place.cells:
                figures.append(f"\\multicolumn{{{len(shown)}}}{{c}}{{{escape(summary(place)) or '--'}}}")
                continue
            figures += [_bold(place, c, best(grid, name, c), "\\textbf{{{}}}", _latex_number) for c in shown]
        lines.append(" & ".join([escape(row), *figures]) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return text.translate(_LATEX).replace("→", "$\\rightarrow$").replace("–", "--")


def _latex_number(estimate: Estimate | None) -> str:
    return number(estimate, interval=False).replace("±", "$\\pm$").replace("–", "--")


def _bold(place: Place, column: Column, top: float | None, frame: str, write: Any) -> str:
    if not place.cells:
        return ""
    text = write(place.metric(column.metric, column.point))
    return frame.format(text) if top is not None and _mean(place, column) == top else text


def _mean(place: Place, column: Column) -> float | None:
    found = place.metric(column.metric, column.point)
    return None if found is None or found.mean is None else round(found.mean, 3)


def summary(place: Place) -> str:
    """How many seeds a place has, and folds of each, and how many cells failed; or why it has none."""
    if place.blank is not None:
        return place.blank
    seeds = len({cell["cell"]["seed"] for cell in place.cells})
    folds = len({cell["cell"]["fold"] for cell in place.cells} - {None})
    parts = [f"{seeds} × {folds} folds" if folds else str(seeds)] if seeds else []
    if folds and len(place.cells) < seeds * folds:
        parts.append(f"{len(place.cells)} done")
    return ", ".join([*parts, *([f"{place.failed} failed"] if place.failed else [])])


def costs(place: Place) -> list[tuple[str, str]]:
    """Heading and text of each cost of a place; "" where it is not known. Times of a GPU say so."""
    gpu = " (GPU)" if place.cost("gpu_memory_mb") is not None else ""
    known = [(key, heading, place.cost(key), text, unit) for key, heading, text, unit in _COSTS]
    return [
        (heading, "" if value is None else text.format(value / unit) + (gpu if key in _TIMES else ""))
        for key, heading, value, text, unit in known
    ]


def _metrics(result: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {(point, metric) for point, values in result["metrics"].items() for metric in values}


def _shown(value: Any) -> str:
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()
