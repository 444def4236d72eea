"""The model folder on disk: config, weights, calibration, manifest. No pickle; written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from unremarkable import __version__
from unremarkable.datasets.cache import Packed
from unremarkable.datasets.case import Dataset
from unremarkable.errors import UsageError

#: raised whenever an older version could misread the folder
FORMAT = 1
_CONFIG, _WEIGHTS, _CALIBRATION, _MANIFEST = "config.json", "weights.safetensors", "calibration.json", "manifest.json"


@dataclass(frozen=True)
class ModelFolder:
    """What a model folder holds, in plain values and tensors."""

    config: dict[str, Any]
    calibration: dict[str, Any]
    manifest: dict[str, Any]
    weights: Mapping[str, Tensor]


def make_manifest(
    dataset: Dataset, packed: Packed, parts: Mapping[str, Sequence[int]], split: str, seed: int
) -> dict[str, Any]:
    """Where a model came from: the sha256 of every case in each part, which labels were used, seed and versions."""
    libraries = ("torch", "numpy", "lightning-fabric", "kornia", "pillow", "pydicom", "nibabel")
    return {
        "data": {
            "name": dataset.name,
            "layout": dataset.layout,
            "split": split,
            **{name: [packed.digests[i] for i in part] for name, part in parts.items()},
            "failures": [list(item) for item in (*packed.failures, *dataset.skipped)],
        },
        "labels": {
            "training": "used only to leave out abnormal cases, where the data says which they are",
            "calibration": "held-out normals; no abnormal case",
            "test": "none",
        },
        "seed": seed,
        "versions": {"unremarkable": __version__, "python": platform.python_version()}
        | {name: version(name) for name in libraries},
        "machine": f"{platform.system()} {platform.machine()}",
    }


def is_model(folder: Path) -> bool:
    """Whether a folder looks like a saved model."""
    return (folder / _CONFIG).is_file() and (folder / _WEIGHTS).is_file()


def write_model(folder: Path, model: ModelFolder) -> Path:
    """Write beside, then rename: a reader sees the old model or the new one, never half of one.

    Raises:
        UsageError: something that is not a model is in the way, or the disk is full.
    """
    from safetensors.torch import save_file

    if folder.exists() and not is_model(folder):
        raise UsageError(f"{folder} exists and is not a model; name another folder")
    work = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    try:
        work.mkdir(parents=True)
        save_file({k: v.detach().cpu().contiguous() for k, v in model.weights.items()}, work / _WEIGHTS)
        heading = {"format": FORMAT, "version": __version__}
        for name, content in (
            (_CONFIG, heading | model.config),
            (_CALIBRATION, model.calibration),
            (_MANIFEST, model.manifest),
        ):
            (work / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
        if folder.exists():
            old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
            folder.rename(old)
            work.rename(folder)
            shutil.rmtree(old)
        else:
            work.rename(folder)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UsageError(f"the disk is full: {folder} could not be written") from error
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def read_model(folder: Path) -> ModelFolder:
    """Read a model folder.

    Raises:
        UsageError: no model there, a damaged one, or one made by a newer version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not folder.is_dir():
        raise UsageError(f"there is no model folder {folder}")
    if not is_model(folder):
        raise UsageError(f"{folder} is not a model: {_CONFIG} or {_WEIGHTS} is missing")
    try:
        config, calibration, manifest = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in (_CONFIG, _CALIBRATION, _MANIFEST)
        )
        made_by, writer = config["format"], config["version"]
        if made_by > FORMAT:
            raise UsageError(
                f"{folder} was made by unremarkable {writer}, which writes a newer format ({made_by}) than this one"
                f" reads ({FORMAT}); update with: pip install -U unremarkable"
            )
        weights = load_file(folder / _WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UsageError(f"{folder} is damaged and cannot be read: {error}") from error
    return ModelFolder(config, calibration, manifest, weights)
