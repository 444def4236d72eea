from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_toys import AutoencoderToy, GanToy, make, pictures, same

from unremarkable.errors import UsageError
from unremarkable.training.loop import train
from unremarkable.training.settings import TrainSettings

SETTINGS = TrainSettings(seed=1, device="cpu", precision="32")


def test_runs_killed_anywhere_end_with_the_same_weights_and_history(tmp_path: Path) -> None:
    script = Path(__file__).with_name("killed_runs.py")
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    whole = ends.pop("undisturbed")
    encoder = [epoch for epoch in whole["epochs"] if epoch["held_out"] is not None]
    best = min(encoder, key=lambda epoch: epoch["held_out"])["epoch"]
    assert 1 < best < len(encoder) < 12, "the undisturbed run must have a best epoch within, and stop early"
    assert encoder[-1]["lr"]["sgd"] < encoder[0]["lr"]["sgd"], "and the learning rate must have fallen"
    assert len(ends) == 10
    assert ends.pop("every-epoch")["signals"] == [len(whole["epochs"])]
    for name, end in ends.items():
        assert end["signals"] == [9, 0], name
        assert end["weights"] == whole["weights"], name
        assert end["epochs"] == whole["epochs"], name


def test_finished_phases_are_not_repeated(tmp_path: Path) -> None:
    images = pictures(12)
    first = make(GanToy)
    history = train(first, images, None, SETTINGS, run=tmp_path)
    again = make(GanToy, seed=9)
    assert train(again, images, None, SETTINGS, run=tmp_path) == history
    assert again.steps == []
    assert same(first, again)
    assert not again.training


def test_an_interrupted_phase_goes_on_with_its_step_count(tmp_path: Path) -> None:
    images = pictures(12)
    broken = make(GanToy)
    gan_step, calls = broken._gan_step, []

    def fail_in_second_epoch(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return gan_step(*arguments)

    broken._gan_step = fail_in_second_epoch
    with pytest.raises(KeyboardInterrupt):
        train(broken, images, None, SETTINGS, run=tmp_path)
    resumed, whole = make(GanToy), make(GanToy)
    train(resumed, images, None, SETTINGS, run=tmp_path)
    train(whole, images, None, SETTINGS)
    assert resumed.steps == whole.steps[2:]
    assert same(resumed, whole)


def test_other_settings_are_refused(tmp_path: Path) -> None:
    train(make(AutoencoderToy), pictures(8), None, SETTINGS, run=tmp_path)
    with pytest.raises(UsageError, match=r"option lr was 0\.01, now 0\.5"):
        train(make(AutoencoderToy, lr=0.5), pictures(8), None, SETTINGS, run=tmp_path)
    with pytest.raises(UsageError, match="training images was 8, now 9"):
        train(make(AutoencoderToy), pictures(9), None, SETTINGS, run=tmp_path)


def test_tensorboard_has_each_epoch_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    images, method = pictures(12), make(GanToy, epochs=3)
    distance, calls = method._distance, []

    def fail_in_second_epoch(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return distance(*arguments)

    method._distance = fail_in_second_epoch
    with pytest.raises(KeyboardInterrupt):
        train(method, images, images[:3], SETTINGS, run=tmp_path)
    # TensorBoard reads its files in the order of their names, which have the second and a count: 10 comes before 9.
    (log_file,) = (tmp_path / "tensorboard").iterdir()
    log_file.rename(log_file.with_name("events.out.tfevents.0000000001.earlier"))
    method = make(GanToy, epochs=3)
    history = train(method, images, images[:3], SETTINGS, run=tmp_path)
    log = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for tag, phase in [("gan/penalty", 0), ("encoder/mse", 1)]:
        epochs, name = history.phases[phase].epochs, tag.split("/")[1]
        assert [event.step for event in log.Scalars(tag)] == [2 * phase + epoch.epoch - 1 for epoch in epochs]
        assert [event.value for event in log.Scalars(tag)] == pytest.approx([epoch.losses[name] for epoch in epochs])
    assert len(log.Scalars("encoder/held-out")) == len(log.Scalars("encoder/lr/sgd")) == 3
    assert torch.isfinite(method.memory).all()
