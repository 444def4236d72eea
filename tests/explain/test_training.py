from __future__ import annotations

from typing import Any

import numpy as np

from unremarkable.explain.style import svg
from unremarkable.explain.training import loss_figure


def _phase(epochs: int, held_out: float | None = 1.0) -> dict[str, Any]:
    records = [{"epoch": e, "losses": {"a": 1.0 / e, "b": 99.0}, "held_out": held_out} for e in range(1, epochs + 1)]
    return {"name": "train", "best_epoch": 2, "epochs": records}


def test_losses_by_epoch() -> None:
    axes = loss_figure(_phase(3)).axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert set(lines) == {"training: a", "training: b", "held-out normals", "kept"}
    assert np.allclose(lines["training: a"].get_ydata(), [1, 1 / 2, 1 / 3])
    assert lines["kept"].get_xdata()[0] == 2
    assert axes.get_yscale() == "log"


def test_without_held_out_normals_and_with_one_epoch() -> None:
    axes = loss_figure(_phase(1, None)).axes[0]
    assert {line.get_label() for line in axes.get_lines()} == {"training: a", "training: b"}
    assert axes.get_lines()[0].get_marker() == "o"
    broken = _phase(2)
    broken["epochs"][1]["losses"] = {"a": float("nan")}
    svg(loss_figure(broken), "losses")
