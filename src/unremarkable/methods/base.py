"""The contract that every method keeps: options, phases, predict.

A method knows nothing of files, labels or the command line.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class Options:
    """What every method can be told. A method's own options extend this; each default is the paper's.

    Each field's `metadata["help"]` is the line that the command line shows for it.
    """

    @property
    def needs_labels(self) -> bool:
        """Whether a method with these options learns from abnormal cases too, and is given labels to tell them by.

        Where it is true, every callable of the method's phases is given `labels` `(N,)`, float32, 0 normal and 1
        abnormal, beside the images: `step(images, labels, update)`, `validate(images, labels)`, and `collect` batches
        `(images, labels)`. Training images and held-out ones then hold both classes; calibration stays on normals.
        Where it is false, the method never sees an abnormal image.
        """
        return False


@dataclass(frozen=True)
class Prediction:
    """What a method says of a batch.

    Attributes:
        map: `(N, 1, h, w)`, larger is more anomalous, at the method's own resolution.
        score: `(N,)`, the method's published image score, larger is more anomalous.
        reconstruction: `(N, C, H, W)` in [0, 1], or None for methods that do not reconstruct pixels.
    """

    map: Tensor
    score: Tensor
    reconstruction: Tensor | None = None


class Update(Protocol):
    """What a step uses to learn: clears gradients, runs backward and steps the named optimiser."""

    #: optimisation steps already taken in this phase, before the current one
    step: int

    def __call__(self, optimizer: str, loss: Tensor) -> None: ...


@dataclass(frozen=True)
class Adversary:
    """How one of a phase's losses tells that its discriminator has collapsed; `training.watch` looks at it.

    Attributes:
        loss: name among the losses that the phase's step returns.
        blind: the loss where real and generated images are not told apart: log 2 for a mean cross-entropy (twice that
            for the sum over real and generated), 0 for a Wasserstein distance.
        sure: the loss where no image is ever doubted: 0 for a cross-entropy, None where there is no such value.
    """

    loss: str
    blind: float
    sure: float | None = None


@dataclass(frozen=True)
class Phase:
    """Gradient training over the normals; over both classes, with their labels, where `Options.needs_labels`.

    Attributes:
        name: shown in progress and logs.
        epochs: at most so many passes over the training images.
        batch_size: images per step.
        optimizers: builds the phase's optimisers, by name, over the parameters that this phase moves.
        step: `step(images, update)` takes one batch `(N, C, H, W)` in [0, 1] and an `Update`, moves the weights and
            returns named scalar losses; with labels, `step(images, labels, update)`.
        validate: `validate(images)`, or `validate(images, labels)`: per-image loss `(N,)` of held-out images, without
            gradient, in eval mode; the phase then stops early and keeps its best weights. None for adversarial phases,
            whose losses do not fall with quality.
        patience: epochs without improvement after which the phase stops; needs `validate`. Where that would be fewer
            than `training.loop.PATIENT_STEPS` steps, patience and plateau last longer by one factor.
        plateau: epochs without improvement after which every learning rate is multiplied by 0.1; None for never.
        rate: `rate(step, steps)` multiplies every learning rate, given the steps already taken in this phase and those
            it takes if nothing stops it early; None leaves them alone. Not beside `plateau`.
        augment: whether the loop may flip, zoom and move the training images, where the user asks for it.
        adversaries: of an adversarial phase, its discriminators, each by the loss that tells how it does.
    """

    name: str
    epochs: int
    batch_size: int
    optimizers: Callable[[], Mapping[str, Optimizer]]
    step: Callable[..., Mapping[str, Tensor]]
    validate: Callable[..., Tensor] | None = None
    patience: int | None = None
    plateau: int | None = None
    rate: Callable[[int, int], float] | None = None
    augment: bool = True
    adversaries: tuple[Adversary, ...] = ()


@dataclass(frozen=True)
class Collect:
    """One pass over the images without gradient, in order, for methods that remember and for what looking settles.

    Attributes:
        name: shown in progress and logs.
        batch_size: images per batch.
        collect: is given the batches, `(N, C, H, W)` in [0, 1], or pairs of such a batch and its labels where
            `Options.needs_labels`, and keeps what it needs in the method's buffers.
        held_out: look at the images held out for early stopping, where there are any, and not at the training ones,
            which a trained network knows too well.
    """

    name: str
    batch_size: int
    collect: Callable[[Iterable[Any]], None]
    held_out: bool = False


class Method(nn.Module, ABC):
    """One published method.

    A subclass sets the class attributes, builds its networks in `__init__` (random weights only: nothing is read from
    disk or network there) and implements `phases` and `predict`. Buffers that fitting fills may be registered empty:
    they take the shape that a saved model brings.
    """

    name: ClassVar[str]
    #: authors, title, venue and year
    paper: ClassVar[str]
    #: "reconstruction", "adversarial", "feature comparison", "memory bank", ...
    family: ClassVar[str]
    #: how `Prediction.score` is made from the map: "max", "mean", "top1", "top10", or "own" where it is not a reduction
    reduction: ClassVar[str]
    #: side of the square input in pixels, as published
    default_size: ClassVar[int] = 256
    #: map value of a heat map's strongest colour where the map has a scale of its own; None for one that normals set
    map_full: ClassVar[float | None] = None
    #: whether `predict` and what is collected keep their meaning in bfloat16; training runs in it either way
    half_precision: ClassVar[bool] = False
    Options: ClassVar[type[Options]] = Options

    def __init__(self, options: Any, size: tuple[int, int], channels: int) -> None:
        """Build for images of `size` (height, width) with `channels` (1 grey, 3 colour).

        Raises:
            UsageError: the method's networks cannot take that size.
        """
        super().__init__()
        self.options = options
        self.size = size
        self.channels = channels

    def prepare(self) -> None:
        """Load pretrained weights where the method uses any; called once before fitting and never when loading.

        Raises:
            UsageError: weights are not on this machine; says where they are looked for and what fetches them.
        """

    @abstractmethod
    def phases(self) -> list[Phase | Collect]:
        """How the method is fitted, in order."""

    def notes(self, images: int) -> tuple[str, ...]:
        """What the plan should say before fitting on so many images: the memory it will take, say. One line each."""
        return ()

    @abstractmethod
    def predict(self, images: Tensor) -> Prediction:
        """Maps and scores of `(N, C, H, W)` images in [0, 1]; deterministic, and the same for any batch size.

        Called in eval mode and without gradient; a method that needs gradients for its map enables them itself.
        """

    def settled(self) -> dict[str, Any]:
        """What fitting settled that a reader of the model should know, by name; JSON-compatible, kept with the model.

        Only what can be read from the buffers and weights, so that a loaded method says the same.
        """
        return {}

    def feature_pairs(self, images: Tensor) -> tuple[Tensor, Tensor] | None:
        """Encoder and decoder features of `(N, C, H, W)` images on one grid, `(N, F, h, w)` each, for figures.

        None for methods that do not compare an encoder with a decoder. Called as `predict` is.
        """
        return None

    def load_weights(self, state: Mapping[str, Tensor]) -> None:
        """Take weights saved from a fitted instance, whatever the shape of the buffers that fitting filled."""
        own = dict(self.named_buffers())
        for key, value in state.items():
            if key in own and own[key].shape != value.shape:
                parent, _, leaf = key.rpartition(".")
                setattr(self.get_submodule(parent), leaf, torch.empty_like(value))
        self.load_state_dict(dict(state), strict=True)
