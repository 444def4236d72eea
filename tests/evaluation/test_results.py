from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unremarkable.errors import InputError, UsageError
from unremarkable.evaluation.results import read_results, require_same_cases
from unremarkable.scoring.scores import COLUMNS


def write(folder: Path, rows: list[dict[str, object]]) -> Path:
    folder.mkdir()
    with (folder / "scores.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)
    return folder


ROWS: list[dict[str, object]] = [
    {"path": "b.png", "score": 0.1 + 0.2, "label": 1, "patient": "p"},
    {"path": "a.png", "score": 1e-9, "label": 0},
]


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    found = read_results(write(tmp_path / "r", [*ROWS, {"path": "c.png", "error": "cut short"}]))
    assert found.paths == ("a.png", "b.png")
    assert found.scores.tolist() == [1e-9, 0.1 + 0.2]
    assert found.labels.tolist() == [0, 1]
    assert found.patients == ("a.png", "p")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": None}, "without a label"),
        ({"score": "nan"}, "not a finite number"),
        ({"score": "high"}, "not a number"),
        ({"path": "a.png"}, "twice"),
    ],
)
def test_tables_that_are_no_use(tmp_path: Path, change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_results(write(tmp_path / "r", [ROWS[0] | change, ROWS[1]]))


def test_no_table_and_empty_tables(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no"):
        read_results(tmp_path)
    with pytest.raises(InputError, match="no cases"):
        read_results(write(tmp_path / "empty", []))
    with pytest.raises(InputError, match="could be scored"):
        read_results(write(tmp_path / "failed", [{"path": "c.png", "error": "cut short"}]))
    (tmp_path / "scores.csv").write_text("file,value\n1,2\n")
    with pytest.raises(InputError, match="no column path, score, label, patient"):
        read_results(tmp_path)


def test_cases_must_be_the_same(tmp_path: Path) -> None:
    one = read_results(write(tmp_path / "one", ROWS))
    require_same_cases([one, replace(one, scores=np.zeros(2))])
    with pytest.raises(UsageError, match="2 and 1, 1 of them common"):
        require_same_cases([one, replace(one, paths=one.paths[:1])])
    with pytest.raises(UsageError, match="label 1 of their 2 cases differently"):
        require_same_cases([one, replace(one, labels=np.array([1, 1]))])
    with pytest.raises(UsageError, match="different patients"):
        require_same_cases([one, replace(one, patients=one.paths)])
