"""One evaluation: scores and verdicts against labels, with everything a table or a report page needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.errors import UsageError
from unremarkable.evaluation.curves import Curve, pr_curve, roc_curve
from unremarkable.evaluation.intervals import Interval, bootstrap
from unremarkable.evaluation.metrics import confusion
from unremarkable.evaluation.pvalues import PValueCalibration, p_value_calibration
from unremarkable.evaluation.subgroups import Subgroups, by_subgroup
from unremarkable.scoring.checks import binary_labels, finite_scores
from unremarkable.scoring.thresholds import ThresholdChoice, labels_digest


@dataclass(frozen=True)
class FindingResult:
    """The abnormal cases of one finding: how many, how many flagged (None without verdicts), and what of them is found.

    `metrics` holds "auroc", "auprc" and "sensitivity_at_specificity95" against all normals and, with verdicts,
    "sensitivity".
    """

    cases: int
    flagged: int | None
    metrics: dict[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible form."""
        return {**vars(self), "metrics": {key: interval.to_dict() for key, interval in self.metrics.items()}}


_OF_FINDINGS = ("auroc", "auprc", "sensitivity_at_specificity95", "sensitivity")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        metrics: those of `ranking_metrics`; with verdicts, of `VERDICT_METRICS` too; with a prevalence, PPV and NPV.
        counts: "cases", "normal", "abnormal", "patients".
        confusion: "tp", "fp", "tn", "fn", or None without verdicts.
        threshold: the operating point and how it was chosen, or None where the verdicts came from elsewhere.
        test_labels_used: whether the operating point was chosen on the very labels it is evaluated on.
        roc, pr: curves; None where a class is missing.
        by_finding: abnormal cases by the name of their finding; empty where none has a name.
        subgroups: results by the values of each column that was asked for.
        prevalence: the share of abnormal cases that the PPV and NPV "at_prevalence" are stated for, or None.
        p_value_calibration: the normals' p-values against their promise; None without p-values.
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
    subgroups: dict[str, Subgroups]
    prevalence: float | None
    p_value_calibration: PValueCalibration | None
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
            "prevalence": self.prevalence,
            "by_finding": {name: found.to_dict() for name, found in self.by_finding.items()},
            "subgroups": {name: found.to_dict() for name, found in self.subgroups.items()},
            "p_value_calibration": None if self.p_value_calibration is None else self.p_value_calibration.to_dict(),
            "intervals": {
                "method": "BCa bootstrap over patients",
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
    subgroups: Mapping[str, Sequence[Any]] | None = None,
    prevalence: float | None = None,
    calibration_normals: int | None = None,
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
        subgroups: by the name of a column its `(N,)` values, for results by value; see `columns.case_columns`.
        prevalence: share of abnormal cases where the detector will be used, to state PPV and NPV for; needs verdicts.
        calibration_normals: how many normals the p-values were made with; taken from `threshold` where it knows.
        replicates, seed, level: of the intervals.

    Raises:
        InputError: a score is not finite; names the case.
        UsageError: lengths differ, a label is neither 0 nor 1, there are no cases, a p-value or the prevalence is not
            between 0 and 1, or a column has no values or too many.
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

    patients = None if groups is None else [str(group) for group in groups]

    def intervals(rows: NDArray[np.bool_]) -> dict[str, Interval]:
        return bootstrap(
            values[rows],
            abnormal[rows],
            None if patients is None else np.asarray(patients)[rows].tolist(),
            None if verdict is None else verdict[rows],
            prevalence=prevalence,
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
            metrics={key: found[key] for key in _OF_FINDINGS if key in found},
        )
    resampling: dict[str, Any] = {"replicates": replicates, "seed": seed, "level": level}
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
        subgroups={
            name: by_subgroup(name, column, values, abnormal, patients, verdict, **resampling)
            for name, column in (subgroups or {}).items()
        },
        prevalence=prevalence,
        p_value_calibration=None
        if p_values is None
        else p_value_calibration(
            p_values,
            abnormal,
            patients,
            calibration_normals=calibration_normals or (None if threshold is None else threshold.n_normals),
            **resampling,
        ),
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
