"""How long a fit will take, from a few real steps on a copy of the method."""

from __future__ import annotations

import copy
import time

import numpy as np
import torch

from unremarkable.methods.base import Collect, Method, Phase
from unremarkable.training.batches import Images, as_collected, few, load
from unremarkable.training.learner import Learner
from unremarkable.training.machine import Machine, arrange, make_fabric, repeatable, resolve
from unremarkable.training.settings import TrainSettings

#: images per timed step on the processor, where an image's share of a larger batch is about the same
_IMAGES = 8
#: after one step to warm up, a phase is timed for so many steps, or until so many seconds have gone
_STEPS, _SECONDS = 5, 2.0


def expected_seconds(method: Method, images: Images, settings: TrainSettings, held_out: Images | None = None) -> float:
    """Time that `train` would take for all epochs of all phases; early stopping can only make it shorter.

    Takes a few steps of each phase on a copy: method, random state and flags stay as they are. Augmentation, reading
    from a slow disk and checkpoints are not counted.
    """
    machine = resolve(settings)
    checked = 0 if held_out is None else len(held_out)
    total = 0.0
    with repeatable(machine):
        torch.manual_seed(settings.seed)
        method = copy.deepcopy(method).to(machine.device)
        for phase in method.phases():
            count = min(phase.batch_size, len(images), _IMAGES if machine.kind == "cpu" else phase.batch_size)
            sample = few(images, count)
            if isinstance(phase, Collect):
                once, batch = _collecting(method, phase, sample, machine)
                total += once + batch / count * len(images)
            else:
                step, validation = _learning(method, phase, sample, machine)
                total += (step * len(images) + validation * checked) / count * phase.epochs
    return total


def _learning(method: Method, phase: Phase, sample: Images, machine: Machine) -> tuple[float, float]:
    """Seconds of one training step and of one validation step on this batch."""
    arrange(method, machine.layout)
    method.train()
    learner = Learner(method, phase, machine, make_fabric(machine))
    batch = load(sample, np.arange(len(sample)), machine)
    learner.step(*batch)
    began, steps = _now(machine), 0
    while steps < _STEPS and (steps == 0 or _now(machine) - began < _SECONDS):
        learner.step(*batch)
        steps += 1
    step = (_now(machine) - began) / steps
    if phase.validate is None:
        return step, 0.0
    began = _now(machine)
    learner.held_out_loss(sample)
    return step, _now(machine) - began


def _collecting(method: Method, phase: Collect, sample: Images, machine: Machine) -> tuple[float, float]:
    """Seconds of what a collection does once, when it has seen everything, and of each batch like this one."""
    arrange(method, torch.contiguous_format)
    method.eval()
    batch = as_collected(load(sample, np.arange(len(sample)), machine))
    times = []
    with torch.no_grad():
        phase.collect([batch])
        for count in (1, 2):
            began = _now(machine)
            phase.collect([batch] * count)
            times.append(_now(machine) - began)
    each = min(max(times[1] - times[0], 0.0), times[0])
    return times[0] - each, each


def _now(machine: Machine) -> float:
    if machine.kind == "cuda":
        torch.cuda.synchronize(machine.device)
    return time.perf_counter()
