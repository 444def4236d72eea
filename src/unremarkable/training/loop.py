"""The training loop: phases in order, epoch by epoch, each epoch kept."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods.base import Collect, Method, Phase
from unremarkable.training.augment import make_augment
from unremarkable.training.batches import Images, Labelled, as_collected, load, split_rows
from unremarkable.training.board import Board
from unremarkable.training.checkpoint import Checkpoint, State, identify
from unremarkable.training.history import Epoch, History, PhaseHistory
from unremarkable.training.learner import Learner
from unremarkable.training.machine import Machine, arrange, make_fabric, repeatable, resolve
from unremarkable.training.progress import Silent, display
from unremarkable.training.settings import TrainSettings
from unremarkable.training.watch import look_over

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: steps without improvement that it takes at least to end a phase: with forty images an epoch is three of them, and
#: after five such epochs a loss that falls has hardly moved, but by the chance of a dozen held-out images
PATIENT_STEPS = 100


def train(
    method: Method,
    images: Images,
    held_out: Images | None,
    settings: TrainSettings,
    *,
    run: Path | None = None,
    progress: bool = False,
) -> History:
    """Take a method through its phases; it ends in eval mode on the chosen device.

    What a look at the result finds wrong (see `training.watch`) is in the history's `warnings`.

    Args:
        method: prepared; everything it learns must be in its parameters and buffers, and everything random in it must
            come from torch's global generator, which each epoch seeds anew.
        images: training normals `(N, C, H, W)` in [0, 1]; `Labelled` images of both classes where the method's
            options say that it needs labels.
        held_out: what early stopping and learning rates go by, of the same kind. Without it a phase trains all its
            epochs and keeps its last weights; with it, and a `validate`, it keeps its best.
        run: folder for the checkpoint, written after every epoch, and the TensorBoard log. A run that was interrupted
            goes on from there and ends with the same bits as an undisturbed one on the same machine.
        progress: show bars, or lines where stderr is no terminal.

    Raises:
        UsageError: no images; the device does not exist; the training diverged; the checkpoint is damaged, cannot be
            written, or belongs to another run; the GPU's memory does not suffice.
    """
    if len(images) == 0:
        raise UsageError("there are no images to train on")
    if any((isinstance(one, Labelled)) != method.options.needs_labels for one in (images, held_out) if one is not None):
        raise ValueError(f"{method.name} takes labels if, and only if, its options need them")
    if held_out is not None and len(held_out) == 0:
        held_out = None
    machine = resolve(settings)
    phases = method.phases()
    counts = len(images), 0 if held_out is None else len(held_out)
    checkpoint = Checkpoint(run, identify(method, counts, settings, machine, phases))
    state = checkpoint.load()
    history = History()
    if state is not None:
        history = History.from_dict(state.history)
        method.load_weights(state.weights)
    method.to(machine.device)
    logged = sum(len(phase.epochs) for phase in history.phases)
    board = Board(None if run is None else run / "tensorboard", logged)
    with repeatable(machine), display(progress) as shown, closing(board):
        training = _Training(method, images, held_out, settings, machine, checkpoint, history, board, shown)
        for index in range(0 if state is None else state.phase, len(phases)):
            training.run(index, phases, state)
        method.eval()
        history.warnings = look_over(method, phases, images, held_out, machine, history)
    return history


class _Training:
    """The phases of one run, and what they share."""

    def __init__(
        self,
        method: Method,
        images: Images,
        held_out: Images | None,
        settings: TrainSettings,
        machine: Machine,
        checkpoint: Checkpoint,
        history: History,
        board: Board,
        shown: Silent,
    ) -> None:
        self.method, self.images, self.held_out = method, images, held_out
        self.settings, self.machine = settings, machine
        self.checkpoint, self.history, self.board, self.shown = checkpoint, history, board, shown

    @cached_property
    def fabric(self) -> Fabric:
        """Made when a phase learns: importing it takes seconds, which a memory bank need not wait for."""
        return make_fabric(self.machine)

    def run(self, index: int, phases: list[Phase | Collect], state: State | None) -> None:
        """Run one phase, or what is left of it, and keep the result."""
        phase = phases[index]
        later = sum(len(self.images) * _epochs(phase) for phase in phases[index + 1 :])
        try:
            if isinstance(phase, Phase):
                self._learn(index, phase, later, state)
            else:
                self._collect(index, phase, later)
        except torch.OutOfMemoryError as error:
            where = f"phase {phase.name!r} does not fit the memory of {self.machine.device}"
            raise UsageError(f"{where}; use a batch_size below {phase.batch_size}") from error
        self.checkpoint.save(State(index + 1, self.method.state_dict(), self.history.to_dict()))

    def _learn(self, index: int, phase: Phase, later: int, state: State | None) -> None:
        """Train one phase and leave its best weights in the method."""
        method, rows = self.method, np.arange(len(self.images))
        phase = patient(phase, math.ceil(len(rows) / phase.batch_size))
        if len(self.history.phases) == index:
            self.history.phases.append(PhaseHistory(phase.name))
        past = self.history.phases[index]
        self._seed(index, 0)
        arrange(method, self.machine.layout)
        learner = Learner(method, phase, self.machine, self.fabric)
        best: dict[str, Tensor] | None = None
        if state is not None and past.epochs:
            steps = len(past.epochs) * len(split_rows(rows, phase.batch_size))
            learner.restore(state.optimizers, state.schedulers, steps)
            best = state.best
        change = make_augment(self.settings.augment) if self.settings.augment and phase.augment else None
        while not _finished(phase, past):
            number = len(past.epochs) + 1
            left = len(rows) * (phase.epochs - number + 1) + later
            self.shown.begin(phase.name, number, phase.epochs, len(rows), left)
            began, rates = time.monotonic(), learner.lr
            order = np.random.default_rng((self.settings.seed, index, number)).permutation(rows)
            self._seed(index, number)
            losses = learner.epoch(number, self.images, split_rows(order, phase.batch_size), change, self.shown.advance)
            held_out = None
            if self.held_out is not None and phase.validate is not None:
                self._seed(index, 0)  # what a validation draws is the same in every epoch
                held_out = learner.held_out_loss(self.held_out)
            learner.settle(held_out)
            self._record(past, Epoch(number, losses, held_out, rates, time.monotonic() - began))
            weights = method.state_dict()
            if held_out is not None and past.best_epoch == number:
                weights = best = _copied(weights)  # one and the same, so that the checkpoint holds it once
            if not _finished(phase, past):
                self.checkpoint.save(State(index, weights, self.history.to_dict(), best=best, **learner.state()))
        if best is not None:
            method.load_weights(best)
        method.zero_grad(set_to_none=True)
        arrange(method, torch.contiguous_format)

    def _collect(self, index: int, phase: Collect, later: int) -> None:
        """Show the method every image, or every held-out one, once, in order and in the precision of its scoring."""
        images = self.held_out if phase.held_out and self.held_out is not None else self.images
        self._seed(index, 0)
        self.method.eval()
        self.history.phases.append(PhaseHistory(phase.name))
        self.shown.begin(phase.name, 1, 1, len(images), len(images) + later)
        began = time.monotonic()
        with torch.no_grad(), self.machine.scoring(self.method.half_precision):
            phase.collect(self._in_order(images, phase.batch_size))
        self._record(self.history.phases[index], Epoch(1, {}, None, {}, time.monotonic() - began))

    def _in_order(self, images: Images, size: int) -> Iterator[Tensor | tuple[Tensor, ...]]:
        for start in range(0, len(images), size):
            rows = np.arange(start, min(start + size, len(images)))
            yield as_collected(load(images, rows, self.machine))
            self.shown.advance(len(rows))

    def _record(self, past: PhaseHistory, record: Epoch) -> None:
        past.epochs.append(record)
        self.board.add(past.name, record)
        self.shown.end(record)

    def _seed(self, phase: int, epoch: int) -> None:
        """Begin the random numbers of one epoch (from 1) of one phase anew; 0 is for what happens outside of epochs."""
        state = np.random.SeedSequence((self.settings.seed, phase, epoch)).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]))


def patient(phase: Phase, steps: int) -> Phase:
    """The phase where an epoch has so many steps: patience and plateau are longer where that is too few of them."""
    if phase.patience is None:
        return phase
    factor = max(1.0, PATIENT_STEPS / (phase.patience * steps))
    plateau = None if phase.plateau is None else math.ceil(factor * phase.plateau)
    return replace(phase, patience=math.ceil(factor * phase.patience), plateau=plateau)


def _epochs(phase: Phase | Collect) -> int:
    return phase.epochs if isinstance(phase, Phase) else 1


def _finished(phase: Phase, past: PhaseHistory) -> bool:
    done = len(past.epochs)
    if done >= phase.epochs:
        return True
    judged = done > 0 and past.epochs[-1].held_out is not None
    return judged and phase.patience is not None and done - (past.best_epoch or 0) >= phase.patience


def _copied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """In the processor's memory, which a GPU's training does not need."""
    return {name: value.detach().to("cpu", copy=True) for name, value in weights.items()}
