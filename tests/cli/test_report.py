"""`unremarkable report` on what evaluate and score wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def evaluated(run: Run, model: Path, phantoms: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "eval"
    outcome = run("evaluate", model, phantoms, "-o", folder, "--replicates", 100, "--json")
    assert outcome.code == 0, outcome.err
    return folder


def test_the_page_made_again_is_the_page_that_evaluate_made(run: Run, evaluated: Path, tmp_path: Path) -> None:
    first = (evaluated / "report.html").read_bytes()
    outcome = run("report", evaluated, "-o", tmp_path / "page.html")
    assert outcome.code == 0, outcome.err
    assert "look at: " in outcome.err
    assert (tmp_path / "page.html").read_bytes() == first
    (evaluated / "report.html").unlink()
    assert run("report", evaluated, "--json").json() == {"report": str((evaluated / "report.html").resolve())}
    assert (evaluated / "report.html").read_bytes() == first
    record = json.loads((evaluated / "run.json").read_text())
    assert record["model"]["parts"]["training"]["cases"] > 0
    assert set(record["shortcuts"]) >= {"width", "contrast"}


def test_an_existing_file_is_not_replaced_unasked(run: Run, evaluated: Path, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.write_text("mine")
    assert run("report", evaluated, "-o", target).code == 2
    assert target.read_text() == "mine"
    assert run("report", evaluated, "-o", target, "--overwrite").code == 0
    assert "CLAIM" in target.read_text()


def test_score_leaves_a_run_too(run: Run, model: Path, phantoms: Path, tmp_path: Path) -> None:
    assert run("score", model, phantoms / "test", "-o", tmp_path / "out", "--maps", "none", "--json").code == 0
    first = (tmp_path / "out" / "report.html").read_bytes()
    assert run("report", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "report.html").read_bytes() == first


def test_what_is_no_run_is_one_line(run: Run, evaluated: Path, tmp_path: Path) -> None:
    outcome = run("report", tmp_path)
    assert outcome.code == 2
    assert "not written by score or evaluate" in outcome.line()
    (evaluated / "run.json").unlink()
    outcome = run("report", evaluated)
    assert outcome.code == 2
    assert "run score or evaluate again" in outcome.line()


def test_the_page_of_a_benchmark(run: Run, tmp_path: Path) -> None:
    from unremarkable.benchmark.store import Store

    Store.open(tmp_path / "bench", create=True)
    outcome = run("report", tmp_path / "bench", "-o", tmp_path / "new" / "page.html")
    assert outcome.code == 0, outcome.err
    assert "<html" in (tmp_path / "new" / "page.html").read_text()
