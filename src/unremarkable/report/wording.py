"""The page's sentences and numbers, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unremarkable.evaluation.evaluation import Evaluation
from unremarkable.evaluation.intervals import Interval
from unremarkable.scoring.calibration import Calibration

if TYPE_CHECKING:
    from unremarkable.report.results import Unlabelled

_NAMES = {
    "auroc": ("AUROC", "how often an abnormal case scores above a normal one"),
    "auprc": ("AUPRC", "average precision over all thresholds; depends on the share of abnormal cases"),
    "sensitivity": ("Sensitivity", "share of abnormal cases that were flagged"),
    "specificity": ("Specificity", "share of normal cases that were not flagged"),
    "accuracy": ("Accuracy", "share of all verdicts that are right"),
    "precision": ("Precision (PPV)", "share of flagged cases that are abnormal"),
    "npv": ("NPV", "share of cases not flagged that are normal"),
    "f1": ("F1", "2 TP / (2 TP + FN + FP)"),
}


def headline(results: Evaluation | Unlabelled, calibration: Calibration | None) -> list[str]:
    """What was found, in one to four sentences."""
    point = results.threshold
    rate = point.rate if point is not None and point.rule == "false-alarm rate" else None
    if isinstance(results, Evaluation):
        lines = _labelled(results)
    else:
        lines = _unlabelled(results, None if calibration is None or rate is None else calibration.expected_rate(rate))
    if calibration is not None and rate is not None:
        lines.append(f"The threshold {calibration.describe(rate)}.")
    # A number keeps its sign on the same line.
    return [line.replace(" %", "\u00a0%") for line in lines]


def _labelled(evaluation: Evaluation) -> list[str]:
    lines = []
    if evaluation.confusion is not None:
        c, metrics = evaluation.confusion, evaluation.metrics
        if abnormal := c["tp"] + c["fn"]:
            found = percent(metrics["sensitivity"])
            lines.append(f"{c['tp']} of {_count(abnormal, 'abnormal case')} flagged ({found}).")
        if normal := c["fp"] + c["tn"]:
            false = percent(_complement(metrics["specificity"]))
            lines.append(f"{c['fp']} of {_count(normal, 'normal case')} flagged in error ({false}).")
    auroc = evaluation.metrics["auroc"]
    if auroc.value is not None:
        lines.append(
            f"Of a normal and an abnormal case drawn at random, the abnormal one has the higher score "
            f"{100 * auroc.value:.1f} times in 100 (AUROC)."
        )
    return lines


def _unlabelled(results: Unlabelled, expected: float | None) -> list[str]:
    n = len(results.scores)
    if results.flagged is None:
        return [f"{_count(n, 'case')} scored, without verdicts."]
    lines = [f"{int(results.flagged.sum())} of {_count(n, 'case')} flagged."]
    if expected is not None:
        lines.append(f"If every one of them were normal, about {n * expected:.0f} would be flagged all the same.")
    return lines


def metric_rows(evaluation: Evaluation | None) -> list[tuple[str, str, str, str]]:
    """Name, value, interval and meaning of each metric."""
    if evaluation is None:
        return []
    rows = []
    for name, interval in evaluation.metrics.items():
        label, meaning = _NAMES[name]
        rows.append((label, "–" if interval.value is None else f"{interval.value:.3f}", _bounds(interval), meaning))
    return rows


def finding_rows(evaluation: Evaluation | None) -> list[tuple[str, int, str, list[tuple[str, str]]]]:
    """Finding, cases, flagged, and value and interval of the sensitivity and of the AUROC against all normals."""
    if evaluation is None:
        return []
    return [
        (
            name,
            found.cases,
            "–" if found.flagged is None else str(found.flagged),
            [_value(found.metrics.get(metric)) for metric in ("sensitivity", "auroc")],
        )
        for name, found in evaluation.by_finding.items()
    ]


def interval_note(evaluation: Evaluation | None) -> str:
    """How the intervals were made."""
    if evaluation is None:
        return ""
    c = evaluation.counts
    cases = f"{c['cases']} cases ({c['normal']} normal, {c['abnormal']} abnormal)"
    own = c["patients"] == c["cases"]
    cases += "; each is taken as a patient of its own." if own else f" of {c['patients']} patients."
    if not evaluation.replicates:
        return cases
    return (
        f"{cases} Intervals: {100 * evaluation.level:g} %, bootstrap over patients, {evaluation.replicates} resamples, "
        f"seed {evaluation.seed}; exact bounds where the sample is perfect."
    )


def percent(interval: Interval) -> str:
    """As "58.6 %, 95 % interval 55.4 to 61.8 %"."""
    if interval.value is None:
        return interval.reason or ""
    bounds = (
        ""
        if interval.low is None
        else f", 95 % interval {100 * interval.low:.1f} to {100 * (interval.high or 0):.1f} %"
    )
    return f"{100 * interval.value:.1f} %{bounds}"


def number(value: Any) -> str:
    """A number with four significant digits, anything else as its text."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def p_value(value: float) -> str:
    """As "p = 0.032", or "p < 0.001"."""
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun} was".replace(",", " ") if n == 1 else f"{n:,} {noun}s were".replace(",", " ")


def _complement(interval: Interval) -> Interval:
    if interval.value is None or interval.low is None or interval.high is None:
        return Interval(None if interval.value is None else 1 - interval.value, None, None, interval.reason)
    return Interval(1 - interval.value, 1 - interval.high, 1 - interval.low)


def _bounds(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return interval.reason or ""
    return f"{interval.low:.3f}–{interval.high:.3f}"


def _value(interval: Interval | None) -> tuple[str, str]:
    if interval is None or interval.value is None:
        return "–", ""
    return f"{interval.value:.3f}", _bounds(interval)
