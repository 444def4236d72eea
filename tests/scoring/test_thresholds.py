from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from unremarkable.errors import InputError, UsageError
from unremarkable.scoring.thresholds import ThresholdChoice, best_f1, youden


def _cases(seed: int, tied: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 60)
    labels[:2] = 0, 1
    scores = rng.normal(size=60) + labels
    return (np.round(scores, 1) if tied else scores), labels


def _every_threshold(scores: np.ndarray) -> np.ndarray:
    return np.append(np.unique(scores), -np.inf)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tied", [False, True])
def test_no_threshold_is_better(seed: int, tied: bool) -> None:
    scores, labels = _cases(seed, tied)

    def j(flagged: np.ndarray) -> float:
        return flagged[labels == 1].mean() - flagged[labels == 0].mean()

    thresholds = _every_threshold(scores)
    assert f1_score(labels, scores > best_f1(scores, labels, source="test").value) == pytest.approx(
        max(f1_score(labels, scores > t) for t in thresholds)
    )
    assert j(scores > youden(scores, labels, source="test").value) == pytest.approx(
        max(j(scores > t) for t in thresholds)
    )


def test_separable_classes_get_the_middle_and_neighbouring_floats_are_told_apart() -> None:
    assert best_f1([1, 2, 4, 5], [0, 0, 1, 1], source="test").value == 3
    high = np.nextafter(1.0, 2)
    for lower, upper in ((1.0, high), (-high, -1.0), (-1e308, 1e308), (0.0, 5e-324)):
        value = best_f1([lower, upper], [0, 1], source="test").value
        assert lower <= value < upper


def test_where_all_are_best_flagged_the_threshold_lies_below_all() -> None:
    value = best_f1([0.0, 1.0], [1, 0], source="test").value
    assert value < 0.0
    assert best_f1([2.0, 2.0], [1, 0], source="test").value < 2.0


def test_record_of_the_labels() -> None:
    scores, labels = _cases(0, False)
    cases = [f"scan-{i}" for i in range(60)]
    choice = best_f1(scores, labels, source="the test split", cases=cases)
    order = np.random.default_rng(1).permutation(60)
    moved = best_f1(scores[order], labels[order], source="the test split", cases=[cases[i] for i in order])
    assert moved == choice
    assert choice.labels_used is not None
    assert (choice.labels_used.n_normal, choice.labels_used.n_abnormal) == ((labels == 0).sum(), (labels == 1).sum())
    flipped = np.where(np.arange(60) == 5, 1 - labels, labels)
    other = best_f1(scores, flipped, source="the test split", cases=cases)
    assert other.labels_used is not None
    assert other.labels_used.digest != choice.labels_used.digest
    assert "best F1 on the labels of the test split" in choice.describe()
    assert json.loads(json.dumps(choice.to_dict()))["labels_used"]["digest"] == choice.labels_used.digest


def test_the_rate_says_that_no_label_was_used() -> None:
    assert "no labels used" in ThresholdChoice(1.0, "false-alarm rate", rate=0.05, n_normals=100).describe()
    assert ThresholdChoice(1.0, "given").describe() == "given by the user"


def test_refusals() -> None:
    with pytest.raises(UsageError, match="0 abnormal"):
        best_f1([1.0, 2.0], [0, 0], source="x")
    with pytest.raises(InputError, match=r"b\.png"):
        youden([1.0, np.nan], [0, 1], source="x", cases=["a.png", "b.png"])
    with pytest.raises(UsageError, match="0 \\(normal\\) or 1"):
        best_f1([1.0, 2.0], [0, 2], source="x")
    with pytest.raises(UsageError, match="0 \\(normal\\) or 1"):
        best_f1([1.0, 2.0], [0, None], source="x")
    with pytest.raises(UsageError, match="one of each"):
        best_f1([1.0, 2.0], [0], source="x")
