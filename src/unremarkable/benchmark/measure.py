"""What a cell costs, and where its figures come from."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import unremarkable

if TYPE_CHECKING:
    from unremarkable.datasets.case import Dataset
    from unremarkable.detector import Detector
    from unremarkable.methods.base import Method

_LIBRARIES = ("torch", "numpy", "scipy", "scikit-image", "pillow")


def timed_fit(
    detector: Detector, data: Dataset, run: Path | None = None, *, progress: bool = False
) -> tuple[float, bool]:
    """Fit on the data's own split; seconds it took, and whether it went on from an earlier process in `run`.

    Raises:
        UsageError: the fit is impossible.
    """
    resumed = run is not None and (run / "checkpoint.pt").exists()
    began = time.perf_counter()
    detector.fit(data, split="published", run=run, progress=progress)
    seconds = time.perf_counter() - began
    if resumed:  # what an earlier process did is known by its epochs
        epochs = [epoch.seconds for phase in detector.history_.phases for epoch in phase.epochs]
        seconds = max(seconds, sum(epochs))
    return seconds, resumed


def peak_memory_mb() -> float | None:
    """The most memory that this process has held so far, in MiB; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024**2 if sys.platform == "darwin" else peak / 1024


def gpu_memory_mb() -> float | None:
    """The most memory that tensors of this process have held on the GPU, in MiB; None without one."""
    import torch

    return torch.cuda.max_memory_allocated() / 1024**2 if torch.cuda.is_available() else None


def size_of(method: Method) -> dict[str, int]:
    """Numbers that training moves or that came pretrained ("parameters"), and those that fitting keeps ("buffers")."""
    return {
        "parameters": sum(value.numel() for value in method.parameters()),
        "buffers": sum(value.numel() for value in method.buffers()),
    }


def flops(method: Method) -> int:
    """Floating-point operations of scoring one image: those of convolutions, matrix products and attention.

    A multiplication and its addition count as two, as `torch.utils.flop_counter` has it; papers often count them as
    one. Distances to a memory bank, sorting and resizing are not counted.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Counter(TorchDispatchMode):
        """What torch's `FlopCounterMode` sums, whose record of modules cannot stand a gradient within a score."""

        total = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            count = flop_registry.get(func.overloadpacket)
            self.total += count(*args, **(kwargs or {}), out_val=result) if count else 0
            return result

    device = next((p.device for p in method.parameters()), torch.device("cpu"))
    image = torch.full((1, method.channels, *method.size), 0.5, device=device)
    method.eval()
    # The processor's fused attention is not in torch's tables; spelt out as matrix products it is.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), Counter() as counter:
        method.predict(image)
    return counter.total


def provenance() -> dict[str, Any]:
    """Version and commit of this package, libraries, machine and day."""
    import torch

    machine = f"{_processor()}, {os.cpu_count()} cores"
    if (threads := torch.get_num_threads()) != os.cpu_count():
        machine += f" of which {threads} used"
    if torch.cuda.is_available():
        machine += f", {torch.cuda.get_device_name()}"
    return {
        "unremarkable": unremarkable.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "machine": machine,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def commit() -> str | None:
    """The commit of the checkout that the package lies in, marked where files differ from it; None if it is in none."""
    here = Path(unremarkable.__file__).resolve().parent
    try:
        # The package must be the repository's own: one that is merely installed inside a checkout is not its work.
        known = subprocess.run(["git", "ls-files", "--error-unmatch", "__init__.py"], cwd=here, capture_output=True)
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
        )
    except OSError:
        return None
    return told.stdout.strip() or None if known.returncode == 0 else None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
