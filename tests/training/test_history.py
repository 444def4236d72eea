from __future__ import annotations

import json

from unremarkable.training.history import Epoch, History, PhaseHistory


def phase(*held_out: float | None) -> PhaseHistory:
    records = [Epoch(n, {"mse": 1.0 / n}, loss, {"adam": 0.1}, 0.5) for n, loss in enumerate(held_out, start=1)]
    return PhaseHistory("toy", records)


def test_best_epoch_is_the_first_of_the_lowest_held_out_loss() -> None:
    assert phase(0.3, 0.1, 0.2, 0.1).best_epoch == 2


def test_best_epoch_is_the_last_without_held_out_loss() -> None:
    assert phase(None, None).best_epoch == 2
    assert phase().best_epoch is None


def test_history_survives_json() -> None:
    history = History([phase(0.3, 0.1), phase(None)])
    assert History.from_dict(json.loads(json.dumps(history.to_dict()))) == history
    assert history.to_dict()["phases"][0]["best_epoch"] == 2
    assert history.seconds == 1.5
