"""The state of an interrupted run, in one file that is always whole."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods.base import Method, Phase
from unremarkable.training.machine import Machine
from unremarkable.training.settings import TrainSettings

FORMAT = 1
_NAME = "checkpoint.pt"
_RESTART = "to start afresh use --restart, or remove that folder"


@dataclass(frozen=True)
class State:
    """Everything that the rest of a run depends on; random states are not in it, as every epoch seeds itself.

    `phase` is the index of the phase to go on with. If that phase has begun, `history` has its epochs so far,
    `optimizers` and `schedulers` their states by name, and `best` the weights of its best epoch.
    """

    phase: int
    weights: dict[str, Tensor]
    history: dict[str, Any]
    optimizers: dict[str, Any] = field(default_factory=dict)
    schedulers: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Tensor] | None = None


class Checkpoint:
    """The checkpoint of one run folder. With None as folder nothing is kept."""

    def __init__(self, run: Path | None, identity: Mapping[str, str]) -> None:
        self._path = None if run is None else run / _NAME
        self._identity = dict(identity)

    def load(self) -> State | None:
        """The state to go on from, or None where nothing was saved.

        Raises:
            UsageError: the file is damaged, made by a newer version, or of a run with other settings or data.
        """
        if self._path is None or not self._path.exists():
            return None
        content = self._read(self._path)
        if content["format"] > FORMAT:
            raise UsageError(f"{self._path} was written by a newer version of unremarkable; {_RESTART}")
        theirs = content["identity"]
        changes = [
            f"{key} was {theirs.get(key, 'not set')}, now {self._identity.get(key, 'not set')}"
            for key in dict.fromkeys((*theirs, *self._identity))
            if theirs.get(key) != self._identity.get(key)
        ]
        if changes:
            raise UsageError(f"{self._path.parent} holds another run ({'; '.join(changes)}); {_RESTART}")
        return State(**content["state"])

    def save(self, state: State) -> None:
        """Replace the checkpoint; whatever interrupts this, the old one or the new one is there whole.

        Raises:
            UsageError: it cannot be written; the one before is kept.
        """
        if self._path is None:
            return
        content = {"format": FORMAT, "identity": self._identity, "state": vars(state)}
        part = self._path.with_name(_NAME + ".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except (OSError, RuntimeError) as error:  # torch turns some failed writes into a RuntimeError
            with suppress(OSError):
                part.unlink()
            raise UsageError(
                f"cannot write the checkpoint {self._path}: {_reason(error)};"
                " the same command goes on from the last one that was written"
            ) from error

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        damaged = UsageError(f"the checkpoint {path} is damaged; {_RESTART}")
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:  # torch.load does not look at the checksums
                    raise damaged
            content = torch.load(path, map_location="cpu", weights_only=True)
        except PermissionError as error:
            raise UsageError(f"cannot read the checkpoint {path}: {error.strerror}") from error
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
            raise damaged from error
        if not isinstance(content, dict) or not {"format", "identity", "state"} <= content.keys():
            raise damaged
        return content


def discard(run: Path, *, keep_log: bool = False) -> None:
    """Remove a run's checkpoint and log, nothing else that lies in the folder, and the folder where that empties it."""
    (run / _NAME).unlink(missing_ok=True)
    (run / (_NAME + ".part")).unlink(missing_ok=True)
    if not keep_log:
        shutil.rmtree(run / "tensorboard", ignore_errors=True)
    if run.is_dir() and not any(run.iterdir()):
        run.rmdir()


def identify(
    method: Method, counts: tuple[int, int], settings: TrainSettings, machine: Machine, phases: list[Any]
) -> dict[str, str]:
    """What must be the same for a run to go on, as readable text by name. `counts`: training and held-out images."""
    said = {"method": method.name, "size": f"{method.size[0]}x{method.size[1]}", "channels": str(method.channels)}
    said |= {f"option {name}": str(value) for name, value in asdict(method.options).items()}
    said |= {"seed": str(settings.seed), "device": machine.kind, "precision": machine.precision}
    said |= {"augment": str(settings.augment or "off")}
    said |= {"training images": str(counts[0]), "held-out images": str(counts[1])}
    said |= {"data": sha256(settings.fingerprint.encode()).hexdigest()[:12]}
    for number, phase in enumerate(phases, start=1):
        epochs = f"{phase.epochs} epochs" if isinstance(phase, Phase) else "one pass"
        said[f"phase {number}"] = f"{phase.name}, {epochs}, batch {phase.batch_size}"
    return said


def _reason(error: BaseException) -> str:
    """The system's reason, also where torch's own complaint about the unfinished file hides it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return str(error).splitlines()[0]
