"""Resampling whole patients."""

from __future__ import annotations

import numpy as np
import pytest

from unremarkable.evaluation.case_weights import case_weights, interval_of


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


def test_intervals() -> None:
    drawn = np.linspace(0, 1, 1001)
    found = interval_of(0.4, drawn, 0.9, "")
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.05, 0.95))
    assert interval_of(np.nan, drawn, 0.9, "why").to_dict() == {
        "value": None,
        "low": None,
        "high": None,
        "reason": "why",
    }
    assert interval_of(0.4, [], 0.9, "").reason == "no interval asked for"
    assert "bounds nothing" in str(interval_of(1.0, np.ones(100), 0.9, "").reason)
    assert "too few" in str(interval_of(1.0, np.append(np.full(99, np.nan), 1), 0.9, "").reason)
