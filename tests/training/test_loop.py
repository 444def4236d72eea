from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_toys import AutoencoderToy, GanToy, Toy, make, pictures, same

from unremarkable.errors import UsageError
from unremarkable.methods.base import Collect, Phase
from unremarkable.training import loop
from unremarkable.training.loop import train
from unremarkable.training.settings import Augment, TrainSettings

SETTINGS = TrainSettings(seed=1, device="cpu", precision="32")
BF16 = TrainSettings(seed=1, device="cpu", precision="bf16", augment=Augment())


@pytest.mark.parametrize("settings", [SETTINGS, BF16])
def test_same_seed_same_bits_whatever_the_caller_drew_before(settings: TrainSettings) -> None:
    one, two = make(GanToy), make(GanToy)
    history = train(one, pictures(13), pictures(5, seed=1), settings)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    again = train(two, pictures(13), pictures(5, seed=1), settings)
    assert same(one, two)
    assert [e.losses for p in history.phases for e in p.epochs] == [e.losses for p in again.phases for e in p.epochs]
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


def test_another_seed_gives_other_weights() -> None:
    one, two = make(AutoencoderToy), make(AutoencoderToy)
    train(one, pictures(13), None, SETTINGS)
    train(two, pictures(13), None, TrainSettings(seed=2, device="cpu", precision="32"))
    assert not same(one, two)


def test_a_method_learns_and_ends_ready_to_score() -> None:
    method = make(AutoencoderToy, epochs=40, lr=0.03)
    history = train(method, pictures(32), pictures(8, seed=1), BF16)
    held_out = [epoch.held_out for epoch in history.phases[0].epochs]
    assert min(held_out) < 0.2 * held_out[0]
    assert not method.training
    for parameter in method.parameters():
        assert parameter.grad is None
        assert parameter.is_contiguous()
        assert parameter.dtype == torch.float32


def test_the_best_weights_are_kept_and_the_phase_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PATIENT_STEPS", 1)
    method = make(AutoencoderToy, epochs=60, lr=0.3, patience=4, batch_size=6)
    held_out = pictures(6, seed=1)
    history = train(method, pictures(12), held_out, SETTINGS).phases[0]
    losses = [epoch.held_out for epoch in history.epochs]
    best = int(np.argmin(losses)) + 1
    assert history.best_epoch == best
    assert len(losses) == best + 4 < 60
    with torch.no_grad():
        assert float(method.loss(torch.from_numpy(held_out)).mean()) == pytest.approx(min(losses), rel=1e-5)


def test_patience_is_at_least_a_hundred_steps() -> None:
    phase = make(AutoencoderToy, patience=10, plateau=4).phases()[0]
    for steps, patience, plateau in [(50, 10, 4), (10, 10, 4), (5, 20, 8), (3, 34, 14)]:
        stretched = loop.patient(phase, steps)
        assert (stretched.patience, stretched.plateau) == (patience, plateau)
    assert loop.patient(replace(phase, patience=None), 1).plateau == 4


@pytest.mark.parametrize("held_out", [None, pictures(0)])
def test_without_held_out_normals_all_epochs_are_trained(held_out: np.ndarray | None) -> None:
    history = train(make(AutoencoderToy, epochs=4, patience=1, plateau=0), pictures(8), held_out, SETTINGS).phases[0]
    assert len(history.epochs) == history.best_epoch == 4
    assert {epoch.held_out for epoch in history.epochs} == {None}
    assert {epoch.lr["adam"] for epoch in history.epochs} == {0.01}


def test_every_epoch_shows_all_images_in_another_order() -> None:
    method = make(AutoencoderToy, epochs=2, batch_size=4)
    images = pictures(8)
    train(method, images, None, SETTINGS)
    first, second = torch.cat(method.seen[:2]), torch.cat(method.seen[2:])
    assert not torch.equal(first, second)
    for seen in (first, second):
        assert sorted(seen.mean((1, 2, 3)).tolist()) == pytest.approx(sorted(images.mean((1, 2, 3)).tolist()))


def test_modes_alternate() -> None:
    method = make(AutoencoderToy, epochs=2, batch_size=4)
    train(method, pictures(4), pictures(4), SETTINGS)
    assert method.modes == [("step", True), ("validate", False)] * 2


