from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, norm
from scipy.stats import bootstrap as oracle

from unremarkable.errors import InputError, UsageError
from unremarkable.evaluation.bootstrap import resample
from unremarkable.evaluation.intervals import Interval, bootstrap
from unremarkable.evaluation.metrics import (
    VERDICT_METRICS,
    auprc,
    auroc,
    fpr_at_tpr,
    predictive_values,
    sensitivity_at_specificity,
    verdict_metric,
)

RANKING = {"auroc", "auprc", "fpr_at_tpr95", "fpr_at_tpr99", "sensitivity_at_specificity95"}


def _draw(seed: int, n: int = 120) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    scores = np.round(rng.normal(size=n) + labels, 1)
    return scores, labels, [f"p{i}" for i in rng.integers(0, n // 3, n)], scores > 1


def test_values_are_the_metrics_and_intervals_hold_them() -> None:
    scores, labels, groups, flagged = _draw(0)
    for patients in (None, groups):
        result = bootstrap(scores, labels, patients, flagged, prevalence=0.05, replicates=300)
        expected = {"auroc": auroc(scores, labels), "auprc": auprc(scores, labels)}
        expected |= {"fpr_at_tpr95": fpr_at_tpr(scores, labels), "fpr_at_tpr99": fpr_at_tpr(scores, labels, 0.99)}
        expected |= {"sensitivity_at_specificity95": sensitivity_at_specificity(scores, labels)}
        expected |= {name: verdict_metric(name, flagged, labels) for name in VERDICT_METRICS}
        ppv, npv = predictive_values(expected["sensitivity"], expected["specificity"], 0.05)
        expected |= {"ppv_at_prevalence": ppv, "npv_at_prevalence": npv}
        assert {name: interval.value for name, interval in result.items()} == pytest.approx(expected)
        assert result.pop("fpr_at_tpr99").reason == "no interval from fewer than 100 abnormal patients"
        for interval in result.values():
            assert interval.low < interval.value < interval.high
    assert set(bootstrap(scores, labels, replicates=100)) == RANKING
    assert set(bootstrap(scores, labels, prevalence=0.05, replicates=100)) == RANKING


@pytest.mark.parametrize("clustered", [False, True])
def test_order_and_increasing_transformations_change_nothing(clustered: bool) -> None:
    scores, labels, groups, flagged = _draw(1)
    result = bootstrap(scores, labels, groups if clustered else None, flagged, replicates=200, seed=3)
    order = np.random.default_rng(2).permutation(len(scores))
    moved = bootstrap(
        np.exp(scores[order]),
        labels[order],
        [groups[i] for i in order] if clustered else None,
        flagged[order],
        replicates=200,
        seed=3,
    )
    assert moved == result
    assert bootstrap(scores, labels, replicates=200, seed=4) != bootstrap(scores, labels, replicates=200, seed=5)


def test_resamples_are_those_of_a_plain_bootstrap() -> None:
    """The weighted shortcut against resampling by hand, class by class."""
    scores, labels, _, flagged = _draw(2)
    rng = np.random.default_rng(0)
    parts = [np.flatnonzero(labels == label) for label in (0, 1)]
    by_hand = []
    for _ in range(1500):
        rows = np.concatenate([rng.choice(part, len(part)) for part in parts])
        by_hand.append([auroc(scores[rows], labels[rows]), auprc(scores[rows], labels[rows])])
    drawn = resample(scores, labels, None, flagged, replicates=3000).drawn
    expected = np.quantile(by_hand, (0.025, 0.975), axis=0).T
    for name, bounds in zip(("auroc", "auprc"), expected, strict=True):
        assert np.quantile(drawn[name], (0.025, 0.975)) == pytest.approx(bounds, abs=0.012)


def test_bounds_are_those_of_scipy() -> None:
    """BCa of a share, where scipy has one too: the sensitivity of 60 abnormal cases."""
    rng = np.random.default_rng(4)
    flagged = rng.random(60) < 0.85
    ours = bootstrap(rng.normal(size=60), np.ones(60, int), None, flagged, replicates=9999)["sensitivity"]
    theirs = oracle((flagged * 1.0,), np.mean, method="BCa", n_resamples=9999, rng=1).confidence_interval
    # One case more or less is a step of 1/60.
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1.1 / 60)


@pytest.mark.parametrize(("per_class", "images", "auroc_"), [(20, 1, 0.95), (25, 3, 0.85)])
def test_auroc_intervals_cover_the_truth_as_often_as_they_promise(per_class: int, images: int, auroc_: float) -> None:
    """A coverage of 93 to 97 %, evenly to both sides, is not refuted by 1,000 samples.

    Each bound is one that a coverage of 93 or 97 % passes 99.5 % of the time, whatever the seed; the plain percentile
    bootstrap, of which 9 % of the intervals lie too high at 0.95, does not. `benchmarks/interval_coverage.py` measures
    the coverage itself.
    """
    shift = norm.ppf(auroc_) * 2**0.5
    patients = np.repeat(np.arange(2 * per_class), images)
    labels = np.repeat([0, 1], per_class * images)
    sets, missed = 1000, []
    rng = np.random.default_rng(0)
    for trial in range(sets):
        # Half of the variance is the patient's own, and shared by all of their images.
        own, each = rng.normal(size=2 * per_class)[patients], rng.normal(size=len(labels))
        scores = (own + each) / 2**0.5 if images > 1 else each
        interval = bootstrap(scores + shift * labels, labels, patients.tolist(), replicates=200, seed=trial)["auroc"]
        missed.append((auroc_ < interval.low, auroc_ > interval.high))
    covered = sets - np.sum(missed)
    assert binom.ppf(0.005, sets, 0.93) <= covered <= binom.ppf(0.995, sets, 0.97)
    assert max(np.sum(missed, axis=0)) <= binom.ppf(0.995, sets, 0.035)


def test_many_patients_are_left_out_in_parts_and_none_of_it_hangs_on_the_order() -> None:
    """Skewness from 200 parts of a class is that of leaving out single patients, but for sampling error."""
    rng = np.random.default_rng(7)
    labels = np.repeat([0, 1], 2000)
    scores = np.where(labels, rng.exponential(size=4000) + 0.5, rng.exponential(size=4000))
    parts = resample(scores, labels, replicates=100).acceleration
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unremarkable.evaluation.bca._PARTS", 2000)
        single = resample(scores, labels, replicates=100).acceleration
    assert parts["auroc"] == pytest.approx(single["auroc"], abs=0.01)


def test_copies_of_a_patient_do_not_narrow_the_interval() -> None:
    scores, labels, _, flagged = _draw(3)
    once = bootstrap(scores, labels, [str(i) for i in range(120)], flagged, replicates=1000)
    patients = [str(i % 120) for i in range(1200)]
    tenfold = bootstrap(np.tile(scores, 10), np.tile(labels, 10), patients, np.tile(flagged, 10), replicates=1000)
    alone = bootstrap(np.tile(scores, 10), np.tile(labels, 10), None, np.tile(flagged, 10), replicates=1000)
    for name, interval in once.items():
        if interval.low is None:
            assert tenfold[name].low is None
            continue
        assert (tenfold[name].low, tenfold[name].high) == pytest.approx((interval.low, interval.high), abs=1e-9)
        assert alone[name].high - alone[name].low < 0.5 * (interval.high - interval.low)


def test_perfect_samples_are_bounded_by_the_number_of_patients() -> None:
    labels = np.repeat([0, 1], (30, 10))
    result = bootstrap(labels + 0.0, labels, None, labels == 1)
    assert result["sensitivity"] == Interval(1.0, 0.025 ** (1 / 10), 1.0)
    assert result["specificity"] == Interval(1.0, 0.025 ** (1 / 30), 1.0)
    assert result["auroc"] == Interval(1.0, 0.025 ** (1 / 10), 1.0)
    assert result["auprc"].value == 1
    assert result["auprc"].low is None
    assert "bounds nothing" in (result["auprc"].reason or "")
    worst = bootstrap(-labels, labels, ["a", "b"] * 15 + ["c", "d"] * 5, labels == 0)
    assert worst["sensitivity"] == Interval(0.0, 0.0, 1 - 0.025 ** (1 / 2))
    assert worst["auroc"] == Interval(0.0, 0.0, 1 - 0.025 ** (1 / 2))


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_the_others_metrics_undefined_with_the_reason(label: int) -> None:
    flagged = [True, False, True, False]
    result = bootstrap([1.0, 2.0, 3.0, 4.0], [label] * 4, None, flagged)
    assert result["auroc"] == Interval(None, None, None, "needs both normal and abnormal cases")
    missing, present = ("sensitivity", "specificity") if label == 0 else ("specificity", "sensitivity")
    assert result[missing].value is None
    assert "needs" in (result[missing].reason or "")
    assert result[present].value == 0.5
    assert result[missing].to_dict()["reason"]
    assert set(result[present].to_dict()) == {"value", "low", "high"}


def test_too_few_patients_get_no_interval() -> None:
    one = bootstrap([1.0, 2.0, 3.0, 2.5], [0, 0, 1, 1], ["p"] * 4)["auroc"]
    assert one.value == 1
    mixed = bootstrap([1.0, 3.0, 2.0, 2.5], [0, 0, 1, 1], ["p"] * 4)["auroc"]
    assert mixed.value == 0.5
    assert mixed.low is None


def test_one_case_and_constant_scores() -> None:
    assert bootstrap([1.0], [0], None, [False])["specificity"].value == 1
    constant = bootstrap([1.0] * 20, [0, 1] * 10)["auroc"]
    assert constant.value == 0.5
    assert constant.low is None


def test_refusals() -> None:
    with pytest.raises(InputError, match="case 0"):
        bootstrap([np.nan, 1.0], [0, 1])
    for arguments in (([], []), ([1.0, 2.0], [0, 1], ["a"]), ([1.0, 2.0], [0, 1], None, [True])):
        with pytest.raises(UsageError):
            bootstrap(*arguments)
    with pytest.raises(UsageError, match="10 replicates"):
        bootstrap([1.0, 2.0], [0, 1], replicates=10)
