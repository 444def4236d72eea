from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as oracle

from unremarkable.errors import InputError, UsageError
from unremarkable.evaluation.metrics import REASONS, VERDICT_METRICS, auprc, auroc, confusion, verdict_metric


def _draw(seed: int, decimals: int | None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 200)
    scores = rng.normal(size=200) + labels
    return (scores if decimals is None else np.round(scores, decimals)), labels


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_ranking_metrics_agree_with_scikit_learn_with_and_without_ties(seed: int, decimals: int | None) -> None:
    scores, labels = _draw(seed, decimals)
    assert auroc(scores, labels) == pytest.approx(oracle.roc_auc_score(labels, scores), abs=1e-12)
    assert auprc(scores, labels) == pytest.approx(oracle.average_precision_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("cut", [-0.5, 0.5, 2.0])
def test_verdict_metrics_agree_with_scikit_learn(cut: float) -> None:
    scores, labels = _draw(0, None)
    flagged = scores > cut
    expected = {
        "sensitivity": oracle.recall_score(labels, flagged),
        "specificity": oracle.recall_score(1 - labels, ~flagged),
        "accuracy": oracle.accuracy_score(labels, flagged),
        "precision": oracle.precision_score(labels, flagged),
        "npv": oracle.precision_score(1 - labels, ~flagged),
        "f1": oracle.f1_score(labels, flagged),
    }
    assert {name: verdict_metric(name, flagged, labels) for name in VERDICT_METRICS} == pytest.approx(expected)
    tn, fp, fn, tp = oracle.confusion_matrix(labels, flagged).ravel()
    assert confusion(flagged, labels) == {"tp": tp, "fp": fp, "tn": tn, "fn": fn}


def test_constant_scores_tell_nothing() -> None:
    assert auroc([1, 1, 1, 1], [0, 1, 0, 1]) == 0.5
    assert auprc([1, 1, 1, 1], [0, 1, 0, 0]) == 0.25


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only(label: int) -> None:
    assert math.isnan(auroc([1.0, 2.0], [label] * 2))
    assert auprc([1.0, 2.0], [1, 1]) == 1
    assert math.isnan(auprc([1.0, 2.0], [0, 0]))


def test_undefined_verdict_metrics_each_have_a_reason() -> None:
    assert math.isnan(verdict_metric("sensitivity", [True, False], [0, 0]))
    assert math.isnan(verdict_metric("specificity", [True, False], [1, 1]))
    assert math.isnan(verdict_metric("precision", [False, False], [0, 1]))
    assert math.isnan(verdict_metric("npv", [True, True], [0, 1]))
    assert math.isnan(verdict_metric("f1", [False, False], [0, 0]))
    assert verdict_metric("f1", [False, False], [0, 1]) == 0
    assert set(REASONS) == {"auroc", "auprc", *VERDICT_METRICS}


def test_refusals() -> None:
    with pytest.raises(InputError, match="case 1: the anomaly score is nan"):
        auroc([0.0, np.nan], [0, 1])
    with pytest.raises(UsageError, match="one of each"):
        auroc([0.0, 1.0], [0, 1, 1])
    with pytest.raises(UsageError, match="unknown metric"):
        verdict_metric("recall@k", [True], [1])
