"""Resampling whole patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import bootstrap as oracle
from scipy.stats import norm

from unremarkable.evaluation.case_weights import case_weights, patient_intervals
from unremarkable.evaluation.intervals import Interval, interval_of


def test_patients_are_drawn_whole_and_each_class_keeps_its_size() -> None:
    groups = ["a", "a", "b", "c", "d", "d", "d"]
    abnormal = np.array([1, 1, 1, 0, 0, 0, 0], bool)
    weights = np.concatenate(list(case_weights(groups, abnormal, 500, seed=0)))
    assert weights.shape == (500, 7)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
    np.testing.assert_array_equal(weights[:, 4], weights[:, 6])
    np.testing.assert_array_equal(weights[:, 0] + weights[:, 2], 2)  # two abnormal patients
    np.testing.assert_array_equal(weights[:, 3] + weights[:, 4], 2)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.15)


def test_patients_with_both_kinds_of_cases_are_drawn_together() -> None:
    weights = np.concatenate(list(case_weights(["a", "a", "b"], [0, 1, 0], 200, seed=0)))
    np.testing.assert_array_equal(weights[:, 0] + weights[:, 2], 2)
    assert {0, 1, 2} == set(weights[:, 2])


def test_order_of_the_cases_and_size_of_the_blocks_do_not_matter() -> None:
    groups, abnormal = np.array(["p3", "p1", "p2", "p1", "p5", "p4"]), np.array([0, 1, 0, 1, 0, 1], bool)
    weights = np.concatenate(list(case_weights(list(groups), abnormal, 50, seed=3)))
    order = np.array([5, 2, 0, 1, 4, 3])
    moved = np.concatenate(list(case_weights(list(groups[order]), abnormal[order], 50, seed=3)))
    np.testing.assert_array_equal(moved, weights[:, order])
    again = np.concatenate(list(case_weights(list(groups), abnormal, 50, seed=3, block=7)))
    np.testing.assert_array_equal(again, weights)


def test_one_class_alone() -> None:
    assert np.concatenate(list(case_weights(["a", "b"], [1, 1], 10, seed=0))).shape == (10, 2)
    assert list(case_weights(["a"], [0], 0, seed=0)) == []


def _means(values: np.ndarray) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    return lambda weights: {"mean": weights @ values / weights.sum(axis=1)}


def _intervals(sample: np.ndarray, groups: list[str], abnormal: object, **more: object) -> Interval:
    given = {"replicates": 2000, "seed": 0, "level": 0.95, "undefined": {"mean": "why"}} | more
    return patient_intervals(_means(sample), groups, abnormal, **given)["mean"]


def test_bounds_are_those_of_scipy() -> None:
    """BCa of the mean of a skewed sample, where scipy has one too."""
    values = np.random.default_rng(0).exponential(size=40)
    found = _intervals(values, [str(i) for i in range(40)], np.zeros(40), replicates=9999)
    theirs = oracle((values,), np.mean, method="BCa", n_resamples=9999, rng=1).confidence_interval
    assert found.value == pytest.approx(values.mean(), rel=1e-6)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)
    assert found.high - found.value > found.value - found.low, "the sample is skewed, and so is its interval"


def test_whole_patients_make_the_interval_wide() -> None:
    values = np.random.default_rng(1).normal(size=30)
    once = _intervals(values, [str(i) for i in range(30)], np.zeros(30))
    copies = _intervals(np.repeat(values, 4), [str(i) for i in range(30) for _ in range(4)], np.zeros(120))
    assert (copies.low, copies.high) == pytest.approx((once.low, once.high), abs=1e-6)


def test_a_value_known_more_exactly_stands_between_the_same_bounds() -> None:
    sample, groups = np.random.default_rng(2).normal(size=30), [str(i) for i in range(30)]
    plain = _intervals(sample, groups, np.zeros(30))
    assert _intervals(sample, groups, np.zeros(30), values={"mean": 0.25}) == replace(plain, value=0.25)


def test_without_an_interval_it_says_why() -> None:
    values = np.array([0.2, 0.4, 0.4])
    assert _intervals(values, ["a", "b", "c"], np.zeros(3), replicates=0).reason == "no interval asked for"
    assert "bounds nothing" in str(_intervals(values, ["a", "a", "a"], np.zeros(3)).reason)
    nowhere = np.array([np.nan] * 3)
    assert _intervals(nowhere, ["a", "b", "c"], np.zeros(3)) == Interval(None, None, None, "why")
    assert _intervals(nowhere, ["a", "b", "c"], np.zeros(3), undefined={}, otherwise="else").reason == "else"


def test_intervals() -> None:
    drawn = np.linspace(0, 1, 1001)

    def of(value: float, values: object, acceleration: float = 0.0, **more: object) -> Interval:
        return interval_of(value, np.asarray(values), acceleration, 0.9, undefined="why", **more)

    middle = of(0.5, drawn)
    assert (middle.value, middle.low, middle.high) == pytest.approx((0.5, 0.05, 0.95), abs=0.002)
    # A value that 60 % of the resamples exceed: both bounds move by twice the bias, -0.2533 (equation 14.10).
    low, high = norm.cdf([2 * norm.ppf(0.4) - 1.6449, 2 * norm.ppf(0.4) + 1.6449])
    below = of(0.4, drawn)
    assert (below.low, below.high) == pytest.approx((low, high), abs=0.002)
    assert of(9.0, drawn, centre=0.4).low == below.low
    skewed = of(0.5, drawn, 0.1)
    low, high = norm.cdf([-1.6449 / (1 + 0.16449), 1.6449 / (1 - 0.16449)])
    assert (skewed.low, skewed.high) == pytest.approx((low, high), abs=0.002)
    assert of(np.nan, drawn).to_dict() == {"value": None, "low": None, "high": None, "reason": "why"}
    assert of(0.4, []).reason == "no interval asked for"
    assert "bounds nothing" in str(of(1.0, np.ones(100)).reason)
    assert of(1.0, np.ones(100), units=20).low == pytest.approx(0.05 ** (1 / 20))
    assert "too few" in str(of(1.0, np.append(np.full(99, np.nan), 1)).reason)
