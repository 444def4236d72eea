from __future__ import annotations

import copy
import itertools

import pytest
import torch
from training_toys import AutoencoderToy, GanToy, make, pictures, same

from unremarkable.training import estimate
from unremarkable.training.estimate import expected_seconds
from unremarkable.training.settings import TrainSettings

SETTINGS = TrainSettings(device="cpu", precision="32")


@pytest.mark.parametrize("cls", [AutoencoderToy, GanToy])
def test_measuring_leaves_no_trace(cls: type[AutoencoderToy] | type[GanToy]) -> None:
    method = make(cls)
    before = copy.deepcopy(method)
    state = torch.get_rng_state()
    assert expected_seconds(method, pictures(20), SETTINGS, pictures(3)) > 0
    assert same(method, before)
    assert method.training == before.training
    assert all(parameter.grad is None for parameter in method.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_time_grows_with_images_epochs_and_held_out_normals(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(images: int, epochs: int, held_out: int = 0) -> float:
        ticks = itertools.count()
        monkeypatch.setattr(estimate, "_now", lambda machine: 0.25 * next(ticks))  # a clock that ticks when it is read
        method = make(AutoencoderToy, epochs=epochs)
        return expected_seconds(method, pictures(images), SETTINGS, pictures(held_out) if held_out else None)

    assert seconds(80, 10) == pytest.approx(2 * seconds(40, 10))
    assert seconds(40, 30) == pytest.approx(3 * seconds(40, 10))
    assert seconds(40, 10, held_out=8) == pytest.approx(seconds(40, 10) + 10 * 0.25)
