"""The commands on simulated slices, as a user would give them."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unremarkable import Detector, __version__

Run = Callable[..., "object"]


def test_fit_score_evaluate(run: Run, phantoms: Path, tmp_path: Path) -> None:
    fitted = run("fit", phantoms, "-o", tmp_path / "model", "--size", 64, "--json")
    assert fitted.code == 0, fitted.err
    plan = fitted.json()["plan"]
    assert plan["training_cases"] + plan["validation_cases"] + plan["calibration_cases"] == 60
    assert not (tmp_path / "model.run").exists()

    scored = run("score", tmp_path / "model", phantoms / "test", "-o", tmp_path / "out", "--json")
    assert scored.code == 0, scored.err
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert len(rows) == len(scored.json()["scores"]) == 16
    assert [float(row["score"]) for row in rows] == [row["score"] for row in scored.json()["scores"]]
    pictures = sorted((tmp_path / "out" / "heatmaps").rglob("*.jpg"))
    assert len(pictures) == 16
    assert np.asarray(Image.open(pictures[0])).shape == (64, 64, 3)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "simulated" in page.lower()

    measured = run("evaluate", tmp_path / "model", phantoms, "-o", tmp_path / "eval", "--json", "--replicates", 100)
    assert measured.code == 0, measured.err
    auroc = measured.json()["metrics"]["auroc"]
    assert 0 <= auroc["low"] <= auroc["value"] <= auroc["high"] <= 1
    assert json.loads((tmp_path / "eval" / "metrics.json").read_text())["metrics"]["auroc"] == auroc


def test_unreadable_inputs_are_reported_and_the_rest_goes_on(
    run: Run, model: Path, phantoms: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(phantoms / "test" / "normal", tmp_path / "in"))
    broken = folder / "broken.png"
    broken.write_bytes(next(folder.glob("*.png")).read_bytes()[:200])
    outcome = run("score", model, folder, "-o", tmp_path / "out")
    assert outcome.code == 1
    assert "broken.png" in outcome.err
    assert "Traceback" not in outcome.err
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    assert len(rows) == 9
    assert [row["path"] for row in rows if row["error"]] == [str(broken)]


def test_one_image(run: Run, model: Path, phantoms: Path, tmp_path: Path) -> None:
    image = next((phantoms / "test" / "lesion").glob("*.png"))
    outcome = run("score", model, image, "-o", tmp_path / "out", "--maps", "full", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json()["scores"][0]["path"] == str(image)
    assert len(list((tmp_path / "out" / "maps").glob("*.tif"))) == 1


def test_reconstructions(run: Run, model: Path, phantoms: Path, tmp_path: Path) -> None:
    options = ("--method", "autoencoder", "--size", 32, "--set", "epochs=1", "--set", "widths=4,4,4,4")
    assert run("fit", phantoms, "-o", tmp_path / "ae", *options).code == 0
    images = phantoms / "test" / "lesion"
    wanted = ("--reconstructions", "--maps", "none")
    outcome = run("score", tmp_path / "ae", images, "-o", tmp_path / "out", *wanted)
    assert outcome.code == 0, outcome.err
    assert not (tmp_path / "out" / "heatmaps").exists()
    scores = Detector.load(tmp_path / "ae").score(images)
    assert len(scores) == 8
    for row in scores:
        written = Image.open(tmp_path / "out" / "reconstructions" / f"{Path(row.path).stem}.png")
        assert np.array_equal(np.asarray(written), row.reconstruction)
    scores.save(tmp_path / "again", reconstructions=True)
    assert len(list((tmp_path / "again" / "reconstructions").glob("*.png"))) == 8

    refused = run("score", model, images, "-o", tmp_path / "none", *wanted)
    assert refused.code == 2
    assert "makes no reconstructions" in refused.line()
    assert not (tmp_path / "none").exists()


def test_a_rate_that_the_normals_cannot_support(run: Run, model: Path, phantoms: Path, tmp_path: Path) -> None:
    outcome = run("score", model, phantoms / "test", "-o", tmp_path / "o", "--false-alarm-rate", 0.001)
    assert outcome.code == 2
    assert "999" in outcome.line()
    assert not (tmp_path / "o").exists()


def test_a_threshold_chosen_on_labels_says_so(run: Run, model: Path, phantoms: Path) -> None:
    outcome = run("evaluate", model, phantoms, "--threshold", "best-f1", "--replicates", 100, "--json")
    point = outcome.json()["operating_point"]
    assert point["rule"] == "best F1"
    assert point["test_labels_used"] is True


def test_methods(run: Run) -> None:
    listed = {method["name"]: method for method in run("methods", "--json").json()["methods"]}
    assert {"knn", "autoencoder", "f-anogan", "hetero-ae"} <= set(listed)
    assert {option["name"] for option in listed["knn"]["options"]} >= {"k", "backbone"}
    assert "hetero-ae" in run("methods").out
    assert run("methods", "nearest").code == 2


def test_fit_help_shows_every_default(run: Run) -> None:
    text = run("fit", "--help").out
    for expected in ("stages=(-2, -1)", "k=3", "hetero-ae:", "alpha=0.7", "f-anogan:"):
        assert expected in text


def test_data_check(run: Run, phantoms: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(phantoms, tmp_path / "d"))
    twin = next((folder / "train" / "normal").glob("*.png"))
    shutil.copy(twin, folder / "test" / "normal" / "twin.png")
    outcome = run("data", "check", folder)
    assert outcome.code == 0, outcome.err
    assert "identical" in outcome.out
    assert run("data", "check", folder, "--json").json()


def test_doctor(run: Run) -> None:
    report = run("doctor", "--json").json()
    assert report["versions"]["unremarkable"] == __version__
    assert "missing" not in report["versions"].values()
    assert "free there" in report["disk"]


def test_weights_list(run: Run) -> None:
    assert "efficientnet-lite0" in run("weights", "list").out
    assert run("weights", "get", "resnet81").code == 2


def test_demo_replaces_only_its_own_output(run: Run, phantoms: Path, tmp_path: Path) -> None:
    first = run("demo", "--data", phantoms, "-o", tmp_path / "demo")
    assert first.code == 0, first.err
    assert (tmp_path / "demo" / "evaluation" / "report.html").is_file()
    assert run("demo", "--data", phantoms, "-o", tmp_path / "demo").code == 0
    assert run("demo", "--data", phantoms, "-o", phantoms.parent).code == 2


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "-h"], ["data", "--help"], []])
def test_help(run: Run, arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert "Usage" in outcome.out + outcome.err


def test_fit_says_what_the_look_after_training_found(
    run: Run, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unremarkable.training.loop.look_over", lambda *_: ["it copies; try another"])
    done = run("fit", phantoms, "--size", "32", "-o", tmp_path / "m")
    assert "warning: it copies; try another\n" in done.err
    assert json.loads((tmp_path / "m" / "config.json").read_text())["history"]["warnings"] == ["it copies; try another"]
    done = run("fit", phantoms, "--size", "32", "-o", tmp_path / "n", "--json")
    assert done.json()["warnings"] == ["it copies; try another"]
