"""The command `unremarkable ensemble`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unremarkable import Detector

Run = Callable[..., "object"]


def test_two_models_become_one(run: Run, model: Path, phantoms: Path, tmp_path: Path) -> None:
    second = Detector("knn", size=64, grid=1).fit(phantoms).save(tmp_path / "second")
    done = run("ensemble", model, second, "--data", phantoms, "-o", tmp_path / "joined", "--combine", "z", "--json")
    assert done.code == 0, done.err
    assert done.json()["plan"]["options"]["combine"] == "z"
    assert Detector.load(tmp_path / "joined").method == "ensemble"


def test_one_model_is_no_ensemble(run: Run, model: Path, phantoms: Path, tmp_path: Path) -> None:
    refused = run("ensemble", model, "--data", phantoms, "-o", tmp_path / "one")
    assert refused.code == 2
    assert "two fitted models or more" in refused.line()


def test_a_fitted_model_is_no_method(run: Run, model: Path, phantoms: Path, tmp_path: Path) -> None:
    refused = run("fit", phantoms, "--method", "ensemble", "--set", f"members=knn,{model}", "-o", tmp_path / "m")
    assert refused.code == 2
    assert "unremarkable ensemble MODEL MODEL" in refused.line()
