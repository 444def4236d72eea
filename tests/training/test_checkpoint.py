from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from training_toys import AutoencoderToy, make

from unremarkable.errors import UsageError
from unremarkable.training.checkpoint import Checkpoint, State, discard, identify
from unremarkable.training.machine import Machine
from unremarkable.training.settings import TrainSettings

WHO = {"seed": "0", "option lr": "0.1"}


def state(size: int = 10) -> State:
    weights = {"w": torch.rand(size), "conv": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)}
    return State(1, weights, {"phases": []}, {"adam": {"state": {0: {"step": torch.tensor(3.0)}}}}, {}, best=weights)


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert Checkpoint(tmp_path / "run", WHO).load() is None
    assert Checkpoint(None, WHO).load() is None
    Checkpoint(None, WHO).save(state())


def test_what_was_saved_comes_back_with_its_layout(tmp_path: Path) -> None:
    saved = state()
    Checkpoint(tmp_path / "new" / "run", WHO).save(saved)
    loaded = Checkpoint(tmp_path / "new" / "run", WHO).load()
    assert loaded is not None
    assert (loaded.phase, loaded.history, loaded.optimizers) == (1, {"phases": []}, saved.optimizers)
    assert loaded.best is not None
    for name, value in saved.weights.items():
        assert torch.equal(loaded.weights[name], value)
        assert loaded.best[name].stride() == value.stride()


def test_best_weights_that_are_the_current_ones_are_stored_once(tmp_path: Path) -> None:
    def bytes_with(best: dict[str, Tensor] | None) -> int:
        Checkpoint(tmp_path, WHO).save(State(0, weights, {}, best=best))
        return (tmp_path / "checkpoint.pt").stat().st_size

    weights = {"w": torch.rand(100_000)}
    assert bytes_with(weights) < 1.1 * bytes_with(None)
    assert bytes_with({"w": weights["w"].clone()}) > 1.9 * bytes_with(None)


def test_another_run_is_refused_and_told_apart(tmp_path: Path) -> None:
    Checkpoint(tmp_path, WHO).save(state())
    with pytest.raises(UsageError) as error:
        Checkpoint(tmp_path, WHO | {"seed": "1", "augment": "off"}).load()
    line = str(error.value)
    assert "seed was 0, now 1" in line
    assert "augment was not set, now off" in line
    assert "lr" not in line
    assert "--restart" in line
    discard(tmp_path)
    assert Checkpoint(tmp_path, WHO | {"seed": "1"}).load() is None


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def damage_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    found = content.find(np.float32(0.123456).tobytes())
    assert found > 0
    content[found] ^= 1
    path.write_bytes(bytes(content))


def damage_empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_other_program(path: Path) -> None:
    torch.save({"epoch": 3}, path)


def damage_code(path: Path) -> None:
    torch.save({"format": 1, "identity": WHO, "state": Path}, path)  # a pickled name that is not a tensor's


@pytest.mark.parametrize("damage", [damage_truncate, damage_one_bit, damage_empty, damage_other_program, damage_code])
def test_a_damaged_checkpoint_is_one_clear_line(tmp_path: Path, damage) -> None:
    Checkpoint(tmp_path, WHO).save(State(0, {"w": torch.full((50,), 0.123456)}, {}))
    damage(tmp_path / "checkpoint.pt")
    with pytest.raises(UsageError, match=r"checkpoint\.pt is damaged; to start afresh") as error:
        Checkpoint(tmp_path, WHO).load()
    assert "\n" not in str(error.value)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    torch.save({"format": 99, "identity": WHO, "state": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(UsageError, match="newer version"):
        Checkpoint(tmp_path, WHO).load()


def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    Checkpoint(tmp_path, WHO).save(state())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the system refuses to write more, as on a full disk
    try:
        with pytest.raises(UsageError, match=r"cannot write the checkpoint .*: file too large;") as error:
            Checkpoint(tmp_path, WHO).save(state(size=1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert Checkpoint(tmp_path, WHO).load() is not None


def test_a_run_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UsageError, match="cannot write the checkpoint"):
        Checkpoint(tmp_path / "run", WHO).save(state())


def test_discard_leaves_other_files_alone(tmp_path: Path) -> None:
    Checkpoint(tmp_path, WHO).save(state())
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    discard(tmp_path)
    discard(tmp_path / "never-was")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_identity_tells_options_phases_and_data_apart() -> None:
    def of(fingerprint: str = "", counts: tuple[int, int] = (5, 2), **options: object) -> dict[str, str]:
        method = make(AutoencoderToy, **options)
        settings = TrainSettings(fingerprint=fingerprint)
        return identify(method, counts, settings, Machine("cpu", "32"), method.phases())

    base = of()
    assert of() == base
    assert {key for key, value in of(lr=0.5).items() if base[key] != value} == {"option lr"}
    assert {key for key, value in of(epochs=9).items() if base[key] != value} == {"option epochs", "phase 1"}
    assert {key for key, value in of("other").items() if base[key] != value} == {"data"}
    assert {key for key, value in of(counts=(5, 3)).items() if base[key] != value} == {"held-out images"}
