"""`unremarkable doctor`."""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from unremarkable import __version__
from unremarkable.cli.common import Json, print_json, table


def doctor(as_json: Json = False) -> None:
    """Say what this machine has: versions, devices, weights, free disk."""
    report = _examine()
    if as_json:
        print_json(report)
        return
    for heading, rows in report.items():
        print(f"{heading}\n{table([(key, str(value)) for key, value in rows.items()])}\n")


def _examine() -> dict[str, dict[str, Any]]:
    import torch

    from unremarkable.datasets.cache import cache_folder
    from unremarkable.networks.weights import weights_table
    from unremarkable.training.machine import resolve
    from unremarkable.training.settings import TrainSettings

    device, precision = resolve(TrainSettings())
    cache = cache_folder()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return {
        "versions": {"unremarkable": __version__, "python": platform.python_version()}
        | {name: _version(name) for name in _needs()},
        "devices": {
            "processor": f"{platform.machine()}, {torch.get_num_threads()} threads",
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
            "training uses": f"{device}, {precision}",
        },
        "weights": {str(row["name"]): row["path"] or "not here" for row in weights_table()},
        "disk": {
            "packed cache": str(cache),
            "in use": f"{_size(cache) / 1e9:.1f} GB",
            "free there": f"{shutil.disk_usage(existing).free / 1e9:.1f} GB",
        },
    }


def _needs() -> list[str]:
    names = [
        line.split(">")[0].split("=")[0].strip() for line in requires("unremarkable") or [] if "extra ==" not in line
    ]
    return sorted(names)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
