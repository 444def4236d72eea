from __future__ import annotations

import json
import math

import numpy as np
import pytest

from unremarkable.errors import UsageError
from unremarkable.evaluation.intervals import Interval, bootstrap
from unremarkable.evaluation.subgroups import by_subgroup

RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.repeat([0, 1], 90))
SITES = np.array(["a", "b", "c"] * 60)
SCORES = RNG.normal(size=180) + LABELS * np.where(SITES == "b", 0.2, 2.0)
FLAGGED = SCORES > 1
PATIENTS = [f"p{i // 2}" for i in range(180)]


def test_each_value_is_evaluated_alone_and_the_worst_two_are_named() -> None:
    found = by_subgroup("site", SITES, SCORES, LABELS, None, FLAGGED, replicates=300)
    for site in "abc":
        rows = np.array([one == site for one in SITES])
        names = [str(i) for i in np.flatnonzero(rows)]
        alone = bootstrap(SCORES[rows], LABELS[rows], names, FLAGGED[rows], replicates=300)
        result = found.values[site]
        assert result.metrics == {name: alone[name] for name in ("auroc", "sensitivity", "specificity")}
        assert (result.cases, result.patients, result.note) == (60, 60, None)
        assert result.abnormal == LABELS[rows].sum()
    values = {site: found.values[site].metrics["auroc"].value for site in "abc"}
    gap = found.gaps["auroc"]
    assert gap.lowest == "b"
    assert gap.highest == max(values, key=values.get)
    assert gap.difference.value == pytest.approx(max(values.values()) - values["b"])
    assert 0 < gap.difference.low < gap.difference.value < gap.difference.high
    assert found.gaps["specificity"].difference.low < 0
    assert set(by_subgroup("site", SITES, SCORES, LABELS, replicates=100).gaps) == {"auroc"}
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_gap_of_two_values_combines_their_intervals() -> None:
    """Zou and Donner by hand; two values make one pair, whose level is the level asked for."""
    rows = SITES != "c"
    found = by_subgroup("site", SITES[rows], SCORES[rows], LABELS[rows], replicates=400)
    high, low = found.values["a"].metrics["auroc"], found.values["b"].metrics["auroc"]
    gap = found.gaps["auroc"].difference
    assert gap.value - gap.low == pytest.approx(math.hypot(high.value - high.low, low.high - low.value))
    assert gap.high - gap.value == pytest.approx(math.hypot(high.high - high.value, low.value - low.low))


def test_a_gap_between_equals_is_rarely_taken_for_one() -> None:
    """Four values without any difference: the worst of their six gaps excludes 0 in at most about 5 % of samples."""
    labels, sites = np.tile([0, 1], 80), np.repeat(list("abcd"), 40)
    false = []
    for trial in range(100):
        scores = np.random.default_rng(trial).normal(size=160) + labels
        gap = by_subgroup("site", sites, scores, labels, replicates=250, seed=trial).gaps["auroc"]
        false.append(gap.difference.low > 0)
    assert np.mean(false) <= 0.1


def test_patients_are_kept_together() -> None:
    found = by_subgroup("site", np.repeat("x", 180), SCORES, LABELS, PATIENTS, FLAGGED, replicates=300)
    assert found.values["x"].patients == 90
    assert found.values["x"].metrics["auroc"] == bootstrap(SCORES, LABELS, PATIENTS, replicates=300)["auroc"]
    assert found.gaps["auroc"].highest is None
    assert "fewer than two values" in found.gaps["auroc"].difference.reason


def test_values_with_few_cases_are_shown_and_say_so_and_make_no_gap() -> None:
    sites = np.where(np.arange(180) < 12, "tiny", np.where(SITES == "b", "b", "other"))
    found = by_subgroup("site", sites, SCORES, LABELS, None, FLAGGED, replicates=100)
    assert "too few for" in found.values["tiny"].note
    assert found.values["tiny"].metrics["sensitivity"].value is not None
    assert "tiny" not in (found.gaps["auroc"].highest, found.gaps["auroc"].lowest)


def test_findings_have_one_class_each() -> None:
    findings = np.where(LABELS, np.where(np.arange(180) % 2, "glioma", "pituitary"), "normal")
    found = by_subgroup("finding", findings, SCORES, LABELS, None, FLAGGED, replicates=100)
    assert found.values["glioma"].metrics["auroc"].reason == "needs both normal and abnormal cases"
    assert {found.gaps["sensitivity"].highest, found.gaps["sensitivity"].lowest} == {"glioma", "pituitary"}
    assert found.gaps["specificity"].highest is None


def test_many_values_need_many_replicates() -> None:
    sites, labels = np.tile([str(i) for i in range(6)], 30), np.repeat([0, 1], 90)
    gap = by_subgroup("site", sites, SCORES, labels, replicates=200).gaps["auroc"]
    assert gap.highest is not None
    assert gap.difference.reason == "15 pairs of values need 600 replicates, not 200"
    assert by_subgroup("site", sites, SCORES, LABELS, replicates=0).gaps["auroc"].difference.low is None


def test_equal_values_have_a_gap_of_zero_and_perfect_ones_an_interval() -> None:
    labels, sites = np.tile([0, 1], 60), np.repeat(["a", "b"], 60)
    gap = by_subgroup("site", sites, labels + 0.0, labels, None, labels == 1, replicates=100).gaps["sensitivity"]
    width = 1 - 0.025 ** (1 / 30)
    assert (gap.highest, gap.lowest) == ("a", "b")
    assert gap.difference == Interval(0.0, pytest.approx(-width), pytest.approx(width))


def test_missing_values_are_counted() -> None:
    sites = [None if i < 5 else site for i, site in enumerate(SITES)]
    found = by_subgroup("site", sites, SCORES, LABELS, replicates=100)
    assert found.missing == 5
    assert sum(value.cases for value in found.values.values()) == 175


def test_refusals() -> None:
    with pytest.raises(UsageError, match="3 values of site for 180"):
        by_subgroup("site", ["a"] * 3, SCORES, LABELS)
    with pytest.raises(UsageError, match="empty for every one"):
        by_subgroup("site", [None] * 180, SCORES, LABELS)
