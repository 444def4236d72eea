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
    "fpr_at_tpr95": "needs both normal and abnormal cases",
    "fpr_at_tpr99": "needs both normal and abnormal cases",
    "sensitivity_at_specificity95": "needs both normal and abnormal cases",
    "sensitivity": "needs abnormal cases",
    "specificity": "needs normal cases",
    "accuracy": "needs cases",
    "precision": "nothing was flagged",
    "npv": "everything was flagged",
    "f1": "needs abnormal or flagged cases",
    "ppv_at_prevalence": "needs normal and abnormal cases, and something flagged",
    "npv_at_prevalence": "needs normal and abnormal cases, and something not flagged",
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


def fpr_at_tpr(scores: ArrayLike, labels: ArrayLike, tpr: float = 0.95) -> float:
    """False-positive rate at the highest threshold whose sensitivity is at least `tpr` (above 0, at most 1).

    "FP@TP95" and "FP@TP99" of Bercea et al., *Towards Universal Unsupervised Anomaly Detection in Medical Imaging*
    (2024). Else as `auroc`.
    """
    _check_level(tpr)
    positive, negative = _bins(scores, labels)
    return float(_fpr_at_tpr(np.cumsum(positive), np.cumsum(negative), positive.sum(), negative.sum(), tpr))


def sensitivity_at_specificity(scores: ArrayLike, labels: ArrayLike, specificity: float = 0.95) -> float:
    """The highest sensitivity among the thresholds whose specificity is at least `specificity` (above 0, at most 1).

    The operating point is chosen on the very normals it is measured on. Else as `auroc`.
    """
    _check_level(specificity)
    positive, negative = _bins(scores, labels)
    counts = np.cumsum(positive), np.cumsum(negative), positive.sum(), negative.sum()
    return float(_sensitivity_at_specificity(*counts, specificity))


def brier(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared difference between the probability of "abnormal" `(N,)` and the label (Brier 1950): 0 is best.

    It takes probabilities of disease. One minus a p-value is none: see `pvalues`. NaN without cases.

    Raises:
        InputError: a probability is not finite.
        UsageError: one outside 0 to 1, labels other than 0 and 1, or another number of them.
    """
    values = finite_scores(probabilities)
    if ((values < 0) | (values > 1)).any():
        raise UsageError("the Brier score takes probabilities between 0 and 1")
    squares = (values - binary_labels(labels, len(values))) ** 2
    return float(squares.mean()) if len(squares) else float("nan")


def ranking_metrics(positive: Floats, negative: Floats) -> dict[str, Floats]:
    """The metrics of the scores alone, of counts `(..., T)` of abnormal and normal cases at each distinct score.

    Scores run from high to low. Every value is `(...)`.
    """
    true, false = np.cumsum(positive, axis=-1), np.cumsum(negative, axis=-1)
    n_abnormal, n_normal = positive.sum(axis=-1), negative.sum(axis=-1)
    # Normal cases below abnormal ones, and half of those level with them.
    pairs = np.einsum("...t,...t->...", true, negative) - np.einsum("...t,...t->...", positive, negative) / 2
    # Where nothing is flagged yet nothing is gained either; 1 keeps that term at 0.
    flagged = np.maximum(true + false, 1)
    gained = np.einsum("...t,...t->...", positive, true / flagged)
    return {
        "auroc": _ratio(pairs, n_abnormal * n_normal),
        "auprc": _ratio(gained, n_abnormal),
        "fpr_at_tpr95": _fpr_at_tpr(true, false, n_abnormal, n_normal, 0.95),
        "fpr_at_tpr99": _fpr_at_tpr(true, false, n_abnormal, n_normal, 0.99),
        "sensitivity_at_specificity95": _sensitivity_at_specificity(true, false, n_abnormal, n_normal, 0.95),
    }


#: Verdict metrics of numbers (or arrays) of true positives, false positives, true negatives and false negatives.
VERDICT_METRICS: dict[str, Callable[[Floats, Floats, Floats, Floats], Floats]] = {
    "sensitivity": lambda tp, fp, tn, fn: _ratio(tp, tp + fn),
    "specificity": lambda tp, fp, tn, fn: _ratio(tn, tn + fp),
    "accuracy": lambda tp, fp, tn, fn: _ratio(tp + tn, tp + fp + tn + fn),
    "precision": lambda tp, fp, tn, fn: _ratio(tp, tp + fp),
    "npv": lambda tp, fp, tn, fn: _ratio(tn, tn + fn),
    "f1": lambda tp, fp, tn, fn: _ratio(2 * tp, 2 * tp + fp + fn),
}


def check_prevalence(prevalence: float) -> None:
    """Refuse a share of abnormal cases that is not between 0 and 1.

    Raises:
        UsageError: it is not.
    """
    if not 0 < prevalence < 1:
        raise UsageError(f"a prevalence lies between 0 and 1 (0.05 for 5 %), not {prevalence:g}")


def predictive_values(sensitivity: ArrayLike, specificity: ArrayLike, prevalence: float) -> tuple[Floats, Floats]:
    """PPV and NPV where a share `prevalence` of the cases is abnormal, by Bayes' rule.

    The share of abnormal cases in the test set plays no part. The PPV is NaN where nothing is flagged, the NPV where
    everything is.

    Raises:
        UsageError: the prevalence is not between 0 and 1.
    """
    check_prevalence(prevalence)
    sensitivity, specificity = np.asarray(sensitivity, dtype=np.float64), np.asarray(specificity, dtype=np.float64)
    true, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    cleared, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    return _ratio(true, true + false), _ratio(cleared, cleared + missed)


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


def _fpr_at_tpr(true: Floats, false: Floats, n_abnormal: Floats, n_normal: Floats, tpr: float) -> Floats:
    """Of cumulated counts `(..., T)`."""
    reached = np.argmax(true >= _needed(n_abnormal, tpr)[..., None], axis=-1)
    return np.where(n_abnormal > 0, _ratio(_at(false, reached), n_normal), np.nan)


def _sensitivity_at_specificity(
    true: Floats, false: Floats, n_abnormal: Floats, n_normal: Floats, specificity: float
) -> Floats:
    """Of cumulated counts `(..., T)`; nothing flagged, with a sensitivity of 0, is always allowed."""
    allowed = n_normal - _needed(n_normal, specificity)
    first = np.argmax(false > allowed[..., None], axis=-1)
    most = np.where(first > 0, _at(true, np.maximum(first - 1, 0)), 0)
    return np.where(n_normal > 0, _ratio(most, n_abnormal), np.nan)


def _check_level(level: float) -> None:
    if not 0 < level <= 1:
        raise UsageError(f"a sensitivity or specificity to hold lies above 0 and at most at 1, not {level:g}")


def _needed(total: Floats, share: float) -> Floats:
    """The fewest of `total` that make the share. The quotient decides: 0.95 · 20 may be rounded to more than 19."""
    near = np.round(total * share)
    return np.where(_ratio(near, total) >= share, near, near + 1)


def _at(values: Floats, index: NDArray[np.intp]) -> Floats:
    return np.take_along_axis(values, index[..., None], axis=-1)[..., 0]


def _ratio(part: Floats, whole: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.true_divide(part, whole)


def _bins(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    values = finite_scores(scores)
    _, true, false = counts_by_threshold(values, binary_labels(labels, len(values)))
    return np.diff(true, prepend=0).astype(np.float64), np.diff(false, prepend=0).astype(np.float64)
