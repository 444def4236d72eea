from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from made_runs import CALIBRATION, LABELS, SCORES, made_evaluation

from unremarkable.evaluation import Evaluation, Interval, evaluate
from unremarkable.report.folder import RunFolder
from unremarkable.report.wording import (
    finding_rows,
    headline,
    interval_note,
    metric_rows,
    number,
    p_value,
    percent,
    value,
)

Make = Callable[..., RunFolder]


def _text(run: RunFolder) -> str:
    return " ".join(headline(run)).replace("\u00a0", " ")


def test_headline_says_what_was_found_and_what_was_promised(evaluation: Evaluation, run_of: Make) -> None:
    text = _text(run_of(evaluation))
    confusion = evaluation.confusion
    assert confusion is not None
    assert f"{confusion['tp']} of 30 abnormal cases were flagged ({100 * confusion['tp'] / 30:.1f} %, 95 %" in text
    assert f"{confusion['fp']} of 30 normal cases were flagged in error" in text
    assert f"{100 * evaluation.metrics['auroc'].value:.1f} times in 100" in text
    assert "flags 5.0 % of normals like the 99 it was calibrated on" in text


def test_false_alarms_are_the_mirror_of_specificity(run_of: Make) -> None:
    evaluation = made_evaluation(threshold=1.0)
    low, high = evaluation.metrics["specificity"].low, evaluation.metrics["specificity"].high
    assert f"interval {100 * (1 - high):.1f} to {100 * (1 - low):.1f} %" in _text(run_of(evaluation))
    assert "calibrated on" not in _text(run_of(evaluation))


def test_without_labels_it_says_how_many_flags_mean_nothing(run_of: Make) -> None:
    lines = headline(run_of(None))
    assert lines[0] == f"{(CALIBRATION.threshold(0.05) < SCORES).sum()} of 60 cases were flagged."
    assert "about 3 would be flagged all the same" in lines[1]


@pytest.mark.parametrize("kind", [0, 1])
def test_one_class_only_leaves_out_what_cannot_be_said(kind: int, run_of: Make) -> None:
    run = run_of(evaluate([1.0, 2.0], [kind] * 2, threshold=1.5, replicates=100))
    assert ("abnormal case" in _text(run)) == bool(kind)
    assert "AUROC" not in _text(run)
    rows = {row[0]: row for row in metric_rows(run.metrics)}
    assert rows["AUROC"][1:3] == ("–", "needs both normal and abnormal cases")


def test_notes_say_how_the_intervals_were_made() -> None:
    groups = [str(i // 2) for i in range(60)]
    note = interval_note(evaluate(SCORES, LABELS, groups, replicates=100).to_dict())
    assert "60 cases (30 normal, 30 abnormal) of 30 patients" in note
    assert "100 resamples" in note
    assert "a patient of its own" in interval_note(evaluate(SCORES, LABELS, replicates=100).to_dict())
    assert "Intervals" not in interval_note(evaluate(SCORES, LABELS, replicates=0).to_dict())
    assert interval_note(None) == ""


def test_findings(evaluation: Evaluation) -> None:
    name, cases, flagged, metrics = finding_rows(evaluation.to_dict())[1]
    found = evaluation.by_finding["other"]
    assert (name, cases, flagged) == ("other", 15, str(found.flagged))
    assert [text for text, _ in metrics] == [f"{found.metrics[m].value:.3f}" for m in ("sensitivity", "auroc")]
    assert finding_rows(None) == metric_rows(None) == []


def test_numbers() -> None:
    assert [number(x) for x in (None, True, 3, 0.123456, 1234567.0, float("nan"), "text")] == [
        "–",
        "yes",
        "3",
        "0.1235",
        "1.235e+06",
        "–",
        "text",
    ]
    assert [p_value(x) for x in (1.0, 0.0312, 0.0004)] == ["p = 1.000", "p = 0.031", "p < 0.001"]
    assert percent(Interval(0.5, None, None, "why")) == "50.0 %"
    assert percent(Interval(None, None, None, "why")) == "why"
    assert value(Interval(31.25, 30.0, 1200.0)) == ("31.25", "30–1200")
    assert value(Interval(np.nan, None, None, "why")) == ("–", "why")
