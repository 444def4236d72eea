"""Markdown, CSV and LaTeX of cells whose figures are known."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest

from unremarkable.benchmark.estimates import Grid, read_grid
from unremarkable.benchmark.store import ABSENT, UNBUILT, Blank
from unremarkable.benchmark.tables import cells_csv, costs, escape, latex, markdown, number, summary, table_csv

Maker = Callable[..., dict[str, Any]]


@pytest.fixture
def grid(cell: Maker) -> Grid:
    results = [
        cell("knn", "heads", 0.9),
        cell("knn", "heads", 0.8, seed=1),
        cell("a_b", "heads", 0.7),
        cell("knn", "chests", 0.6),
        cell("a_b", "chests", 0.9) | {"status": "failed", "error": "no memory"},
    ]
    return read_grid(results, [Blank("vae", "heads", UNBUILT), Blank("vae", "bones", ABSENT)])


def test_markdown(grid: Grid) -> None:
    text = markdown(grid)
    rows = [line for line in text.splitlines() if line.startswith("| knn")]
    assert "| knn | 2 | **0.850 ± 0.071 (0.830–0.870)** |" in rows[1]
    assert "| 0.600 (0.580–0.620) |" in rows[0], "nothing to be best of"
    assert "| a_b | 1 | 0.700 (0.680–0.720) |" in text
    assert "| a_b | 1 failed |" in text
    assert f"| vae | {UNBUILT} |" in text
    assert f"| vae | {ABSENT} |" in text
    assert "2.00" in text, "parameters in millions"
    assert (
        "| method | seeds | AUROC | sensitivity | best F1 | fit, s | fit, core s | images/s | peak memory, MiB |"
        in text
    )


def test_every_place_states_its_seeds_and_folds(cell: Maker) -> None:
    folds = [cell("knn", "heads", 0.9, seed=seed, fold=fold) for seed in (0, 4) for fold in (0, 1, 2)]
    said = {
        "1": [cell("knn", "heads", 0.9)],
        "2 × 3 folds": folds,
        "2 × 3 folds, 5 done, 1 failed": [*folds[:-1], folds[-1] | {"status": "failed", "error": "no memory"}],
        "1 failed": [folds[0] | {"status": "failed", "error": "no memory"}],
    }
    for text, cells in said.items():
        assert summary(read_grid(cells).place("knn", "heads")) == text


def test_latex(grid: Grid) -> None:
    text = latex(grid)
    lines = text.splitlines()
    assert lines[1].startswith("\\begin{tabular}{l")
    assert {"\\toprule", "\\midrule", "\\bottomrule", "\\end{tabular}"} <= set(lines)
    body = lines[lines.index("\\midrule") + 1 : lines.index("\\bottomrule")]
    assert all(line.endswith(" \\\\") for line in body)
    assert any("\\textbf{0.850 $\\pm$ 0.071}" in line for line in body)
    assert any(line.startswith("a\\_b &") for line in body)
    wide = int(lines[1].count("r")) - 1  # "tabular" has one
    for line in body:
        spanned = sum(int(part.split("}")[0]) - 1 for part in line.split("\\multicolumn{")[1:])
        assert line.count(" & ") + spanned == wide


def test_csv_has_every_metric_and_no_times(grid: Grid) -> None:
    rows = list(csv.DictReader(io.StringIO(table_csv(grid))))
    found = {(r["data"], r["method"], r["operating point"], r["metric"]): r for r in rows}
    both = found["heads", "knn", "normals", "auroc"]
    assert (float(both["mean"]), both["cells"]) == (0.85, "2")
    assert float(both["sd"]) == pytest.approx(0.070711)
    assert found["bones", "vae", "", ""]["note"] == ABSENT
    assert "seconds" not in table_csv(grid)


def test_cells_csv_has_errors_and_costs(cell: Maker) -> None:
    done = cell("knn", "heads", 0.9)
    failed = cell("knn", "heads", None, seed=1) | {"status": "failed", "error": 'no "memory", again'}
    rows = list(csv.DictReader(io.StringIO(cells_csv([done, failed]))))
    assert float(rows[0]["auroc (normals)"]) == 0.9
    assert float(rows[0]["fit_seconds"]) == 3.0
    assert rows[1]["error"] == 'no "memory", again'


def test_special_characters() -> None:
    assert escape(r"50 % & a_b $x$ \ #1 → c") == (r"50 \% \& a\_b \$x\$ \textbackslash{} \#1 $\rightarrow$ c")
    assert number(None) == "–"


def test_no_cells_at_all() -> None:
    empty = read_grid([])
    assert markdown(empty)
    assert "\\bottomrule" in latex(empty)
    assert len(table_csv(empty).splitlines()) == 1


def test_times_of_a_gpu_say_so(cell: Maker) -> None:
    plain, fast = cell("knn", "a", 0.9), cell("knn", "b", 0.9)
    fast["cost"]["gpu_memory_mb"] = 100.0
    grid = read_grid([plain, fast])
    told = {name: dict(costs(grid.place("knn", name))) for name in "ab"}
    assert (told["a"]["fit, s"], told["b"]["fit, s"]) == ("3", "3 (GPU)")
    assert (told["a"]["images/s"], told["b"]["images/s"]) == ("8.0", "8.0 (GPU)")
    assert told["a"]["parameters, M"] == told["b"]["parameters, M"]
