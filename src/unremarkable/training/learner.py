"""One phase of gradient training: its optimisers, an epoch, the loss of held-out images."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from unremarkable.errors import UsageError
from unremarkable.methods.base import Method, Phase
from unremarkable.training.batches import Images, load
from unremarkable.training.machine import Machine

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: steps between two looks at the losses; each look makes a GPU wait
_LOOK = 20


class Learner:
    """Moves the weights of a method through one phase."""

    def __init__(self, method: Method, phase: Phase, machine: Machine, fabric: Fabric) -> None:
        self.method, self.phase, self.machine = method, phase, machine
        self.optimizers = dict(phase.optimizers())
        # threshold 0: the same notion of a better epoch as in early stopping
        self.schedulers = {
            name: ReduceLROnPlateau(optimizer, factor=0.1, patience=phase.plateau, threshold=0.0)
            for name, optimizer in self.optimizers.items()
            if phase.plateau is not None
        }
        self._update = _Update(fabric, self.optimizers, machine)
        self._number = 0
        self._steps = 1  # of the whole phase; an epoch knows
        self._rates = [group["lr"] for o in self.optimizers.values() for group in o.param_groups]

    def step(self, images: Tensor, *labels: Tensor) -> dict[str, Tensor]:
        """One batch `(N, C, H, W)` in [0, 1], with its labels where there are any; the losses that the method names."""
        self._set_rates()
        with self.machine.autocast():
            losses = self.phase.step(images.contiguous(memory_format=self.machine.layout), *labels, self._update)
        self._update.step += 1
        return {name: loss.detach() for name, loss in losses.items()}

    def epoch(
        self,
        number: int,
        images: Images,
        batches: list[NDArray[np.int64]],
        change: Callable[[Tensor], Tensor] | None,
        tell: Callable[[int, Mapping[str, float] | None], None],
    ) -> dict[str, float]:
        """One pass, the `number`-th; the mean of each loss over the images it was computed for.

        `change` augments a batch; `tell` hears how many images were done and, now and then, the means so far.

        Raises:
            UsageError: a loss is not a finite number.
        """
        self._number, self._steps = number, self.phase.epochs * len(batches)
        self.method.train()
        sums: defaultdict[str, Any] = defaultdict(float)
        counts: defaultdict[str, int] = defaultdict(int)
        means: dict[str, float] = {}
        for count, rows in enumerate(batches, start=1):
            batch, *labels = load(images, rows, self.machine)
            for name, loss in self.step(batch if change is None else change(batch), *labels).items():
                sums[name] += loss.float() * len(rows)
                counts[name] += len(rows)
            look = count % _LOOK == 0 or count == len(batches)
            if look:
                means = {name: float(sums[name]) / counts[name] for name in sums}
                for name, mean in means.items():
                    self._require_finite(f"loss {name!r}", mean)
            tell(len(rows), means if look else None)
        return means

    def held_out_loss(self, images: Images) -> float:
        """Mean of the phase's validation loss over these images.

        Raises:
            UsageError: it is not a finite number.
        """
        assert self.phase.validate is not None
        self.method.eval()
        losses = []
        with torch.no_grad(), self.machine.autocast():
            for start in range(0, len(images), self.phase.batch_size):
                rows = np.arange(start, min(start + self.phase.batch_size, len(images)))
                batch, *labels = load(images, rows, self.machine)
                batch = batch.contiguous(memory_format=self.machine.layout)
                losses.append(self.phase.validate(batch, *labels).cpu().double())
        mean = float(torch.cat(losses).mean())
        self._require_finite("the held-out loss", mean)
        return mean

    def settle(self, held_out: float | None) -> None:
        """Close an epoch: learning rates follow the held-out loss, and weights that broke are reported.

        Raises:
            UsageError: a weight is not a finite number.
        """
        if held_out is not None:
            for scheduler in self.schedulers.values():
                scheduler.step(held_out)
        moved = [p for o in self.optimizers.values() for group in o.param_groups for p in group["params"]]
        if not torch.stack([p.detach().isfinite().all() for p in moved]).all():
            self._require_finite("a weight", math.nan)

    @property
    def lr(self) -> dict[str, float]:
        """Learning rate of each optimiser."""
        return {name: float(optimizer.param_groups[0]["lr"]) for name, optimizer in self.optimizers.items()}

    def state(self) -> dict[str, Any]:
        """States of optimisers and schedulers; the weights are the method's."""
        return {
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "schedulers": {name: scheduler.state_dict() for name, scheduler in self.schedulers.items()},
        }

    def restore(self, optimizers: Mapping[str, Any], schedulers: Mapping[str, Any], steps: int) -> None:
        """The inverse of `state`; `steps` were taken before."""
        for name, state in optimizers.items():
            self.optimizers[name].load_state_dict(state)
        for name, state in schedulers.items():
            self.schedulers[name].load_state_dict(state)
        self._update.step = steps

    def _set_rates(self) -> None:
        """Learning rates of the next step, where the phase says how they run."""
        if self.phase.rate is not None:
            factor = self.phase.rate(self._update.step, self._steps)
            groups = (group for o in self.optimizers.values() for group in o.param_groups)
            for group, rate in zip(groups, self._rates, strict=True):
                group["lr"] = factor * rate

    def _require_finite(self, what: str, value: float) -> None:
        """Stop a run that has diverged, before its weights are kept anywhere."""
        if not math.isfinite(value):
            other = " or precision 32" if self.machine.precision == "bf16" else ""
            where = f"phase {self.phase.name!r} diverged in epoch {self._number}"
            raise UsageError(f"{where}: {what} is {value}; try a lower learning rate{other}")


class _Update:
    """The `Update` that a method's step is given."""

    def __init__(self, fabric: Fabric, optimizers: Mapping[str, Optimizer], machine: Machine) -> None:
        self.step = 0
        self._fabric, self._kind = fabric, machine.kind
        self._optimizers = {name: fabric.setup_optimizers(optimizer) for name, optimizer in optimizers.items()}

    def __call__(self, optimizer: str, loss: Tensor) -> None:
        # Clears this optimiser's gradients only. What a generator's loss leaves on its critic stays until the critic's
        # own next update clears it, before it is ever used.
        chosen = self._optimizers[optimizer]
        chosen.zero_grad(set_to_none=True)
        with torch.autocast(self._kind, enabled=False):
            self._fabric.backward(loss)
        chosen.step()
