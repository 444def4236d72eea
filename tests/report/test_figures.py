from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from made_runs import made_evaluation

from unremarkable.evaluation import Evaluation, evaluate
from unremarkable.report.figures import page_figures
from unremarkable.report.folder import RunFolder

Make = Callable[..., RunFolder]


def _titles(run: RunFolder) -> list[str]:
    return [title for title, _, _ in page_figures(run)]


def test_an_evaluation_of_two_findings(evaluation: Evaluation, run_of: Make) -> None:
    titles = _titles(run_of(evaluation))
    assert titles[:5] == ["Scores", "ROC curve", "Precision and recall", "Scores by finding", "By finding"]
    assert titles[5] == "False alarms: asked for, observed"
    assert titles[6].startswith("Training: ")
    assert len(titles) == 7


def test_bands_only_where_intervals_were_asked_for(run_of: Make) -> None:
    drawn = {title: str(drawing) + caption for title, drawing, caption in page_figures(run_of(made_evaluation()))}
    assert "95 % band" in drawn["ROC curve"]
    bare = {t: str(d) + c for t, d, c in page_figures(run_of(made_evaluation(replicates=0)))}
    assert "band" not in bare["ROC curve"]
    perfect = evaluate(np.arange(20.0), np.repeat([0, 1], 10), p_values=[0.5] * 20, replicates=100)
    drawn = {t: str(d) + c for t, d, c in page_figures(run_of(perfect))}
    assert "band" not in drawn["ROC curve"]


def test_features_and_lesions_are_drawn_where_they_were_measured(evaluation: Evaluation, run_of: Make) -> None:
    found = {"path": "a<b", "embedding": np.zeros((2, 9, 2)).tolist(), "distances": list(range(9))}
    froc: dict[str, Any] = {"thresholds": [2, 1], "false_positives": [0.1, 1.0], "sensitivity": [0.2, 0.9]}
    run = run_of(evaluation, features=found)
    with_lesions = RunFolder(run.record, dict(run.metrics or {}) | {"localisation": {"froc": froc}}, run.rows, ())
    titles = _titles(with_lesions)
    assert {"Encoder and decoder features", "Their difference", "Lesions found (FROC)"} <= set(titles)


def test_without_labels(run_of: Make) -> None:
    assert _titles(run_of(None, history={"phases": []})) == ["Scores"]


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], [0, 1, 1], [1]])
def test_one_class_few_cases_and_ties(labels: list[int], run_of: Make) -> None:
    scores = [2.0] * len(labels)
    run = run_of(evaluate(scores, labels, threshold=9.0, p_values=[0.5] * len(labels), replicates=100))
    assert "Scores" in _titles(run)
    assert ("ROC curve" in _titles(run)) == (len(set(labels)) == 2)
