"""Running cells: each once, failures recorded, killed at any moment and continued. A stand-in plays the cell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unremarkable.benchmark.cells import Cell
from unremarkable.benchmark.matrix import DataEntry
from unremarkable.benchmark.runner import run_cells
from unremarkable.benchmark.store import Store
from unremarkable.errors import UsageError

#: does what a cell does, as its method says; "once" and "die" work at the second attempt; counts its runs
STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path
spec = Path(sys.argv[1])
cell = json.loads(spec.read_text())["cell"]
with open(cell["data"]["path"], "a") as runs:
    runs.write(f"{cell['row']} {cell['seed']}\\n")
attempts = Path(cell["data"]["path"]).read_text().count(f"{cell['row']} {cell['seed']}\\n")
if cell["method"] == "fails" or (cell["method"] == "once" and attempts == 1):
    (spec.parent / "reason.txt").write_text("no\\nluck")
    raise SystemExit(1)
if cell["method"] == "crashes":
    os.kill(os.getpid(), signal.SIGKILL)
if cell["method"] == "slow" and attempts == 1:
    os.read(0, 1)
    raise SystemExit(130)
while cell["method"] == "beside" and len(Path(cell["data"]["path"]).read_text().splitlines()) < 2:
    time.sleep(0.01)
made = spec.parent / "made"
made.mkdir(exist_ok=True)
result = {"status": "done", "key": spec.parent.name, "cell": cell, "row": cell["row"], "column": cell["data"]["name"]}
result["threads"] = os.environ.get("OMP_NUM_THREADS")
result["cost"] = {"fit_seconds": 1.0, "score_seconds": 1.0}
(made / "cell.json").write_text(json.dumps(result))
"""


@pytest.fixture
def program(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    return sys.executable, str(tmp_path / "stand_in.py")


def cells(tmp_path: Path, *methods: str) -> list[Cell]:
    data = DataEntry("heads", str(tmp_path / "runs.txt"))
    return [Cell(m, m, {"n": i}, {}, {}, 0, data, None, "published", False, None, "d") for i, m in enumerate(methods)]


def ran(tmp_path: Path) -> list[str]:
    return [line.split()[0] for line in (tmp_path / "runs.txt").read_text().splitlines()]


def test_each_once_failures_recorded_and_the_rest_goes_on(tmp_path: Path, program: tuple[str, str]) -> None:
    store = Store.open(tmp_path / "run", create=True)
    matrix = cells(tmp_path, "good", "fails", "crashes", "better")
    tally = run_cells(matrix, store, program=program)
    assert (len(tally.done), len(tally.failed)) == (2, 2)
    errors = {result["row"]: result["error"] for result in store.results() if result["status"] == "failed"}
    assert errors["fails"] == "no luck"
    assert "signal 9" in errors["crashes"]
    assert "out of memory" in errors["crashes"]
    again = run_cells(
        [*matrix, *cells(tmp_path, "good", "fails", "crashes", "better", "new")[4:]], store, program=program
    )
    assert (len(again.done), len(again.kept), len(again.failed)) == (1, 2, 2)
    assert ran(tmp_path) == ["good", "fails", "crashes", "better", "new"]
    assert not any(store.work_folder.iterdir())


def test_several_at_a_time_on_their_share_of_the_processors(
    tmp_path: Path, program: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("unremarkable.benchmark.runner.default_workers", lambda: 7)
    store = Store.open(tmp_path / "run", create=True)
    tally = run_cells(cells(tmp_path, "beside", "beside", "fails", "good"), store, program=program, jobs=2)
    assert (len(tally.done), len(tally.failed)) == (3, 1)
    assert [result["threads"] for result in store.results() if result["status"] == "done"] == ["3"] * 3
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    run_cells(cells(tmp_path, "good"), other := Store.open(tmp_path / "other", create=True), program=program, jobs=2)
    assert [result["threads"] for result in other.results()] == ["5"], "what the user set stays"


def test_failed_cells_run_again_only_where_asked(tmp_path: Path, program: tuple[str, str]) -> None:
    store = Store.open(tmp_path / "run", create=True)
    matrix = cells(tmp_path, "once")
    assert run_cells(matrix, store, program=program).failed
    assert run_cells(matrix, store, program=program).failed
    tally = run_cells(matrix, store, program=program, retry_failed=True)
    assert (len(tally.done), len(tally.failed)) == (1, 0)
    assert ran(tmp_path) == ["once", "once"]
    assert [result["status"] for result in store.results()] == ["done"]


def test_a_changed_option_is_another_cell_and_a_new_name_is_not(tmp_path: Path) -> None:
    first = cells(tmp_path, "knn")[0]
    values = first.to_dict()
    assert Cell.from_dict(json.loads(json.dumps(values))) == first
    for change in ({"options": {"n": 9}}, {"settings": {"size": 64}}, {"seed": 1}, {"fold": 0}, {"data_digest": "e"}):
        assert Cell.from_dict(values | change).key != first.key
    for change in ({"row": "other"}, {"device": "cuda"}, {"data": values["data"] | {"name": "renamed", "path": "/x"}}):
        assert Cell.from_dict(values | change).key == first.key
    assert first.slug.endswith(first.key)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_with_its_parent_and_continued(tmp_path: Path, program: tuple[str, str]) -> None:
    names = ("first", "slow", "last")
    code = (
        "import json, sys; from pathlib import Path\n"
        "from unremarkable.benchmark.cells import Cell; from unremarkable.benchmark.runner import run_cells\n"
        "from unremarkable.benchmark.store import Store\n"
        "cells = [Cell.from_dict(one) for one in json.loads(sys.argv[1])]\n"
        "run_cells(cells, Store.open(Path(sys.argv[2]), create=True), program=sys.argv[3:])\n"
    )
    matrix = cells(tmp_path, *names)
    given = json.dumps([cell.to_dict() for cell in matrix])
    run = tmp_path / "run"
    parent = subprocess.Popen([sys.executable, "-c", code, given, str(run), *program])
    while not (tmp_path / "runs.txt").exists() or len(ran(tmp_path)) < 2:
        assert parent.poll() is None
        time.sleep(0.01)
    store = Store.open(run)
    with pytest.raises(UsageError, match="another process"):
        run_cells(matrix, store, program=program)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert len(store.results()) == 1
    tally = run_cells(matrix, store, program=program)
    assert (len(tally.done), len(tally.kept)) == (2, 1)
    assert ran(tmp_path) == ["first", "slow", "slow", "last"]


def test_folders_that_are_no_benchmark(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_text("")
    with pytest.raises(UsageError, match="not a benchmark"):
        Store.open(tmp_path)
    with pytest.raises(UsageError, match="not empty"):
        Store.open(tmp_path, create=True)
    Store.open(tmp_path / "new", create=True)
    (tmp_path / "new" / "benchmark.json").write_text('{"format": 99}')
    with pytest.raises(UsageError, match="newer version"):
        Store.open(tmp_path / "new")
    (tmp_path / "new" / "benchmark.json").write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        Store.open(tmp_path / "new")
