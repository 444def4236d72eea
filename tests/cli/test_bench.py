"""`unremarkable bench`, with real cells: a matrix that is killed ends as one that is not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
MATRIX = ("--methods", "knn[size=32]", "--data", "a,b,c", "--data-root")


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small data sets of simulated slices; in c, a test normal is a copy of a training one."""
    from unremarkable.datasets.phantom import make_phantom_dataset

    root = tmp_path_factory.mktemp("heads")
    for seed, name in enumerate("abc"):
        make_phantom_dataset(root / name, n_train=12, n_test_normal=4, n_test_abnormal=4, size=32, seed=seed)
    shutil.copy(root / "c/train/normal/simulated_normal_0000.png", root / "c/test/normal/simulated_normal_0003.png")
    return root


def bench(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "unremarkable.cli.main", "bench", *map(str, arguments)]


@pytest.fixture(scope="session")
def undisturbed(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The matrix, run in one go."""
    run = tmp_path_factory.mktemp("bench") / "run"
    done = subprocess.run(bench(*MATRIX, heads, "-o", run), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_midway_and_started_again(undisturbed: Path, heads: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = bench(*MATRIX, heads, "-o", run)
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not any((run / "cells").glob("*/cell.json")) or not any((run / "work").iterdir()):
        assert first.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    finished = {folder: (folder / "cell.json").stat().st_mtime_ns for folder in (run / "cells").iterdir()}
    assert 0 < len(finished) < 3
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert f"{len(finished)} kept from before" in again.stderr
    assert all((folder / "cell.json").stat().st_mtime_ns == when for folder, when in finished.items())
    for name in ("table.csv", "table.tex"):
        assert (run / name).read_text() == (undisturbed / name).read_text()
    for folder in (undisturbed / "cells").iterdir():
        assert (folder / "scores.csv").read_bytes() == (run / "cells" / folder.name / "scores.csv").read_bytes()


def test_finished_cells_are_not_run_again(undisturbed: Path, heads: Path, run: Run) -> None:
    done = run("bench", *MATRIX, heads, "-o", undisturbed, "--json")
    assert done.code == 0
    told = done.json()
    assert (told["done"], told["kept"], told["failed"]) == (0, 3, 0)
    assert {row["data"] for row in told["table"]} == {"a", "b", "c"}
    assert told["table"][0]["metrics"]["normals" if "normals" in told["table"][0]["metrics"] else "best-f1"]["auroc"]


def test_what_a_cell_keeps(undisturbed: Path) -> None:
    folder = next((undisturbed / "cells").iterdir())
    cell = json.loads((folder / "cell.json").read_text())
    assert {"fit_seconds", "images_per_second", "peak_memory_mb", "parameters", "flops"} <= set(cell["cost"])
    assert all(cell["cost"][key] > 0 for key in ("fit_seconds", "images_per_second", "peak_memory_mb", "flops"))
    assert "command" in cell["provenance"]
    assert "typed" in cell["provenance"]
    assert cell["counts"] == {"cases": 8, "normal": 4, "abnormal": 4, "patients": 8}
    assert "best_dice" in cell["metrics"]["pixel"], "the simulated lesions have masks"
    lines = (folder / "scores.csv").read_text().splitlines()
    assert lines[0] == "path,label,finding,patient,score,p_value,flagged"
    assert len(lines) == 9
    assert all(line.startswith("test/") for line in lines[1:]), "paths below the data set, the same on any machine"


def test_tables_again_and_results(undisturbed: Path, run: Run, tmp_path: Path) -> None:
    before = (undisturbed / "table.md").read_text()
    (undisturbed / "table.md").unlink()
    done = run("bench", "--tables", undisturbed)
    assert done.code == 0
    assert "AUROC" in done.out
    assert (undisturbed / "table.md").read_text() == before
    page = (undisturbed / "report.html").read_text()
    assert page.count("<details") == 3
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert run("bench", "--results", tmp_path / "docs/results.md", undisturbed).code == 0
    text = (tmp_path / "docs/results.md").read_text()
    assert "### Retinal OCT" in text
    assert "0.9894 ± 0.0016" in text
    assert "`unremarkable bench --methods 'knn[size=32]' --data a --data-root DATA --seeds 1 -o RUN`" in text
    assert str(undisturbed) not in text


def test_a_cell_that_fails(heads: Path, run: Run, tmp_path: Path) -> None:
    done = run("bench", "--methods", "autoencoder[size=40]", "--data", heads / "a", "-o", tmp_path / "run", "--json")
    assert done.code == 1
    assert "multiples of 16" in done.json()["failures"][0]["error"]
    assert "Traceback" not in done.err
    folder = next((tmp_path / "run/cells").iterdir())
    assert "Traceback" in (folder / "error.txt").read_text()
    assert "multiples of 16" in (tmp_path / "run/report.html").read_text()
    again = run("bench", "--methods", "autoencoder[size=40]", "--data", heads / "a", "-o", tmp_path / "run")
    assert again.code == 1, "it is still not done"
    assert "0 cells run" in again.err


def test_deduplicated(heads: Path) -> None:
    from unremarkable.benchmark.cells import make_cells
    from unremarkable.benchmark.matrix import parse_data, parse_methods
    from unremarkable.benchmark.protocol import Protocol, apply_protocol, content

    protocol = Protocol(deduplicate=True)
    (cell,) = make_cells(parse_methods(["knn"]), parse_data(["c"], heads), [0], protocol)
    assert cell.column == "c, without copies"
    (other,) = make_cells(parse_methods(["knn"]), parse_data(["c"], heads), [0], Protocol())
    assert cell.key != other.key
    dataset = cell.data.open()
    parts = apply_protocol(protocol, dataset, digests=content(dataset.cases))
    assert parts.notes[0].startswith("1 of the 12 cases to learn from")
    assert len(parts.learning) == 11


def test_data_named_beside_a_matrix_takes_the_place_of_its_own(heads: Path, run: Run, tmp_path: Path) -> None:
    matrix = tmp_path / "m.json"
    matrix.write_text('{"data": ["c"], "methods": {"knn": {}}}')
    for given, columns in ((), {"c"}), (("--data", "a"), {"a"}):
        folder = tmp_path / f"run{len(given)}"
        done = run(
            "bench", "--matrix", matrix, *given, "--data-root", heads, "--set", "size=32", "-o", folder, "--json"
        )
        assert {row["data"] for row in done.json()["table"]} == columns


def test_a_preset_without_its_data(heads: Path, run: Run, tmp_path: Path) -> None:
    done = run("bench", "--preset", "ra-table2", "--data-root", heads, "-o", tmp_path / "run")
    assert done.code == 0
    assert "data absent" in done.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--methods", "knnn", "--data", "a"), "did you mean 'knn'"),
        (("--methods", "knn[gird=1]", "--data", "a"), "did you mean 'grid'"),
        (("--methods", "knn[grid=x]", "--data", "a"), "not a whole number"),
        (("--methods", "knn", "--data", "q"), "data set"),
        (("--methods", "knn", "--data", "a", "--set", "epochs=3"), "epochs"),
        (("--methods", "knn"), "at least one of --methods"),
        (("--methods", "knn", "--data", "a", "--protocol", "kfold:99"), "folds"),
        (("--methods", "knn", "--data", "a", "--protocol", "external"), "--test"),
        (("--preset", "ra-table9"), "did you mean"),
        (("--preset", "ra-table1"), "--data-root"),
        (("--tables", "{root}/a"), "not a benchmark"),
        (("--results", "x.md"), "takes the benchmarks"),
        (("--methods", "knn", "--data", "a", "-o", "{root}/a"), "not a benchmark"),
    ],
)
def test_errors_are_one_line(heads: Path, run: Run, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    given = [one.format(root=heads) for one in arguments]
    if "--data" in given:
        given += ["--data-root", str(heads)]
    if "-o" not in given and "--tables" not in given and "--results" not in given:
        given += ["-o", str(tmp_path / "run")]
    done = run("bench", *given)
    assert done.code == 2
    assert says in done.line()
    assert not (tmp_path / "run").exists()
