"""Where training runs, in which precision, and what makes it repeatable there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from unremarkable.errors import UsageError, unknown_name
from unremarkable.training.settings import TrainSettings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Machine(NamedTuple):
    """A device as torch names it, and "32" or "bf16"."""

    device: str
    precision: str

    @property
    def kind(self) -> str:
        """The device without its number: "cpu", "cuda" or "mps"."""
        return torch.device(self.device).type

    @property
    def layout(self) -> torch.memory_format:
        """Memory format that convolutions run fastest in here."""
        fast = self.kind == "cuda" or (self.kind == "cpu" and self.precision == "bf16")
        return torch.channels_last if fast else torch.contiguous_format

    def autocast(self) -> torch.autocast:
        """Context in which a method's step and validation run.

        Fabric's own would keep each weight's bfloat16 copy until the step ends. A step that moves a network and then
        uses it again (critic, then generator) must see the new weights, so nothing is cached here.
        """
        return torch.autocast(self.kind, torch.bfloat16, enabled=self.precision == "bf16", cache_enabled=False)

    def scoring(self, half: bool) -> torch.autocast:
        """Context in which a method is asked for features or scores; `half` where it may compute in bfloat16."""
        return torch.autocast(self.kind, torch.bfloat16, enabled=half and self.precision == "bf16")


def resolve(settings: TrainSettings) -> Machine:
    """Device and precision, with "auto" decided for this machine.

    Raises:
        UsageError: the device does not exist here.
    """
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    available = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if kind not in available or (number and not number.isdecimal()):
        raise unknown_name("device", device, ["auto", *available])
    if int(number or 0) >= available[kind]:
        raise UsageError(f"device {device!r} is not available on this machine; use device 'cpu' or 'auto'")
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if computes_in_bf16(kind) else "32"
    return Machine(device, precision)


def make_fabric(machine: Machine) -> Fabric:
    """Lightning Fabric on that device."""
    from lightning_fabric import Fabric

    index = torch.device(machine.device).index
    return Fabric(accelerator=machine.kind, devices=1 if index is None else [index])


def arrange(module: nn.Module, layout: torch.memory_format) -> None:
    """Give the 4-D weights this memory format, in place."""
    module.to(memory_format=layout)  # type: ignore[call-overload]  # documented, but left out of torch's overloads


def computes_in_bf16(kind: str) -> bool:
    """Whether bfloat16 is computed in hardware on a device of this kind ("cpu", "cuda", "mps")."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Private, but torch has no public question for it in 2.6; processors with AMX have this too.
    return kind == "cpu" and torch.cpu._is_avx512_bf16_supported()


@contextmanager
def repeatable(machine: Machine) -> Iterator[None]:
    """Deterministic algorithms inside, and the caller's random state and flags as they were afterwards."""
    # Read by cuBLAS when CUDA starts; without it matrix products on a GPU are not repeatable.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    devices = [torch.device(machine.device).index or 0] if machine.kind == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        # Only a kernel that reads what was never written would differ by it; to fill takes a quarter of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
            torch.backends.cudnn.benchmark = benchmark
            torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
