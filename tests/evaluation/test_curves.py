from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as oracle

from unremarkable.errors import UsageError
from unremarkable.evaluation.curves import pr_curve, roc_curve
from unremarkable.evaluation.metrics import auprc, auroc


@pytest.mark.parametrize("decimals", [1, 12])
def test_curves_agree_with_scikit_learn(decimals: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 150)
    scores = np.round(rng.normal(size=150) + labels, decimals)
    roc = roc_curve(scores, labels)
    false, true, thresholds = oracle.roc_curve(labels, scores)
    assert roc.x == pytest.approx(false)
    assert roc.y == pytest.approx(true)
    assert roc.thresholds == pytest.approx(thresholds)
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(auroc(scores, labels))
    pr = pr_curve(scores, labels)
    precision, recall, thresholds = oracle.precision_recall_curve(labels, scores)
    assert pr.y[::-1] == pytest.approx(precision[:-1])
    assert pr.x[::-1] == pytest.approx(recall[:-1])
    assert pr.thresholds[::-1] == pytest.approx(thresholds)
    assert (np.diff(pr.x, prepend=0) * pr.y).sum() == pytest.approx(auprc(scores, labels))


def test_constant_scores_and_one_class() -> None:
    roc = roc_curve([2.0, 2.0], [0, 1])
    assert (roc.x.tolist(), roc.y.tolist()) == ([0, 1], [0, 1])
    for curve in (roc_curve, pr_curve):
        with pytest.raises(UsageError, match="both"):
            curve([1.0, 2.0], [1, 1])


def test_json_has_no_infinity() -> None:
    text = json.dumps(roc_curve([1.0, 2.0], [0, 1]).to_dict(), allow_nan=False)
    assert json.loads(text)["thresholds"][0] is None
