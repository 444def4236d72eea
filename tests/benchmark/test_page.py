"""The page: ranks over the data sets that all methods share, and cells of hostile names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unremarkable.benchmark.estimates import read_grid
from unremarkable.benchmark.page import rank_table, write_page
from unremarkable.benchmark.store import UNBUILT, Blank

Maker = Callable[..., dict[str, Any]]
SCORES = "path,label,finding,patient,score,p_value,flagged\na,0,,,0.1,0.5,False\nb,1,,,0.9,0.1,True\n"


@pytest.fixture
def results(cell: Maker, tmp_path: Path) -> list[dict[str, Any]]:
    made = []
    for row, figures in {"<b>x</b>": (0.9, 0.8, 0.7), "y_$1$": (0.7, 0.9, 0.6), "z": (0.6, 0.7, 0.5)}.items():
        for data, auroc in zip("abc", figures, strict=True):
            folder = tmp_path / f"{len(made)}"
            folder.mkdir()
            (folder / "scores.csv").write_text(SCORES)
            more = {"failures": [["<i>", "odd"]], "plan": [["method", row]], "calibration": [0.1, 0.2]}
            points = {"operating_points": {"normals": {"value": 0.5, "description": "given"}}}
            made.append(cell(row, data, auroc) | more | points | {"folder": folder})
    return made


def test_ranks_take_only_what_every_method_has(results: list[dict[str, Any]]) -> None:
    table, names = rank_table(read_grid(results, [Blank("vae", "a", UNBUILT)]))
    assert names == ["a", "b", "c"]
    assert table is not None
    assert table.tolist() == [[0.9, 0.7, 0.6], [0.8, 0.9, 0.7], [0.7, 0.6, 0.5]]
    table, names = rank_table(read_grid(results[:-1]))
    assert names == ["a", "b"]
    assert rank_table(read_grid(results[:1]))[0] is None


def test_page(results: list[dict[str, Any]], tmp_path: Path) -> None:
    results.append(results[0] | {"status": "failed", "error": "no <memory>", "key": "f"})
    write_page(tmp_path / "report.html", read_grid(results), results)
    page = (tmp_path / "report.html").read_text()
    assert "Friedman" in page
    assert "1.33" in page, "mean rank of the first method: 1, 2, 1"
    assert page.count("<details") == 10
    assert page.count("Sensitivity</th>") == 9, "once a cell, though both operating points rank alike"
    assert "auroc" not in page
    assert "best-f1" not in page
    assert "no &lt;memory&gt;" in page
    assert "<b>x</b>" not in page
    assert "<i>" not in page
    assert list(tmp_path.glob(".report*")) == []
