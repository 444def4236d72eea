"""The model folder: whole or not at all, no pickle, and never in the place of something else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from unremarkable.errors import UsageError
from unremarkable.model_folder import FORMAT, ModelFolder, is_model, read_model, write_model

MODEL = ModelFolder({"a": [1, 2.5]}, {"scores": [0.1]}, {"seed": 0}, {"w": torch.arange(6.0).reshape(2, 3).T})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "deep" / "model", MODEL)
    assert is_model(folder)
    found = read_model(folder)
    assert found.config["a"] == [1, 2.5]
    assert (found.calibration, found.manifest) == (MODEL.calibration, MODEL.manifest)
    torch.testing.assert_close(found.weights["w"], MODEL.weights["w"], rtol=0, atol=0)
    assert not [path for path in folder.parent.iterdir() if path != folder]


def test_a_model_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", MODEL)
    write_model(folder, ModelFolder({"a": "new"}, {}, {}, MODEL.weights))
    assert read_model(folder).config["a"] == "new"
    (tmp_path / "papers").mkdir()
    with pytest.raises(UsageError, match="not a model"):
        write_model(tmp_path / "papers", MODEL)


def test_a_failed_write_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_model(tmp_path / "model", MODEL)

    def broken(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", broken)
    with pytest.raises(UsageError, match="disk is full"):
        write_model(folder, ModelFolder({"a": "new"}, {}, {}, MODEL.weights))
    assert read_model(folder).config["a"] == [1, 2.5]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_no_pickle_is_in_it(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", MODEL)
    for file in folder.iterdir():
        assert file.suffix in (".json", ".safetensors")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", MODEL)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"format": FORMAT + 1, "version": "7.0"}))
    with pytest.raises(UsageError, match=r"7\.0.*newer"):
        read_model(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "x"}'])
def test_a_damaged_config_is_one_line(tmp_path: Path, content: str) -> None:
    folder = write_model(tmp_path / "model", MODEL)
    (folder / "config.json").write_text(content)
    with pytest.raises(UsageError, match="damaged"):
        read_model(folder)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", MODEL)
    (folder / "manifest.json").unlink()
    with pytest.raises(UsageError, match="damaged"):
        read_model(folder)
    shutil.rmtree(folder)
    with pytest.raises(UsageError, match="no model"):
        read_model(folder)
