"""A phase that says how its learning rates run: each step gets its own, and a restart goes on where it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from unremarkable.methods.base import Method, Options, Phase, Prediction, Update
from unremarkable.training.loop import train
from unremarkable.training.settings import TrainSettings

IMAGES = np.ones((4, 1, 1, 1), np.float32)


class Counter(Method):
    """Moves one number by its learning rate in every step."""

    name, paper, family, reduction = "counter", "none 2026", "test", "own"

    def __init__(self, stop: int | None = None) -> None:
        super().__init__(Options(), (1, 1), 1)
        self.number = torch.nn.Parameter(torch.zeros(()))
        self.calls: list[tuple[int, int]] = []
        self.stop = stop

    def phases(self) -> list[Phase]:
        return [Phase("count", 3, 2, self._optimizers, self._step, rate=self._rate)]

    def predict(self, images: Tensor) -> Prediction:
        return Prediction(images[:, :1], images.mean((1, 2, 3)))

    def _optimizers(self) -> Mapping[str, Optimizer]:
        return {"sgd": SGD([self.number], lr=0.5)}

    def _rate(self, step: int, steps: int) -> float:
        self.calls.append((step, steps))
        return 10.0**-step

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        if update.step == self.stop:
            raise KeyboardInterrupt
        update("sgd", -self.number)
        return {"loss": self.number.detach()}


def settings() -> TrainSettings:
    return TrainSettings(seed=0, device="cpu", precision="32")


def test_every_step_has_its_rate() -> None:
    method = Counter()
    train(method, IMAGES, None, settings())
    assert method.calls == [(step, 6) for step in range(6)]
    assert float(method.number.detach()) == pytest.approx(0.5 * 1.11111, rel=1e-6)


def test_a_restart_goes_on_with_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Counter(stop=3), IMAGES, None, settings(), run=tmp_path)
    method = Counter()
    train(method, IMAGES, None, settings(), run=tmp_path)
    assert method.calls == [(step, 6) for step in range(2, 6)]
    assert float(method.number.detach()) == pytest.approx(0.5 * 1.11111, rel=1e-6)
