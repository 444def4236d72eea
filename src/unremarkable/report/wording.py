"""The page's sentences and numbers, in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from unremarkable.evaluation.intervals import Interval
from unremarkable.evaluation.names import label, meaning
from unremarkable.report.folder import RunFolder, interval


def headline(run: RunFolder) -> list[str]:
    """What was found, in one to four sentences."""
    lines = _unlabelled(run) if run.metrics is None else _labelled(run, run.metrics)
    if run.rate is not None:
        lines.append(f"The threshold {run.calibration.describe(run.rate)}.")
    # A number keeps its sign on the same line.
    return [line.replace(" %", "\u00a0%") for line in lines]


def _labelled(run: RunFolder, metrics: Mapping[str, Any]) -> list[str]:
    lines = []
    if c := metrics["confusion"]:
        if abnormal := c["tp"] + c["fn"]:
            found = percent(run.metric("sensitivity"))
            lines.append(f"{c['tp']} of {_count(abnormal, 'abnormal case')} flagged ({found}).")
        if normal := c["fp"] + c["tn"]:
            false = percent(_complement(run.metric("specificity")))
            lines.append(f"{c['fp']} of {_count(normal, 'normal case')} flagged in error ({false}).")
    auroc = run.metric("auroc")
    if auroc.value is not None:
        lines.append(
            f"Of a normal and an abnormal case drawn at random, the abnormal one has the higher score "
            f"{100 * auroc.value:.1f} times in 100 (AUROC)."
        )
    return lines


def _unlabelled(run: RunFolder) -> list[str]:
    n = len(run.scores)
    if run.flagged is None:
        return [f"{_count(n, 'case')} scored, without verdicts."]
    lines = [f"{int(run.flagged.sum())} of {_count(n, 'case')} flagged."]
    if run.rate is not None:
        expected = n * run.calibration.expected_rate(run.rate)
        lines.append(f"If every one of them were normal, about {expected:.0f} would be flagged all the same.")
    return lines


def metric_rows(metrics: Mapping[str, Any] | None) -> list[tuple[str, str, str, str]]:
    """Name, value, interval and meaning of each metric."""
    rows = []
    for name, values in ((metrics or {}).get("metrics") or {}).items():
        found = interval(values)
        text, bounds = value(found)
        rows.append((label(name), text, bounds, meaning(name)))
    return rows


def finding_rows(metrics: Mapping[str, Any] | None) -> list[tuple[str, int, str, list[tuple[str, str]]]]:
    """Finding, cases, flagged, and value and interval of the sensitivity and of the AUROC against all normals."""
    return [
        (
            name,
            found["cases"],
            "–" if found["flagged"] is None else str(found["flagged"]),
            [
                value(interval(found["metrics"][metric])) if metric in found["metrics"] else ("–", "")
                for metric in ("sensitivity", "auroc")
            ],
        )
        for name, found in ((metrics or {}).get("by_finding") or {}).items()
    ]


def interval_note(metrics: Mapping[str, Any] | None) -> str:
    """How the intervals were made."""
    if metrics is None:
        return ""
    c, how = metrics["counts"], metrics["intervals"]
    cases = f"{c['cases']} cases ({c['normal']} normal, {c['abnormal']} abnormal)"
    own = c["patients"] == c["cases"]
    cases += "; each is taken as a patient of its own." if own else f" of {c['patients']} patients."
    if not how["replicates"]:
        return cases
    return (
        f"{cases} Intervals: {100 * how['level']:g} %, {how['method']}, {how['replicates']} resamples, "
        f"seed {how['seed']}; exact bounds where the sample is perfect."
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
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "–"
    return str(value)


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
    return f"{_digits(interval.low)}–{_digits(interval.high)}"


def value(found: Interval) -> tuple[str, str]:
    """Value and interval as text; "–" and the reason where it is undefined."""
    if found.value is None or not math.isfinite(found.value):
        return "–", found.reason or ""
    return _digits(found.value), _bounds(found)


def _digits(number: float) -> str:
    return f"{number:.3f}" if abs(number) < 10 else f"{number:.4g}"
