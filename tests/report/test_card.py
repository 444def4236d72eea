from __future__ import annotations

from collections.abc import Callable

import numpy as np
from made_runs import CALIBRATION, LABELS, SCORES, made_evaluation

from unremarkable.evaluation import Evaluation
from unremarkable.report.card import limits, model_card
from unremarkable.report.folder import RunFolder
from unremarkable.scoring.thresholds import best_f1

Make = Callable[..., RunFolder]


def test_the_parts_of_a_model_card_and_a_data_sheet(evaluation: Evaluation, run_of: Make) -> None:
    parts = {part.title: part for part in model_card(run_of(evaluation))}
    assert list(parts) == [
        "Model",
        "Intended use",
        "Out of scope",
        "Training data",
        "Preprocessing",
        "Calibration",
        "Results",
        "Limits",
        "Environment",
    ]
    training = dict(parts["Training data"].facts)
    assert training["Training"].text == f"41 normal cases, sha256 {'ab' * 32}"
    assert "Validation" not in training
    assert dict(parts["Model"].facts)["Parameters"].text == "1 234 567"
    assert dict(parts["Preprocessing"].facts)["Size"].text == "64 × 32 px, grey"
    auroc = dict(parts["Results"].facts)["AUROC"]
    assert auroc.text == f"{evaluation.metrics['auroc'].value:.3f}"
    assert auroc.bounds


def test_without_labels_the_card_gives_no_figures(run_of: Make) -> None:
    parts = {part.title: part for part in model_card(run_of(None))}
    assert not parts["Results"].facts
    assert "Not evaluated" in parts["Results"].lines[0]


def test_limits_name_what_would_mislead(evaluation: Evaluation, run_of: Make) -> None:
    plain = " ".join(limits(run_of(evaluation)))
    assert "exchangeable with the 99 calibration normals" in plain
    assert "no plain shortcut" in plain
    assert "1 input could not be scored" in plain
    assert "simulated" not in plain
    assert "optimistic" not in plain
    worse = " ".join(limits(run_of(evaluation, simulated=True, shortcuts={"width": 0.93, "contrast": 0.76})))
    assert "simulated" in worse
    assert "AUROC of width 0.93, contrast 0.76 alone" in worse
    unknown = " ".join(limits(run_of(None, shortcuts={})))
    assert "could not be looked for" in unknown


def test_a_threshold_from_test_labels_and_normals_from_elsewhere_are_named(run_of: Make) -> None:
    chosen = made_evaluation(threshold=best_f1(SCORES, LABELS, source="the test split"))
    assert any("optimistic" in line for line in limits(run_of(chosen)))
    shifted = np.where(LABELS == 0, SCORES + 3, SCORES)
    moved = made_evaluation(p_values=CALIBRATION.p_values(shifted), calibration_normals=99)
    assert any("not like the calibration normals" in line for line in limits(run_of(moved)))
    kept = made_evaluation(p_values=np.tile(np.linspace(0.05, 1, 30), 2), calibration_normals=99)
    assert any("in keeping with the promise" in line for line in limits(run_of(kept)))
