"""Metrics of scores and verdicts against labels. Undefined ones are NaN; `REASONS` says why.

Every function takes labels 0 normal, 1 abnormal; abnormal is the positive class. Scores tie by midranks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.errors import UsageError
from unremarkable.scoring.checks import binary_labels, finite_scores
from unremarkable.scoring.thresholds import counts_by_threshold

Floats = NDArray[np.float64]

#: what a metric that is NaN lacks
REASONS = {
    "auroc": "needs both normal and abnormal cases",
    "auprc": "needs abnormal cases",
    "sensitivity": "needs abnormal cases",
    "specificity": "needs normal cases",
    "accuracy": "needs cases",
    "precision": "nothing was flagged",
    "npv": "everything was flagged",
    "f1": "needs abnormal or flagged cases",
}


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: how often an abnormal case scores above a normal one, ties counting half.

    NaN where a class is missing.

    Raises:
        InputError: a score is not finite.
        UsageError: labels other than 0 and 1, or another number of them.
    """
    return float(ranking_metrics(*_bins(scores, labels))["auroc"])


def auprc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Average precision, Σ (Rₙ − Rₙ₋₁) Pₙ over thresholds from high to low; not interpolated. Else as `auroc`."""
    return float(ranking_metrics(*_bins(scores, labels))["auprc"])


def ranking_metrics(positive: Floats, negative: Floats) -> dict[str, Floats]:
    """AUROC and AUPRC of counts `(..., T)` of abnormal and normal cases at each distinct score, from high to low."""
    true, false = np.cumsum(positive, axis=-1), np.cumsum(negative, axis=-1)
    n_abnormal, n_normal = positive.sum(axis=-1), negative.sum(axis=-1)
    # Normal cases below abnormal ones, and half of those level with them.
    pairs = np.einsum("...t,...t->...", true, negative) - np.einsum("...t,...t->...", positive, negative) / 2
    # Where nothing is flagged yet nothing is gained either; 1 keeps that term at 0.
    flagged = np.maximum(true + false, 1)
    gained = np.einsum("...t,...t->...", positive, true / flagged)
    return {"auroc": _ratio(pairs, n_abnormal * n_normal), "auprc": _ratio(gained, n_abnormal)}


#: Verdict metrics of numbers (or arrays) of true positives, false positives, true negatives and false negatives.
VERDICT_METRICS: dict[str, Callable[[Floats, Floats, Floats, Floats], Floats]] = {
    "sensitivity": lambda tp, fp, tn, fn: _ratio(tp, tp + fn),
    "specificity": lambda tp, fp, tn, fn: _ratio(tn, tn + fp),
    "accuracy": lambda tp, fp, tn, fn: _ratio(tp + tn, tp + fp + tn + fn),
    "precision": lambda tp, fp, tn, fn: _ratio(tp, tp + fp),
    "npv": lambda tp, fp, tn, fn: _ratio(tn, tn + fn),
    "f1": lambda tp, fp, tn, fn: _ratio(2 * tp, 2 * tp + fp + fn),
}


def confusion(flagged: ArrayLike, labels: ArrayLike) -> dict[str, int]:
    """True positives `tp`, false positives `fp`, true negatives `tn` and false negatives `fn`.

    Raises:
        UsageError: labels other than 0 and 1, or another number of them.
    """
    verdict = np.atleast_1d(np.asarray(flagged, dtype=bool))
    abnormal = binary_labels(labels, len(verdict))
    return {
        "tp": int((verdict & abnormal).sum()),
        "fp": int((verdict & ~abnormal).sum()),
        "tn": int((~verdict & ~abnormal).sum()),
        "fn": int((~verdict & abnormal).sum()),
    }


def verdict_metric(name: str, flagged: ArrayLike, labels: ArrayLike) -> float:
    """One of `VERDICT_METRICS` of verdicts `(N,)`; precision is the positive, npv the negative predictive value.

    Raises:
        UsageError: as `confusion`, or an unknown name.
    """
    if name not in VERDICT_METRICS:
        raise UsageError(f"unknown metric {name!r}; known: {', '.join(VERDICT_METRICS)}")
    counts = {key: np.array(value, dtype=np.float64) for key, value in confusion(flagged, labels).items()}
    return float(VERDICT_METRICS[name](counts["tp"], counts["fp"], counts["tn"], counts["fn"]))


def _ratio(part: Floats, whole: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.true_divide(part, whole)


def _bins(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    values = finite_scores(scores)
    _, true, false = counts_by_threshold(values, binary_labels(labels, len(values)))
    return np.diff(true, prepend=0).astype(np.float64), np.diff(false, prepend=0).astype(np.float64)
