"""`unremarkable robustness`: the table, the folder, and one line for what cannot be done."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def test_a_run_prints_a_table_and_writes_a_whole_folder(run: Run, model: Path, phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = ("--kinds", "text, rotation", "--levels", "2,4", "--false-alarm-rate", 0.1, "--replicates", 100)
    done = run("robustness", model, phantoms, "-o", out, *settings)
    assert done.code == 0, done.err
    assert "16 cases: 8 normal, 8 abnormal" in done.out
    assert sorted(path.name for path in out.iterdir()) == [
        "artefacts.png",
        "robustness.csv",
        "robustness.json",
        "robustness.png",
    ]
    rows = list(csv.DictReader((out / "robustness.csv").open()))
    names = [(row["kind"], row["level"]) for row in rows]
    assert names == [("untouched", "0"), ("text", "2"), ("text", "4"), ("rotation", "2"), ("rotation", "4")]
    assert float(rows[2]["auroc_low"]) <= float(rows[2]["auroc"]) <= float(rows[2]["auroc_high"])
    again = run("robustness", model, phantoms, "-o", out)
    assert again.code == 2
    assert "exists already" in again.line()


def test_json_is_one_document(run: Run, model: Path, phantoms: Path) -> None:
    done = run("robustness", model, phantoms, "--kinds", "contrast", "--levels", "1", "--replicates", 0, "--json")
    told = done.json()
    assert [(one["kind"], one["level"]) for one in told["conditions"]] == [("untouched", 0), ("contrast", 1)]
    assert told["conditions"][1]["points"]["reason"] == "it changes the whole image"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--kinds", "texts"), "unknown artefact 'texts'; did you mean 'text'?"),
        (("--levels", "7"), "unknown artefact level 7; levels: 0, 1, 2, 3, 4 (0 changes nothing)"),
        (("--levels", "high"), "--levels 'high' is not understood; write whole numbers with commas: 1,2,4"),
        (("--kinds", ""), "name at least one artefact and one strength above 0"),
    ],
)
def test_wrong_usage_is_one_line(run: Run, model: Path, phantoms: Path, arguments: Any, message: str) -> None:
    done = run("robustness", model, phantoms, *arguments)
    assert done.code == 2
    assert done.line() == f"unremarkable: {message}"


def test_without_labels_it_says_what_is_missing(run: Run, model: Path, phantoms: Path, tmp_path: Path) -> None:
    for number, image in enumerate(sorted(phantoms.rglob("*.png"))[:3]):
        (tmp_path / f"{number}.png").write_bytes(image.read_bytes())
    done = run("robustness", model, tmp_path)
    assert done.code == 2
    assert done.line().startswith(f"unremarkable: {tmp_path} has no labels, and robustness needs to know which")
