"""TensorBoard: the scalars of every epoch, under `RUN/tensorboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unremarkable.errors import UsageError
from unremarkable.training.history import Epoch


class Board:
    """Writes to `folder`, from its first epoch on; with None, does nothing. `step` epochs were logged before."""

    def __init__(self, folder: Path | None, step: int) -> None:
        self._folder, self._step = folder, step
        self._writer: Any = None

    def add(self, phase: str, record: Epoch) -> None:
        """Log one epoch; steps count the epochs of all phases. One that only collected has nothing to log.

        Raises:
            UsageError: the log cannot be written.
        """
        if self._folder is not None and record.losses:
            scalars = {f"{phase}/{name}": value for name, value in record.losses.items()}
            scalars |= {f"{phase}/lr/{name}": value for name, value in record.lr.items()}
            scalars[f"{phase}/seconds"] = record.seconds
            if record.held_out is not None:
                scalars[f"{phase}/held-out"] = record.held_out
            try:
                self._write(self._folder, scalars)
            except OSError as error:
                raise UsageError(f"cannot write the training log {self._folder}: {error.strerror or error}") from error
        self._step += 1

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, folder: Path, scalars: dict[str, float]) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # What an interrupted run logged after its last checkpoint is hidden, as it is trained again.
            self._writer = SummaryWriter(str(folder), purge_step=self._step)
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, self._step)
        self._writer.flush()
