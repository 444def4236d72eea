"""`unremarkable data list|describe|get|check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def brains(tmp_path: Path) -> Path:
    """brain-mri-253 with 3 normals and 2 tumours."""
    rng = np.random.default_rng(0)
    for name, number in (("no", 3), ("yes", 2)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(number):
            values = rng.integers(0, 255, (16, 16), np.uint8)
            Image.fromarray(values).save(tmp_path / "set" / name / f"{index}.png")
    return tmp_path / "set"


def test_list_and_describe(run: Any) -> None:
    listed = run("data", "list")
    assert listed.code == 0
    assert "nih-chestxray14" in listed.out
    sets = run("data", "list", "--json").json()["data_sets"]
    assert {"kermany-oct", "mias-patches", "pneumoniamnist"} <= {one["name"] for one in sets}

    shown = run("data", "describe", "rsna-pneumonia")
    assert "Kaggle account" in shown.out
    assert "8,851" in shown.out
    assert run("data", "describe", "busi", "--json").json()["licence"] == "CC BY 4.0"
    wrong = run("data", "describe", "rsna")
    assert (wrong.code, "unknown data set 'rsna'" in wrong.line()) == (2, True)


def test_check_as(run: Any, brains: Path) -> None:
    outcome = run("data", "check", brains, "--as", "brain-mri-253")
    assert outcome.code == 1
    rows = [line.split() for line in outcome.out.splitlines()]
    assert ["-", "no", "98", "3", "-95"] in rows
    assert ["-", "yes", "155", "2", "-153"] in rows
    found = run("data", "check", brains, "--as", "brain-mri-253", "--json").json()
    assert found["rows"][0] == {"split": "", "class": "no", "expected": 98, "found": 3, "difference": -95}
    assert not found["agrees"]


def test_check_as_agrees(run: Any, tmp_path: Path) -> None:
    for number in range(200):
        path = tmp_path / "head_ct" / f"{number:03d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(path)
    (tmp_path / "labels.csv").write_text("id, hemorrhage\n" + "".join(f"{n},{int(n < 100)}\n" for n in range(200)))
    assert run("data", "check", tmp_path, "--as", "head-ct").code == 0


def test_check_says_what_a_folder_looks_like(run: Any, brains: Path) -> None:
    outcome = run("data", "check", brains)
    assert outcome.code == 0
    assert "looks like brain-mri-253" in outcome.out
    assert "its counts differ" in outcome.out
    assert run("data", "check", brains, "--json").json()["recognised"][0]["name"] == "brain-mri-253"
    named = run("data", "check", f"brain-mri-253:{brains}")
    assert named.code == 0, named.err
    assert "brain-mri-253: 5 cases" in named.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--as", "busi"), "not laid out as busi"),
        (("--as", "bussi"), "did you mean 'busi'"),
        (("--as", "brain-mri-253", "--normal", "no"), "leave out the options"),
    ],
)
def test_wrong_usage_is_one_line(run: Any, brains: Path, arguments: tuple[str, ...], says: str) -> None:
    outcome = run("data", "check", brains, *arguments)
    assert outcome.code == 2
    assert says in outcome.line()


def test_get_without_a_network_or_an_account(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run("data", "get", "mura", "-o", tmp_path)
    assert (outcome.code, "registration" in outcome.line()) == (2, True)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    outcome = run("data", "get", "pneumoniamnist", "-o", tmp_path)
    assert (outcome.code, "cannot fetch https://zenodo.org" in outcome.line()) == (2, True)
    assert list(tmp_path.iterdir()) == []
