"""Kills a training run with SIGKILL at many points, resumes each, and prints as JSON how they ended.

Run by test_resume.py in a process of its own: children are forked from one parent, which has paid for the imports.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kornia.augmentation  # noqa: F401  (before the fork)
import lightning_fabric  # noqa: F401
import torch
import torch.utils.tensorboard
from training_toys import GanToy, make, pictures

from unremarkable.training import learner, loop
from unremarkable.training.checkpoint import Checkpoint
from unremarkable.training.history import History
from unremarkable.training.loop import train
from unremarkable.training.settings import Augment, TrainSettings

loop.PATIENT_STEPS = 1  # so that twelve small epochs see a rate fall and the phase end
OPTIONS = {"epochs": 12, "patience": 3, "plateau": 1, "lr": 0.02}
SETTINGS = TrainSettings(seed=3, device="cpu", precision="bf16", augment=Augment(), fingerprint="the same images")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(owner: Any, name: str, number: int, deed: Callable[..., Any]) -> None:
    """Put `deed(original, *arguments)` in place of the `number`-th call."""
    original, calls = getattr(owner, name), [0]

    def counted(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        return deed(original, *arguments) if calls[0] == number else original(*arguments, **named)

    setattr(owner, name, counted)


def before(original: Callable[..., Any], *arguments: Any) -> None:
    die()


def after(original: Callable[..., Any], *arguments: Any) -> None:
    original(*arguments)
    die()


def half_written(original: Callable[..., Any], content: Any, file: Any) -> None:
    whole = io.BytesIO()
    original(content, whole)
    file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
    file.flush()
    die()


KILLS = {
    "step": (learner.Learner, "step", before),
    "held-out": (learner.Learner, "held_out_loss", before),
    "half-written": (torch, "save", half_written),
    "before-replace": (Path, "replace", before),
    "after-replace": (Path, "replace", after),
    "saved": (Checkpoint, "save", after),
    "memory": (GanToy, "_remember", after),
}


def run(folder: Path, kill: tuple[str, int] | None = None) -> History:
    if kill is not None:
        owner, name, deed = KILLS[kill[0]]
        at_call(owner, name, kill[1], deed)
    method = make(GanToy, seed=3, **OPTIONS)
    history = train(method, pictures(20), pictures(9, seed=1), SETTINGS, run=folder)
    digest = hashlib.sha256()
    for name, value in method.state_dict().items():
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    values = [
        {key: value for key, value in vars(epoch).items() if key != "seconds"}
        for phase in history.phases
        for epoch in phase.epochs
    ]
    (folder / "end.json").write_text(json.dumps({"weights": digest.hexdigest(), "epochs": values}))
    return history


def in_child(folder: Path, kill: tuple[str, int] | None = None) -> int:
    """Run in a forked process; the number of the signal that ended it, 0 for none."""
    child = os.fork()
    if child == 0:
        try:
            run(folder, kill)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    assert in_child(folder / "undisturbed") == 0
    ends = {"undisturbed": json.loads((folder / "undisturbed/end.json").read_text())}
    saves = len(ends["undisturbed"]["epochs"])
    kills = [("step", number) for number in (2, 7, 14)]
    kills += [("held-out", 1), ("memory", 1), ("half-written", 1), ("half-written", saves)]
    kills += [("before-replace", 2), ("after-replace", 3)]
    for kill in kills:
        here = folder / "killed"
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir()
        signals = [in_child(here, kill), in_child(here)]
        ends["-".join(map(str, kill))] = json.loads((here / "end.json").read_text()) | {"signals": signals}
    here, deaths = folder / "every-epoch", 0
    here.mkdir()
    while in_child(here, ("saved", 1)) == signal.SIGKILL:
        deaths += 1
    ends["every-epoch"] = json.loads((here / "end.json").read_text()) | {"signals": [deaths]}
    print(json.dumps(ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
