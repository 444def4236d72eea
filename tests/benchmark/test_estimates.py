"""Seeds and folds put together: means, spreads, intervals, and what must stay apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from unremarkable.benchmark.estimates import combine, read_grid
from unremarkable.benchmark.store import ABSENT, Blank

Maker = Callable[..., dict[str, Any]]


def bounded(value: float | None, low: float | None, high: float | None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def test_one_cell_is_itself() -> None:
    found = combine([(0, bounded(0.8, 0.7, 0.85))])
    assert (found.mean, found.sd, found.n, found.low, found.high) == (0.8, None, 1, 0.7, 0.85)


def test_seeds_average_their_bounds() -> None:
    found = combine([(0, bounded(0.8, 0.7, 0.9)), (1, bounded(0.9, 0.8, 0.96))])
    assert found.mean == pytest.approx(0.85)
    assert found.sd == pytest.approx(0.1 / math.sqrt(2))
    assert (found.low, found.high) == (pytest.approx(0.75), pytest.approx(0.93))


def test_folds_add_their_errors_in_squares() -> None:
    folds = [(0, bounded(0.8, 0.7, 0.86)), (0, bounded(0.9, 0.8, 0.98))]
    found = combine(folds)
    assert found.low == pytest.approx(0.85 - math.hypot(0.1, 0.1) / 2)
    assert found.high == pytest.approx(0.85 + math.hypot(0.06, 0.08) / 2)
    both = combine([*folds, *((1, one) for _, one in folds)])
    assert (both.low, both.high) == (pytest.approx(found.low), pytest.approx(found.high)), "seeds bring no new patients"


def test_what_is_undefined_once_is_undefined() -> None:
    found = combine([(0, bounded(0.8, 0.7, 0.9)), (1, bounded(None, None, None))])
    assert (found.mean, found.low, found.n) == (None, None, 2)
    found = combine([(0, bounded(0.8, 0.7, 0.9)), (1, bounded(0.9, None, None))])
    assert found.mean == pytest.approx(0.85)
    assert found.low is None


def test_places_and_findings(cell: Maker) -> None:
    failed = cell("knn", "heads", 0.0, seed=2) | {"status": "failed", "error": "no"}
    results = [cell("knn", "heads", 0.8, seed=1), cell("knn", "heads", 0.9), failed]
    grid = read_grid(results, [Blank("vae", "heads", ABSENT), Blank("knn", "heads", ABSENT)])
    assert (grid.rows, grid.columns) == (("knn", "vae"), ("heads",))
    place = grid.place("knn", "heads")
    assert [c["cell"]["seed"] for c in place.cells] == [0, 1]
    assert place.failed == 1
    assert place.metric("auroc").mean == pytest.approx(0.85)  # type: ignore[union-attr]
    assert place.metric("auroc", finding="cyst").mean == pytest.approx(0.6)  # type: ignore[union-attr]
    assert place.metric("auroc", finding="none") is None
    assert place.metric("f1") is None, "only at the operating point that has it"
    assert grid.place("vae", "heads").blank == ABSENT


def test_one_name_with_other_options_or_other_content_stays_apart(cell: Maker) -> None:
    grid = read_grid([cell("knn", "a", 0.8), cell("knn", "a", 0.9, settings={"size": 64})])
    assert grid.rows == ("knn (size=32)", "knn (size=64)")
    grid = read_grid([cell("knn", "a", 0.8), cell("knn", "a", 0.9, data_digest="changed")])
    assert len(grid.columns) == 2


def test_the_order_of_results_changes_nothing(cell: Maker) -> None:
    results = [cell(row, data, 0.8, seed) for row in ("b", "a") for data in ("y", "x") for seed in (1, 0)]
    assert read_grid(results) == read_grid(results[::-1])
