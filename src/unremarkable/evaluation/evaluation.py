"""One evaluation: scores and verdicts against labels, with everything a table or a report page needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.errors import UsageError
from unremarkable.evaluation.curves import Curve, pr_curve, roc_curve
from unremarkable.evaluation.intervals import Interval, bootstrap
from unremarkable.evaluation.metrics import confusion
from unremarkable.scoring.checks import binary_labels, finite_scores
from unremarkable.scoring.thresholds import ThresholdChoice, labels_digest


@dataclass(frozen=True)
class FindingResult:
    """The abnormal cases of one finding: how many, how many flagged (None without verdicts), and what of them is found.

    `metrics` holds "auroc" against all normals and, with verdicts, "sensitivity".
    """

    cases: int
    flagged: int | None
    metrics: dict[str, Interval]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        metrics: "auroc", "auprc" and, with verdicts, those of `VERDICT_METRICS`.
        counts: "cases", "normal", "abnormal", "patients".
        confusion: "tp", "fp", "tn", "fn", or None without verdicts.
        threshold: the operating point and how it was chosen, or None where the verdicts came from elsewhere.
        test_labels_used: whether the operating point was chosen on the very labels it is evaluated on.
        roc, pr: curves; None where a class is missing.
        by_finding: abnormal cases by the name of their finding; empty where none has a name.
        scores, labels, flagged, p_values: `(N,)` each, as they came in.
        replicates, seed, level: how the intervals were made.
    """

    metrics: dict[str, Interval]
    counts: dict[str, int]
    confusion: dict[str, int] | None
    threshold: ThresholdChoice | None
    test_labels_used: bool
    roc: Curve | None
    pr: Curve | None
    by_finding: dict[str, FindingResult]
    scores: NDArray[np.float64]
    labels: NDArray[np.bool_]
    flagged: NDArray[np.bool_] | None
    p_values: NDArray[np.float64] | None
    replicates: int
    seed: int
    level: float

    def to_dict(self, *, curves: bool = False) -> dict[str, Any]:
        """JSON-compatible form, `{"metrics": {"auroc": {"value", "low", "high"}, ...}, ...}`; per-case values left out.

        `curves` adds the points of both curves.
        """
        point = None
        if self.threshold is not None:
            point = {
                **self.threshold.to_dict(),
                "description": self.threshold.describe(),
                "test_labels_used": self.test_labels_used,
            }
        result: dict[str, Any] = {
            "metrics": {name: interval.to_dict() for name, interval in self.metrics.items()},
            "counts": self.counts,
            "confusion": self.confusion,
            "operating_point": point,
            "by_finding": {
                name: {
                    "cases": found.cases,
                    "flagged": found.flagged,
                    "metrics": {key: interval.to_dict() for key, interval in found.metrics.items()},
                }
                for name, found in self.by_finding.items()
            },
            "intervals": {
                "method": "percentile bootstrap over patients",
                "level": self.level,
                "replicates": self.replicates,
                "seed": self.seed,
            },
        }
        if curves:
            result["curves"] = {
                "roc": None if self.roc is None else self.roc.to_dict(),
                "pr": None if self.pr is None else self.pr.to_dict(),
            }
        return result


def evaluate(
    scores: ArrayLike,
    labels: ArrayLike,
    groups: Sequence[str] | None = None,
    *,
    flagged: ArrayLike | None = None,
    p_values: ArrayLike | None = None,
    threshold: ThresholdChoice | float | None = None,
    findings: Sequence[str | None] | None = None,
    paths: Sequence[str] | None = None,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Evaluation:
    """Metrics, intervals, curves and counts of scored cases with known labels.

    Args:
        scores: `(N,)`, larger is more anomalous.
        labels: `(N,)`, 0 normal, 1 abnormal.
        groups: `(N,)`, the patient of each case; None where each case is its own.
        flagged: `(N,)` verdicts; made with `threshold` if not given.
        p_values: `(N,)`, for the check of the calibration.
        threshold: the operating point: flagged is what scores above it.
        findings: `(N,)`, names of the classes, for a result per finding.
        paths: `(N,)`, to name a case in errors and the labels in records.
        replicates, seed, level: of the intervals.

    Raises:
        InputError: a score is not finite; names the case.
        UsageError: lengths differ, a label is neither 0 nor 1, or there are no cases.
    """
    values = finite_scores(scores, paths)
    abnormal = binary_labels(labels, len(values))
    columns: dict[str, Any] = {"groups": groups, "findings": findings, "p-values": p_values, "verdicts": flagged}
    for name, column in columns.items():
        if column is not None and len(column) != len(values):
            raise UsageError(f"{len(column)} {name} for {len(values)} scores: each case needs one")
    if isinstance(threshold, int | float):
        threshold = ThresholdChoice(float(threshold), "given")
    verdict = None if flagged is None else np.asarray(flagged, dtype=bool)
    if verdict is None and threshold is not None:
        verdict = values > threshold.value

    def intervals(rows: NDArray[np.bool_]) -> dict[str, Interval]:
        return bootstrap(
            values[rows],
            abnormal[rows],
            None if groups is None else [str(group) for group in np.asarray(groups)[rows]],
            None if verdict is None else verdict[rows],
            replicates=replicates,
            seed=seed,
            level=level,
        )

    both = 0 < int(abnormal.sum()) < len(abnormal)
    by_finding = {}
    for name in sorted({f for f, label in zip(findings or (), abnormal, strict=bool(findings)) if label and f}):
        mine = abnormal & np.array([finding == name for finding in findings or ()])
        found = intervals(mine | ~abnormal)
        by_finding[name] = FindingResult(
            cases=int(mine.sum()),
            flagged=None if verdict is None else int(verdict[mine].sum()),
            metrics={key: found[key] for key in ("auroc", "sensitivity") if key in found},
        )
    return Evaluation(
        metrics=intervals(np.ones_like(abnormal)),
        counts={
            "cases": len(values),
            "normal": int((~abnormal).sum()),
            "abnormal": int(abnormal.sum()),
            "patients": len(values) if groups is None else len(set(groups)),
        },
        confusion=None if verdict is None else confusion(verdict, abnormal),
        threshold=threshold,
        test_labels_used=_on_same_labels(threshold, abnormal, paths),
        roc=roc_curve(values, abnormal) if both else None,
        pr=pr_curve(values, abnormal) if both else None,
        by_finding=by_finding,
        scores=values,
        labels=abnormal,
        flagged=verdict,
        p_values=None if p_values is None else np.asarray(p_values, dtype=np.float64),
        replicates=replicates,
        seed=seed,
        level=level,
    )


def _on_same_labels(
    threshold: ThresholdChoice | None, abnormal: NDArray[np.bool_], paths: Sequence[str] | None
) -> bool:
    used = None if threshold is None else threshold.labels_used
    if used is None:
        return False
    n_abnormal = int(abnormal.sum())
    # Equal class sizes under other names are taken for the same cases: wrongly admitting to it does no harm.
    return used.digest == labels_digest(abnormal, paths) or (used.n_normal, used.n_abnormal) == (
        len(abnormal) - n_abnormal,
        n_abnormal,
    )
