"""Every mistake a user can make at the command line ends in one clear line and exit code 2."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "object"]


def test_wrong_path_names_the_nearest(run: Run, phantoms: Path, tmp_path: Path) -> None:
    outcome = run("fit", phantoms.with_name("phantomz"), "-o", tmp_path / "m")
    assert outcome.code == 2
    assert "phantomz" in outcome.line()
    assert "phantoms" in outcome.line().replace("phantomz", "")


def test_empty_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    outcome = run("fit", tmp_path / "empty", "-o", tmp_path / "m")
    assert outcome.code == 2
    assert "empty" in outcome.line()
    assert not (tmp_path / "m").exists()


def test_folder_with_no_normals(run: Run, phantoms: Path, tmp_path: Path) -> None:
    for name in ("glioma", "meningioma"):
        shutil.copytree(phantoms / "test" / "lesion", tmp_path / "d" / name)
    outcome = run("fit", tmp_path / "d", "-o", tmp_path / "m")
    assert outcome.code == 2
    assert "glioma" in outcome.line()
    assert "--normal" in outcome.line()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--method", "hetero-au"], "hetero-ae"),
        (["--set", "neighbors=3"], "option"),
        (["--method", "knn", "--set", "kk=3"], "'k'"),
        (["--set", "k"], "option=value"),
        (["--method", "knn", "--set", "k=three"], "whole number"),
        (["--split", "80/20"], "70/15/15"),
        (["--false-alarm-rate", "0.0001"], "9999"),
        (["--false-alarm-rate", "2"], "between 0 and 1"),
        (["--intensity", "windw"], "intensity"),
    ],
)
def test_wrong_options(run: Run, phantoms: Path, tmp_path: Path, arguments: list[str], expected: str) -> None:
    outcome = run("fit", phantoms, "-o", tmp_path / "m", *arguments)
    assert outcome.code == 2
    assert expected in outcome.line()
    assert not (tmp_path / "m").exists()


def test_output_in_the_way(run: Run, phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.txt").write_text("years of work")
    assert "--overwrite" in run("fit", phantoms, "-o", tmp_path / "m").line()
    assert run("fit", phantoms, "-o", tmp_path / "m", "--overwrite", "--size", 64, "--json").code == 2
    assert (tmp_path / "m" / "thesis.txt").read_text() == "years of work"


def test_overwrite_spares_a_folder_that_is_not_ours(run: Run, model: Path, phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    outcome = run("score", model, phantoms / "test", "-o", tmp_path, "--overwrite")
    assert outcome.code == 2
    assert (tmp_path / "thesis.txt").exists()


def test_no_model(run: Run, phantoms: Path, tmp_path: Path) -> None:
    assert "no model" in run("score", tmp_path / "nothing", phantoms, "-o", tmp_path / "o").line()
    assert "not a model" in run("score", phantoms, phantoms, "-o", tmp_path / "o").line()


def test_model_of_a_newer_version(run: Run, model: Path, phantoms: Path, tmp_path: Path) -> None:
    newer = Path(shutil.copytree(model, tmp_path / "newer"))
    config = json.loads((newer / "config.json").read_text())
    (newer / "config.json").write_text(json.dumps(config | {"format": 99, "version": "9.0"}))
    outcome = run("score", newer, phantoms, "-o", tmp_path / "o")
    assert outcome.code == 2
    assert "9.0" in outcome.line()
    assert "update" in outcome.line()


@pytest.mark.parametrize("file", ["config.json", "weights.safetensors", "calibration.json"])
def test_damaged_model(run: Run, model: Path, phantoms: Path, tmp_path: Path, file: str) -> None:
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    content = (broken / file).read_bytes()
    (broken / file).write_bytes(content[: len(content) // 2])
    outcome = run("score", broken, phantoms, "-o", tmp_path / "o")
    assert outcome.code == 2
    assert "damaged" in outcome.line()


def test_full_disk(run: Run, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    outcome = run("fit", phantoms, "-o", tmp_path / "m", "--size", 64, "--json")
    assert outcome.code == 2
    assert "disk is full" in outcome.line()
    assert not [path for path in tmp_path.iterdir() if not path.name.endswith(".run")]


def test_nothing_that_can_be_scored(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    outcome = run("score", model, tmp_path / "in", "-o", tmp_path / "o", "--json")
    assert outcome.code == 2
    assert "none of the" in outcome.line()
    assert not (tmp_path / "o").exists()


def test_unknown_command_and_missing_argument(run: Run) -> None:
    assert run("fitt").code == 2
    assert run("score").code == 2
