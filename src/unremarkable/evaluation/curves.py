"""Points of the ROC and precision-recall curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.errors import UsageError
from unremarkable.scoring.checks import binary_labels, finite_scores
from unremarkable.scoring.thresholds import counts_by_threshold


@dataclass(frozen=True, eq=False)
class Curve:
    """Points `(T,)` of a curve; point i flags the cases whose score is at least `thresholds[i]`."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible; the threshold that flags nothing is written as None."""
        thresholds = [value if np.isfinite(value) else None for value in self.thresholds.tolist()]
        return {"x": self.x.tolist(), "y": self.y.tolist(), "thresholds": thresholds}


def roc_curve(scores: ArrayLike, labels: ArrayLike) -> Curve:
    """False-positive rate (x) against sensitivity (y), from (0, 0) to (1, 1); points inside straight runs left out.

    Raises:
        InputError: a score is not finite.
        UsageError: labels of one class only.
    """
    thresholds, true, false = _counts(scores, labels)
    thresholds, true, false = np.append(np.inf, thresholds), np.append(0, true), np.append(0, false)
    # Where two neighbouring steps run the same way, the point between them adds nothing to the drawing.
    bend = np.append(True, np.append(np.diff(true, 2) != 0, True) | np.append(np.diff(false, 2) != 0, True))
    true, false = true[bend], false[bend]
    return Curve(false / false[-1], true / true[-1], thresholds[bend])


def pr_curve(scores: ArrayLike, labels: ArrayLike) -> Curve:
    """Recall (x) against precision (y), from the highest threshold to the lowest; area by steps is `auprc`.

    Raises:
        InputError: a score is not finite.
        UsageError: labels of one class only.
    """
    thresholds, true, false = _counts(scores, labels)
    return Curve(true / true[-1], true / (true + false), thresholds)


def _counts(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    values = finite_scores(scores)
    abnormal = binary_labels(labels, len(values))
    if not 0 < abnormal.sum() < len(abnormal):
        raise UsageError("a curve needs both normal and abnormal cases")
    return counts_by_threshold(values, abnormal)
