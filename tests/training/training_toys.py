"""Tiny methods that use every part of the training contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from unremarkable.methods import base
from unremarkable.methods.base import Collect, Method, Phase, Prediction, Update

SIDE = 16


@dataclass(frozen=True)
class Options(base.Options):
    lr: float = 0.01
    epochs: int = 3
    batch_size: int = 8
    patience: int | None = None
    plateau: int | None = None
    validated: bool = True
    augmented: bool = True


class Toy(Method):
    paper, family, reduction, Options = "none", "toy", "mean", Options
    options: Options

    def predict(self, images: Tensor) -> Prediction:
        return Prediction(images[:, :1], images.mean((1, 2, 3)))


class AutoencoderToy(Toy):
    """Convolution, batch norm, dropout and a linear bottleneck; one optimiser."""

    name = "toy-autoencoder"

    def __init__(self, options: Options, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1)
        )
        self.decoder = nn.ConvTranspose2d(4, channels, 4, stride=2, padding=1)
        self.seen: list[Tensor] = []
        self.modes: list[tuple[str, bool]] = []

    def phases(self) -> list[Phase | Collect]:
        o = self.options
        return [
            Phase(
                "autoencoder",
                o.epochs,
                o.batch_size,
                lambda: {"adam": Adam(self.parameters(), lr=o.lr)},
                self._step,
                validate=self._validate if o.validated else None,
                patience=o.patience,
                plateau=o.plateau,
                augment=o.augmented,
            )
        ]

    def loss(self, images: Tensor) -> Tensor:
        return (self.decoder(self.encoder(images)).float() - images).square().mean((1, 2, 3))

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        self.modes.append(("step", self.training))
        self.seen.append(images.detach().clone())
        loss = self.loss(images).mean()
        update("adam", loss)
        return {"mse": loss}

    def _validate(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.modes.append(("validate", self.training))
        return self.loss(images)


class GanToy(Toy):
    """A WGAN-GP with convolutions, an encoder phase with early stopping, and a memory filled last."""

    name = "toy-gan"

    def __init__(self, options: Options, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.generator = nn.Sequential(
            nn.Linear(4, 4 * 8 * 8), nn.Unflatten(1, (4, 8, 8)), nn.BatchNorm2d(4), nn.ReLU(),
            nn.ConvTranspose2d(4, channels, 4, stride=2, padding=1), nn.Sigmoid(),
        )  # fmt: skip
        self.critic = nn.Sequential(
            nn.Conv2d(channels, 4, 4, stride=2, padding=1), nn.LeakyReLU(), nn.GroupNorm(1, 4), nn.Flatten(),
            nn.Linear(4 * 8 * 8, 1),
        )  # fmt: skip
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(channels * SIDE * SIDE, 4))
        self.register_buffer("memory", torch.empty(0, 4))
        self.steps: list[tuple[int, bool]] = []

    def phases(self) -> list[Phase | Collect]:
        o = self.options
        encoder = Phase(
            "encoder",
            o.epochs,
            o.batch_size,
            self._encoder_optimizers,
            self._encoder_step,
            validate=self._distance,
            patience=o.patience,
            plateau=o.plateau,
        )
        gan = Phase("gan", 2, o.batch_size, self._gan_optimizers, self._gan_step)
        return [gan, encoder, Collect("memory", o.batch_size, self._remember)]

    def _gan_optimizers(self) -> Mapping[str, Optimizer]:
        return {
            "critic": Adam(self.critic.parameters(), lr=self.options.lr, betas=(0.0, 0.9)),
            "generator": Adam(self.generator.parameters(), lr=self.options.lr, betas=(0.0, 0.9)),
        }

    def _encoder_optimizers(self) -> Mapping[str, Optimizer]:
        moved = [*self.encoder.parameters(), *self.generator.parameters()]
        return {"sgd": SGD(moved, lr=20 * self.options.lr, momentum=0.9)}

    def _gan_step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        with torch.no_grad():
            fake = self.generator(torch.randn(len(images), 4)).float()
        between = torch.lerp(images, fake, torch.rand(len(images), 1, 1, 1)).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        update("critic", self.critic(fake).mean() - self.critic(images).mean() + 10 * penalty)
        losses = {"penalty": penalty}
        moves = update.step % 2 == 1
        if moves:
            losses["generator"] = -self.critic(self.generator(torch.randn(len(images), 4))).mean()
            update("generator", losses["generator"])
        self.steps.append((update.step, moves))
        return losses

    def _distance(self, images: Tensor) -> Tensor:
        rebuilt = self.generator(self.encoder(images) + 0.1 * torch.randn(len(images), 4)).float()
        return (rebuilt - images).square().mean((1, 2, 3))

    def _encoder_step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        loss = self._distance(images).mean()
        update("sgd", loss)
        return {"mse": loss}

    def _remember(self, batches: Iterable[Tensor]) -> None:
        assert not torch.is_grad_enabled()
        assert not self.training
        self.memory = torch.cat([self.encoder(batch) for batch in batches])


def make(cls: type[Toy], seed: int = 0, channels: int = 1, **options: object) -> Toy:
    """A toy with the weights of this seed."""
    torch.manual_seed(seed)
    return cls(cls.Options(**options), (SIDE, SIDE), channels)


def pictures(count: int, seed: int = 0, channels: int = 1) -> NDArray[np.float32]:
    """Ramps of random brightness and slope in [0, 1]."""
    rng = np.random.default_rng(seed)
    down, across, base = rng.random((3, count, channels, 1, 1), dtype=np.float32) / 3
    ramp = np.linspace(0, 1, SIDE, dtype=np.float32)
    return base + down * ramp[:, None] + across * ramp


def same(one: Method, other: Method) -> bool:
    """Whether two methods hold the same bits."""
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@dataclass(frozen=True)
class LabelledOptions(Options):
    @property
    def needs_labels(self) -> bool:
        return True


class LabelledToy(AutoencoderToy):
    """Learns to tell two classes apart, and remembers what it was given."""

    name, Options = "toy-labelled", LabelledOptions

    def __init__(self, options: LabelledOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.answer = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(channels * SIDE * SIDE, 1))
        self.register_buffer("counts", torch.empty(0))
        self.register_buffer("held", torch.empty(0))
        self.given: list[tuple[Tensor, Tensor]] = []

    def phases(self) -> list[Phase | Collect]:
        (learn,) = super().phases()
        count, hold = Collect("counts", 4, self._count), Collect("held", 4, self._hold, held_out=True)
        return [count, learn, hold]

    def _count(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        self.counts = torch.cat([labels for _, labels in batches])

    def _hold(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        self.held = torch.cat([labels for _, labels in batches])

    def labelled_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        logits = self.answer(images).float().squeeze(1)
        return nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")

    def _step(self, images: Tensor, labels: Tensor, update: Update) -> Mapping[str, Tensor]:
        self.given.append((images.detach().clone(), labels.clone()))
        loss = self.labelled_loss(images, labels).mean() + self.loss(images).mean()
        update("adam", loss)
        return {"bce": loss}

    def _validate(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.labelled_loss(images, labels)
