"""Operating points: where a score becomes a verdict, by which rule, and which labels were looked at to choose it.

Everywhere a case is flagged when its score is *greater* than the threshold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.errors import UsageError
from unremarkable.scoring.checks import binary_labels, finite_scores

Rule = Literal["false-alarm rate", "best F1", "Youden", "given"]


@dataclass(frozen=True)
class LabelsUsed:
    """The labelled cases that a threshold was chosen on.

    `digest` is the sha256 of the sorted lines `case<TAB>label`, so the same labels give the same digest in any order;
    `source` says where they came from ("test split of chest-xray").
    """

    n_normal: int
    n_abnormal: int
    digest: str
    source: str


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold with the record of how it was chosen.

    `rate` is the requested false-alarm rate and `n_normals` the number of calibration normals where the rule is
    "false-alarm rate"; `labels_used` is None where no label of an abnormal case was looked at.
    """

    value: float
    rule: Rule
    labels_used: LabelsUsed | None = None
    rate: float | None = None
    n_normals: int | None = None

    def describe(self) -> str:
        """The choice in one plain sentence."""
        if self.rule == "false-alarm rate":
            return f"set for a false-alarm rate of {self.rate:.3g} on {self.n_normals} held-out normals; no labels used"
        if self.labels_used is None:
            return "given by the user"
        used = self.labels_used
        return (
            f"chosen by {self.rule} on the labels of {used.source} ({used.n_normal} normal, {used.n_abnormal} abnormal)"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible form."""
        return asdict(self)


def best_f1(
    scores: ArrayLike, labels: ArrayLike, *, source: str, cases: Sequence[str] | None = None
) -> ThresholdChoice:
    """The threshold of the highest F1 = 2TP / (2TP + FN + FP), the rule of the Hetero-AE paper (section III-D).

    Of equal ones the highest threshold, which flags the fewest cases.

    Args:
        scores: `(N,)`, larger is more anomalous.
        labels: `(N,)`, 0 normal, 1 abnormal.
        source: where the labels came from, for the record.
        cases: their paths or identifiers, for the record's digest; positions if not given.

    Raises:
        UsageError: labels of one class only.
        InputError: a score is not finite.
    """
    return _choose("best F1", scores, labels, source, cases)


def youden(scores: ArrayLike, labels: ArrayLike, *, source: str, cases: Sequence[str] | None = None) -> ThresholdChoice:
    """The threshold of the highest sensitivity + specificity − 1 (Youden, Cancer 1950); else as `best_f1`."""
    return _choose("Youden", scores, labels, source, cases)


def counts_by_threshold(
    scores: NDArray[np.float64], labels: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Distinct scores from high to low, with the true and false positives when all scores ≥ each are flagged."""
    order = np.argsort(-scores, kind="stable")
    ranked, positive = scores[order], labels[order]
    last_of_tie = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.empty(0, int)
    true = np.cumsum(positive)[last_of_tie]
    return ranked[last_of_tie], true, last_of_tie + 1 - true


def _choose(
    rule: Literal["best F1", "Youden"],
    scores: ArrayLike,
    labels: ArrayLike,
    source: str,
    cases: Sequence[str] | None,
) -> ThresholdChoice:
    values = finite_scores(scores, cases)
    abnormal = binary_labels(labels, len(values))
    n_abnormal = int(abnormal.sum())
    n_normal = len(abnormal) - n_abnormal
    if not (n_normal and n_abnormal):
        raise UsageError(
            f"a {rule} threshold needs normal and abnormal cases; {source} has {n_normal} normal and {n_abnormal} "
            "abnormal. Use a false-alarm rate, which needs normals only"
        )
    distinct, true, false = counts_by_threshold(values, abnormal)
    # Youden's J times both class sizes stays whole, so that equal criteria compare equal.
    criterion = 2 * true / (true + false + n_abnormal) if rule == "best F1" else true * n_normal - false * n_abnormal
    best = int(np.argmax(criterion))
    return ThresholdChoice(
        value=_between(distinct, best),
        rule=rule,
        labels_used=LabelsUsed(n_normal, n_abnormal, labels_digest(abnormal, cases), source),
    )


def _between(distinct: NDArray[np.float64], index: int) -> float:
    """Half-way between the lowest flagged score and the next lower one; just below it where there is none."""
    flagged = float(distinct[index])
    if index + 1 == len(distinct):
        return float(np.nextafter(flagged, -np.inf))
    lower = float(distinct[index + 1])
    middle = lower / 2 + flagged / 2
    return middle if lower <= middle < flagged else lower


def labels_digest(abnormal: NDArray[np.bool_], cases: Sequence[str] | None) -> str:
    """The digest that `LabelsUsed` describes, of boolean labels `(N,)`."""
    names = cases if cases is not None else [str(index) for index in range(len(abnormal))]
    lines = sorted(f"{name}\t{int(label)}\n" for name, label in zip(names, abnormal, strict=True))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