def test_images_are_augmented_only_where_the_phase_allows_it() -> None:
    images, settings = pictures(4), TrainSettings(device="cpu", precision="32", augment=Augment())
    plain, moved = (make(AutoencoderToy, epochs=1, augmented=augmented) for augmented in (False, True))
    train(plain, images, None, settings)
    train(moved, images, None, settings)
    np.testing.assert_array_equal(plain.seen[0].numpy(), images)
    assert not np.array_equal(moved.seen[0].numpy(), images)


def test_channels_last_reaches_the_step_and_leaves_the_weights_canonical() -> None:
    method = make(AutoencoderToy, channels=3, epochs=1)
    step, layouts = method._step, []

    def look(images: torch.Tensor, update: object) -> object:
        layouts.append(images.is_contiguous(memory_format=torch.channels_last))
        layouts.append(method.encoder[0].weight.is_contiguous(memory_format=torch.channels_last))
        return step(images, update)

    method._step = look
    train(method, pictures(8, channels=3), None, BF16)
    assert layouts == [True, True]
    assert method.encoder[0].weight.is_contiguous()


def test_collecting_is_exact_and_in_order_whatever_the_precision() -> None:
    method, images = make(GanToy, epochs=1, batch_size=4), pictures(9)
    history = train(method, images, None, BF16)
    with torch.no_grad():
        expected = torch.cat([method.encoder(torch.from_numpy(images[at : at + 4])) for at in range(0, 9, 4)])
    assert torch.equal(method.memory, expected)
    assert [phase.name for phase in history.phases] == ["gan", "encoder", "memory"]
    assert history.phases[2].best_epoch == 1


def test_one_image_is_enough() -> None:
    assert len(train(make(AutoencoderToy, epochs=1), pictures(1), None, SETTINGS).phases[0].epochs) == 1


def test_no_images_is_one_line() -> None:
    with pytest.raises(UsageError, match="no images"):
        train(make(AutoencoderToy), pictures(0), None, SETTINGS)


def test_a_diverged_run_is_one_line_and_keeps_no_broken_weights(tmp_path: Path) -> None:
    method = make(AutoencoderToy, epochs=10)
    step = method._step

    def break_in_third_epoch(images: torch.Tensor, update: object) -> object:
        losses = step(images, update)
        if update.step == 2:
            with torch.no_grad():
                method.decoder.bias.fill_(float("nan"))
        return losses

    method._step = break_in_third_epoch
    with pytest.raises(UsageError, match=r"phase 'autoencoder' diverged in epoch 3: a weight is nan"):
        train(method, pictures(8), None, SETTINGS, run=tmp_path)
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    assert len(kept["history"]["phases"][0]["epochs"]) == 2
    assert all(torch.isfinite(value).all() for value in kept["weights"].values())


def test_a_full_gpu_is_one_line() -> None:
    method = make(AutoencoderToy)

    def too_large(images: torch.Tensor, update: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    method._step = too_large
    with pytest.raises(
        UsageError, match="phase 'autoencoder' does not fit the memory of cpu; use a batch_size below 8"
    ):
        train(method, pictures(8), None, SETTINGS)


def test_progress_off_a_terminal_is_a_line_an_epoch_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    train(make(GanToy, epochs=2), pictures(12), pictures(4), SETTINGS, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("gan: epoch 1/2, penalty ")
    assert "held-out" in lines[2]
    assert " left" in lines[2]
    assert lines[4].startswith("memory: epoch 1/1, 0:00")
    train(make(AutoencoderToy), pictures(12), None, SETTINGS)
    assert capsys.readouterr().err == ""


def test_a_collect_phase_can_look_at_the_held_out_normals() -> None:
    seen: list[int] = []

    class Looking(Toy):
        name = "toy-looking"

        def phases(self) -> list[Phase | Collect]:
            return [Collect("look", 4, lambda batches: seen.extend(len(batch) for batch in batches), held_out=True)]

    train(make(Looking), pictures(10), pictures(6), SETTINGS)
    assert seen == [4, 2]
    seen.clear()
    train(make(Looking), pictures(10), None, SETTINGS)
    assert seen == [4, 4, 2]
