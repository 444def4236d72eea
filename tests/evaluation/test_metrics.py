from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as oracle

from unremarkable.errors import InputError, UsageError
from unremarkable.evaluation.metrics import (
    REASONS,
    VERDICT_METRICS,
    auprc,
    auroc,
    brier,
    confusion,
    fpr_at_tpr,
    predictive_values,
    ranking_metrics,
    sensitivity_at_specificity,
    verdict_metric,
)


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


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99, 1.0])
def test_fixed_points_of_the_roc_curve_agree_with_scikit_learn(seed: int, decimals: int | None, level: float) -> None:
    scores, labels = _draw(seed, decimals)
    false, true, _ = oracle.roc_curve(labels, scores, drop_intermediate=False)
    assert fpr_at_tpr(scores, labels, level) == pytest.approx(false[true >= level][0])
    assert sensitivity_at_specificity(scores, labels, level) == pytest.approx(true[1 - false >= level - 1e-12].max())


def test_fixed_points_by_hand() -> None:
    # 20 abnormal cases, the lowest below every normal one: 19 of 20 is 0.95 exactly, and the 20th costs every normal.
    scores = np.concatenate([np.linspace(2, 3, 19), [-9.0], np.linspace(0, 1, 10)])
    labels = np.repeat([1, 0], (20, 10))
    assert fpr_at_tpr(scores, labels) == 0
    assert fpr_at_tpr(scores, labels, 0.96) == 1
    # Of 20 normal cases one may be flagged at 95 %; here it lies among the abnormal ones.
    normals = np.append(np.zeros(19), 2.5)
    scores, labels = np.append(normals, [1.0, 2.0, 3.0, -1.0]), np.repeat([0, 1], (20, 4))
    assert sensitivity_at_specificity(scores, labels) == 0.75
    assert sensitivity_at_specificity(scores, labels, 0.96) == 0.25
    # Where flagging anything costs too many normals, nothing is flagged.
    assert sensitivity_at_specificity([1.0, 1.0], [0, 1]) == 0
    assert fpr_at_tpr([1.0, 1.0], [0, 1]) == 1
    for impossible in (0, 95, math.nan):
        with pytest.raises(UsageError, match="above 0"):
            fpr_at_tpr([1.0, 2.0], [0, 1], impossible)


@pytest.mark.parametrize("prevalence", [0.01, 0.3])
def test_predictive_values_are_those_of_a_population(prevalence: float) -> None:
    """Against counting: the same sensitivity and specificity in a population of that prevalence."""
    flagged = np.repeat([True, False, True, False], [round(x) for x in _population(prevalence)])
    labels = np.repeat([1, 1, 0, 0], [round(x) for x in _population(prevalence)])
    ppv, npv = predictive_values(0.8, 0.9, prevalence)
    assert ppv == pytest.approx(oracle.precision_score(labels, flagged))
    assert npv == pytest.approx(oracle.precision_score(1 - labels, ~flagged))


def _population(prevalence: float) -> list[float]:
    abnormal, normal = 10000 * prevalence, 10000 * (1 - prevalence)
    return [0.8 * abnormal, 0.2 * abnormal, 0.1 * normal, 0.9 * normal]


def test_predictive_values_at_the_ends() -> None:
    assert predictive_values(0.5, 1.0, 0.1)[0] == 1
    assert math.isnan(predictive_values(0.0, 1.0, 0.1)[0])
    assert math.isnan(predictive_values(1.0, 0.0, 0.1)[1])
    for impossible in (0, 1, 5, math.nan):
        with pytest.raises(UsageError, match="prevalence"):
            predictive_values(0.5, 0.5, impossible)


def test_brier_agrees_with_scikit_learn() -> None:
    _, labels = _draw(0, None)
    probabilities = np.random.default_rng(1).random(len(labels))
    assert brier(probabilities, labels) == pytest.approx(oracle.brier_score_loss(labels, probabilities))
    assert brier([0.0, 1.0], [0, 1]) == 0
    assert math.isnan(brier([], []))
    with pytest.raises(UsageError, match="between 0 and 1"):
        brier([1.2], [1])


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
    assert math.isnan(fpr_at_tpr([1.0, 2.0], [label] * 2))
    assert math.isnan(sensitivity_at_specificity([1.0, 2.0], [label] * 2))


def test_undefined_verdict_metrics_each_have_a_reason() -> None:
    assert math.isnan(verdict_metric("sensitivity", [True, False], [0, 0]))
    assert math.isnan(verdict_metric("specificity", [True, False], [1, 1]))
    assert math.isnan(verdict_metric("precision", [False, False], [0, 1]))
    assert math.isnan(verdict_metric("npv", [True, True], [0, 1]))
    assert math.isnan(verdict_metric("f1", [False, False], [0, 0]))
    assert verdict_metric("f1", [False, False], [0, 1]) == 0
    ranking = ranking_metrics(np.ones(1), np.ones(1))
    assert set(REASONS) == {*ranking, *VERDICT_METRICS, "ppv_at_prevalence", "npv_at_prevalence"}


def test_refusals() -> None:
    with pytest.raises(InputError, match="case 1: the anomaly score is nan"):
        auroc([0.0, np.nan], [0, 1])
    with pytest.raises(UsageError, match="one of each"):
        auroc([0.0, 1.0], [0, 1, 1])
    with pytest.raises(UsageError, match="unknown metric"):
        verdict_metric("recall@k", [True], [1])
