"""`unremarkable select`: choices without labels, the oracle apart, and one line for what cannot be done."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unremarkable.detector import Detector

Run = Callable[..., Any]


def test_choices_and_oracle_are_kept_apart(run: Run, phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = ("--set", "size=32", "--replicates", 100, "-o", out)
    done = run("select", phantoms, "--candidates", "knn,knn[grid=1]", "--oracle", *settings)
    assert done.code == 0, done.err
    chosen, _, judged = done.out.partition("\noracle")
    assert "chosen without a label" in chosen
    assert "knn has no loss on held-out normals" in chosen
    assert "falls short" not in chosen
    assert "falls short" in judged
    assert sorted(path.name for path in out.iterdir()) == [
        "oracle.json",
        "selection.csv",
        "selection.json",
        "selection.png",
    ]
    assert "oracle" not in (out / "selection.json").read_text()
    assert json.loads((out / "oracle.json").read_text())["counts"] == {"normal": 8, "abnormal": 8}
    assert [row["candidate"] for row in csv.DictReader((out / "selection.csv").open())] == ["knn", "knn[grid=1]"]


def test_finished_candidates_are_not_fitted_again(
    run: Run, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended while the second of three is fitted, then given again; compared with a run that nothing disturbed."""
    settings = ("--candidates", "knn,knn[grid=1],knn[k=1]", "--set", "size=32", "--replicates", 0, "--json")
    undisturbed = run("select", phantoms, *settings).json()
    fit, fitted = Detector.fit, []

    def counted(self: Detector, *arguments: Any, **more: Any) -> Detector:
        fitted.append((self.options.grid, self.options.k))
        if len(fitted) == 2:
            raise KeyboardInterrupt
        return fit(self, *arguments, **more)

    monkeypatch.setattr(Detector, "fit", counted)
    out = tmp_path / "out"
    assert run("select", phantoms, *settings, "-o", out).code != 0
    assert not out.exists()
    told = run("select", phantoms, *settings, "-o", out).json()
    assert len(fitted) == 4
    assert fitted[0] not in fitted[2:]
    for one in (*told["candidates"], *undisturbed["candidates"]):
        del one["seconds"]
    assert told["candidates"] == undisturbed["candidates"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == ["out"]


def test_without_the_oracle_no_label_is_reported(run: Run, phantoms: Path, tmp_path: Path) -> None:
    """Candidates from a file; one that cannot be fitted makes the exit code 1 and leaves the others."""
    matrix = tmp_path / "candidates.toml"
    matrix.write_text('[methods]\nknn = {}\n[methods."odd autoencoder"]\nmethod = "autoencoder"\nsize = 40\n')
    done = run("select", phantoms, "--candidates", matrix, "--set", "size=32", "--replicates", 0, "--json")
    told = done.json()
    assert done.code == 1
    assert "oracle" not in told
    assert [row["label"] for row in told["candidates"]] == ["knn", "odd autoencoder"]
    assert "multiples of 16" in told["candidates"][1]["failure"]
    assert [choice["chosen"] for choice in told["choices"]] == [None, "knn", "knn"]


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ("knn", "a choice takes at least two candidates: --candidates 'knn,knn[grid=1]'"),
        ("knn,knnn", "unknown method 'knnn'; did you mean 'knn'?"),
        ("knn,knn[gird=1]", "unknown option of knn 'gird'; did you mean 'grid'?"),
        ("knn,knn[grid]", "knn[grid]: 'grid' is not option=value"),
    ],
)
def test_wrong_usage_is_one_line(run: Run, phantoms: Path, candidates: str, message: str) -> None:
    done = run("select", phantoms, "--candidates", candidates)
    assert done.code == 2
    assert done.line() == f"unremarkable: {message}"
