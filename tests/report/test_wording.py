from __future__ import annotations

import numpy as np
import pytest

from unremarkable.evaluation import Interval, evaluate
from unremarkable.report.results import Unlabelled
from unremarkable.report.wording import finding_rows, headline, interval_note, metric_rows, number, p_value, percent
from unremarkable.scoring.calibration import Calibration

LABELS = np.repeat([0, 1], 20)
SCORES = np.arange(40.0) % 25
CALIBRATION = Calibration(np.arange(0.0, 20.0, 0.2))


def test_headline_says_what_was_found_and_what_was_promised() -> None:
    point = CALIBRATION.choose(0.05)
    evaluation = evaluate(SCORES, LABELS, threshold=point, replicates=100)
    lines = " ".join(headline(evaluation, CALIBRATION)).replace("\u00a0", " ")
    confusion = evaluation.confusion
    assert confusion is not None
    assert f"{confusion['tp']} of 20 abnormal cases were flagged ({5 * confusion['tp']:.1f} %, 95 % interval" in lines
    assert f"{confusion['fp']} of 20 normal cases were flagged in error" in lines
    assert f"{100 * evaluation.metrics['auroc'].value:.1f} times in 100" in lines
    assert "flags 5.0 % of normals like the 100 it was calibrated on" in lines


def test_false_alarms_are_the_mirror_of_specificity() -> None:
    evaluation = evaluate(SCORES, LABELS, threshold=17.0, replicates=200)
    low, high = evaluation.metrics["specificity"].low, evaluation.metrics["specificity"].high
    text = headline(evaluation, None)[1].replace("\u00a0", " ")
    assert f"interval {100 * (1 - high):.1f} to {100 * (1 - low):.1f} %" in text


def test_without_labels_it_says_how_many_flags_mean_nothing() -> None:
    point = CALIBRATION.choose(0.05)
    flagged = point.value < SCORES
    lines = headline(Unlabelled(SCORES, None, flagged, point), CALIBRATION)
    assert lines[0] == f"{flagged.sum()} of 40 cases were flagged."
    assert "about 2 would be flagged all the same" in lines[1]
    assert headline(Unlabelled(SCORES[:1], None, None, None), None) == ["1 case was scored, without verdicts."]


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only_leaves_out_what_cannot_be_said(label: int) -> None:
    evaluation = evaluate([1.0, 2.0], [label] * 2, threshold=1.5, replicates=100)
    text = " ".join(headline(evaluation, None))
    assert ("abnormal cases" in text) == bool(label)
    assert "AUROC" not in text
    rows = {row[0]: row for row in metric_rows(evaluation)}
    assert rows["AUROC"][1:3] == ("–", "needs both normal and abnormal cases")


def test_notes_say_how_the_intervals_were_made() -> None:
    note = interval_note(evaluate(SCORES, LABELS, [str(i // 2) for i in range(40)], replicates=100))
    assert "40 cases (20 normal, 20 abnormal) of 20 patients" in note
    assert "100 resamples" in note
    assert "a patient of its own" in interval_note(evaluate(SCORES, LABELS, replicates=100))
    assert "Intervals" not in interval_note(evaluate(SCORES, LABELS, replicates=0))


def test_findings() -> None:
    evaluation = evaluate(SCORES, LABELS, findings=["n"] * 20 + ["a", "b"] * 10, threshold=17.0, replicates=100)
    name, cases, flagged, metrics = finding_rows(evaluation)[0]
    assert (name, cases, flagged) == ("a", 10, str(evaluation.by_finding["a"].flagged))
    assert [value for value, _ in metrics] == [
        f"{evaluation.by_finding['a'].metrics[m].value:.3f}" for m in ("sensitivity", "auroc")
    ]


def test_numbers() -> None:
    assert [number(value) for value in (None, True, 3, 0.123456, 1234567.0, "text")] == [
        "–",
        "yes",
        "3",
        "0.1235",
        "1.235e+06",
        "text",
    ]
    assert [p_value(value) for value in (1.0, 0.0312, 0.0004)] == ["p = 1.000", "p = 0.031", "p < 0.001"]
    assert percent(Interval(0.5, None, None, "why")) == "50.0 %"
    assert percent(Interval(None, None, None, "why")) == "why"
