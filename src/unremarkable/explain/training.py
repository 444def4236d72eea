"""What happened while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unremarkable.explain.style import ABNORMAL, DASHES, MUTED, NORMAL, REFERENCE, legend, new_axes, shortened


def loss_figure(phase: Mapping[str, Any]) -> Figure:
    """Losses by epoch of one phase in the form of `History.to_dict()["phases"]`: `epochs` with `losses`, `held_out`."""
    figure, axes = new_axes("Epoch", "Loss")
    epochs: Sequence[Mapping[str, Any]] = phase["epochs"]
    number = [record["epoch"] for record in epochs]
    drawn = {name: [record["losses"].get(name, np.nan) for record in epochs] for name in epochs[0]["losses"]}
    # One epoch alone is a point, which a line does not show.
    marker = "o" if len(epochs) == 1 else None
    for index, (name, losses) in enumerate(drawn.items()):
        dash = DASHES[index % len(DASHES)]
        label = f"training: {shortened(name)}"
        axes.plot(number, losses, color=NORMAL, linewidth=1.8, linestyle=dash, label=label, marker=marker)
    held_out = [np.nan if record.get("held_out") is None else record["held_out"] for record in epochs]
    if np.isfinite(held_out).any():
        drawn["held out"] = held_out
        axes.plot(number, held_out, color=ABNORMAL, linewidth=1.8, label="held-out normals", marker=marker)
        if phase.get("best_epoch"):
            axes.axvline(phase["best_epoch"], color=MUTED, linewidth=1, linestyle=REFERENCE, label="kept")
    values = np.array([value for losses in drawn.values() for value in losses], dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes, "best")
    return figure
