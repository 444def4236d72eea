from __future__ import annotations

import json

import numpy as np
import pytest

from unremarkable.errors import InputError, UsageError
from unremarkable.evaluation import evaluate
from unremarkable.evaluation.intervals import bootstrap
from unremarkable.scoring.thresholds import ThresholdChoice, best_f1

LABELS = np.repeat([0, 1], 40)
SCORES = np.random.default_rng(0).normal(size=80) + LABELS
PATHS = [f"scan-{i}.png" for i in range(80)]
FINDINGS = ["normal"] * 40 + ["glioma", "pituitary"] * 20


def test_everything_a_report_needs() -> None:
    result = evaluate(SCORES, LABELS, PATHS, threshold=1.0, findings=FINDINGS, paths=PATHS, replicates=200)
    assert result.counts == {"cases": 80, "normal": 40, "abnormal": 40, "patients": 80}
    flagged = SCORES > 1
    assert result.confusion == {
        "tp": (flagged & (LABELS == 1)).sum(),
        "fp": (flagged & (LABELS == 0)).sum(),
        "tn": (~flagged & (LABELS == 0)).sum(),
        "fn": (~flagged & (LABELS == 1)).sum(),
    }
    assert result.metrics == bootstrap(SCORES, LABELS, PATHS, flagged, replicates=200)
    assert list(result.by_finding) == ["glioma", "pituitary"]
    rows = np.array([finding in ("normal", "glioma") for finding in FINDINGS])
    glioma = result.by_finding["glioma"]
    assert glioma.cases == 20
    assert glioma.flagged == flagged[40::2].sum()
    expected = bootstrap(SCORES[rows], LABELS[rows], np.array(PATHS)[rows].tolist(), flagged[rows], replicates=200)
    shown = ("auroc", "auprc", "sensitivity_at_specificity95", "sensitivity")
    assert glioma.metrics == {name: expected[name] for name in shown}


def test_json_form() -> None:
    result = evaluate(SCORES, LABELS, threshold=1.0, findings=FINDINGS, replicates=200)
    written = json.loads(json.dumps(result.to_dict(curves=True), allow_nan=False))
    assert set(written["metrics"]["auroc"]) == {"value", "low", "high"}
    assert written["operating_point"]["rule"] == "given"
    assert written["by_finding"]["glioma"]["metrics"]["sensitivity"]["value"] is not None
    assert written["curves"]["roc"]["x"][-1] == 1
    assert "curves" not in result.to_dict()


def test_a_threshold_chosen_on_the_same_labels_is_marked() -> None:
    chosen = best_f1(SCORES, LABELS, source="the test split", cases=PATHS)
    assert evaluate(SCORES, LABELS, threshold=chosen, paths=PATHS, replicates=100).test_labels_used
    assert evaluate(SCORES, LABELS, threshold=chosen, replicates=100).test_labels_used
    elsewhere = best_f1(SCORES[10:], LABELS[10:], source="the validation split", cases=PATHS[10:])
    assert not evaluate(SCORES, LABELS, threshold=elsewhere, paths=PATHS, replicates=100).test_labels_used
    from_normals = ThresholdChoice(1.0, "false-alarm rate", rate=0.05, n_normals=100)
    assert not evaluate(SCORES, LABELS, threshold=from_normals, replicates=100).test_labels_used


def test_verdicts_given_are_taken_and_without_any_only_ranking_is_judged() -> None:
    given = evaluate(SCORES, LABELS, flagged=np.zeros(80, bool), threshold=1.0, replicates=100)
    assert given.confusion == {"tp": 0, "fp": 0, "tn": 40, "fn": 40}
    assert given.metrics["precision"].reason == "nothing was flagged"
    bare = evaluate(SCORES, LABELS, findings=FINDINGS, replicates=100)
    assert "auroc" in bare.metrics
    assert "sensitivity" not in bare.metrics
    assert bare.p_value_calibration is None
    assert bare.confusion is None
    assert bare.by_finding["glioma"].flagged is None
    assert bare.to_dict()["operating_point"] is None


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only(label: int) -> None:
    result = evaluate([1.0, 2.0, 3.0], [label] * 3, threshold=1.5, findings=["x"] * 3, replicates=100)
    assert result.roc is None
    assert result.metrics["auroc"].value is None
    json.dumps(result.to_dict(curves=True), allow_nan=False)


def test_refusals_name_the_case_or_the_column() -> None:
    with pytest.raises(InputError, match=r"scan-7\.png"):
        evaluate(np.where(np.arange(80) == 7, np.nan, SCORES), LABELS, paths=PATHS)
    with pytest.raises(UsageError, match="3 findings for 80"):
        evaluate(SCORES, LABELS, findings=["a", "b", "c"])
    with pytest.raises(UsageError, match="1 groups"):
        evaluate(SCORES, LABELS, ["a"])
    with pytest.raises(UsageError, match="at least one case"):
        evaluate([], [])


def test_prevalence_subgroups_and_p_values_are_in_the_record() -> None:
    p_values = np.where(LABELS, 0.05, np.tile(np.arange(1, 41) / 40, 2)[:80])
    sites = ["a", "b"] * 40
    result = evaluate(
        SCORES,
        LABELS,
        PATHS,
        threshold=ThresholdChoice(1.0, "false-alarm rate", rate=0.05, n_normals=39),
        p_values=p_values,
        subgroups={"site": sites},
        prevalence=0.05,
        replicates=200,
    )
    written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert written["prevalence"] == 0.05
    assert 0 < written["metrics"]["ppv_at_prevalence"]["value"] < written["metrics"]["precision"]["value"]
    assert list(written["subgroups"]["site"]["values"]) == ["a", "b"]
    assert written["subgroups"]["site"]["worst_gaps"]["auroc"]["difference"]["value"] >= 0
    assert written["p_value_calibration"]["calibration_normals"] == 39
    assert written["p_value_calibration"]["rates"][1]["expected"] == 0.05
    with pytest.raises(UsageError, match="p-values"):
        evaluate(SCORES, LABELS, p_values=np.full(80, 1.5))
    with pytest.raises(UsageError, match="2 values of site"):
        evaluate(SCORES, LABELS, subgroups={"site": ["a", "b"]})
