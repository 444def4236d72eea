"""What happened while training, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """One pass over the training images.

    Attributes:
        epoch: counted from 1 within its phase.
        losses: mean over the images of each loss that the method names.
        held_out: mean loss of the held-out normals, or None where the phase has none.
        lr: learning rate of each optimiser during this epoch.
        seconds: wall time, held-out normals included.
    """

    epoch: int
    losses: dict[str, float]
    held_out: float | None
    lr: dict[str, float]
    seconds: float


@dataclass
class PhaseHistory:
    """The epochs of one phase; a phase that only collects has one epoch without losses."""

    name: str
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were kept: of the lowest held-out loss, else the last; None before the first."""
        judged = [record for record in self.epochs if record.held_out is not None]
        if judged:
            return min(judged, key=lambda record: (record.held_out, record.epoch)).epoch
        return self.epochs[-1].epoch if self.epochs else None


@dataclass
class History:
    """The phases in the order they ran, and what a look at the result found wrong, a sentence or two each."""

    phases: list[PhaseHistory] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Time spent in all epochs, those before an interruption included."""
        return sum(record.seconds for phase in self.phases for record in phase.epochs)

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible values."""
        phases = [asdict(phase) | {"best_epoch": phase.best_epoch} for phase in self.phases]
        return {"phases": phases, "warnings": list(self.warnings)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> History:
        """The inverse of `to_dict`."""
        phases = [
            PhaseHistory(phase["name"], [Epoch(**record) for record in phase["epochs"]]) for phase in values["phases"]
        ]
        return cls(phases, list(values.get("warnings", ())))  # models of older versions have none
