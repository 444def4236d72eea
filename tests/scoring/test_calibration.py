from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import beta

from unremarkable.errors import InputError, UsageError
from unremarkable.scoring.calibration import Calibration, normals_needed


def test_p_values_by_hand() -> None:
    calibration = Calibration.from_normals([3.0, 1.0, 2.0, 2.0])
    assert calibration.p_values([0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 9.0]).tolist() == [
        1,
        1,
        4 / 5,
        4 / 5,
        2 / 5,
        2 / 5,
        1 / 5,
    ]


@pytest.mark.parametrize("n", [19, 20, 48, 99, 100, 333])
@pytest.mark.parametrize("tied", [False, True])
def test_flag_threshold_and_p_value_agree(n: int, tied: bool) -> None:
    rng = np.random.default_rng(n)
    scores = rng.normal(size=n)
    calibration = Calibration.from_normals(np.round(scores, 1) if tied else scores)
    new = np.concatenate([calibration.scores, np.nextafter(calibration.scores, 9), rng.normal(size=500)])
    rates = [k / (n + 1) for k in range(1, n + 1)] + [0.05, 0.07, 0.1, 0.29, 0.58, 0.999]
    for rate in rates:
        if normals_needed(rate) > n:
            continue
        flagged = calibration.flag(new, rate)
        assert np.array_equal(flagged, calibration.p_values(new) <= rate)
        assert np.array_equal(flagged, new > calibration.threshold(rate))
        assert calibration.choose(rate).value == calibration.threshold(rate)


def test_every_rate_k_of_n_plus_1_allows_k() -> None:
    for n in range(1, 400):
        calibration = Calibration(np.arange(n, dtype=float))
        for k in (1, n // 3, n // 2, n - 1, n):
            if k:
                assert calibration.expected_rate(k / (n + 1)) == k / (n + 1)


def test_normals_needed_is_the_smallest_number_that_is_accepted() -> None:
    assert [normals_needed(rate) for rate in (0.05, 0.01, 0.001, 0.5, 0.03)] == [19, 99, 999, 1, 33]
    for rate in [1 / k for k in range(2, 300)] + [0.049999999999999996, 0.07, 0.3]:
        needed = normals_needed(rate)
        Calibration(np.arange(float(needed))).threshold(rate)
        if needed > 1:
            with pytest.raises(UsageError, match=f"at least {needed} held-out normals"):
                Calibration(np.arange(float(needed - 1))).threshold(rate)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 5, np.nan])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    calibration = Calibration(np.arange(100.0))
    for ask in (calibration.threshold, calibration.expected_rate, normals_needed, calibration.choose):
        with pytest.raises(UsageError, match="between 0 and 1"):
            ask(rate)


def test_exchangeable_normals_are_flagged_at_the_expected_rate_within_the_stated_interval() -> None:
    rng = np.random.default_rng(0)
    n, rate, trials = 150, 0.05, 4000
    realised = np.empty(trials)
    for trial in range(trials):
        calibration = Calibration.from_normals(rng.random(n))
        # The realised rate of a threshold on uniform scores is what lies above it.
        realised[trial] = 1 - calibration.threshold(rate)
    expected = calibration.expected_rate(rate)
    assert expected == 7 / 151
    assert realised.mean() == pytest.approx(expected, abs=4 * realised.std() / trials**0.5)
    low, high = calibration.rate_interval(rate)
    assert ((realised > low) & (realised < high)).mean() == pytest.approx(0.95, abs=0.015)
    assert (low, high) == pytest.approx(beta(7, 144).ppf([0.025, 0.975]))
    text = calibration.describe(rate)
    assert "4.6 %" in text
    assert f"{100 * low:.1f} and {100 * high:.1f} %" in text


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="case 1: the anomaly score is nan"):
        Calibration.from_normals([0.0, np.nan])
    with pytest.raises(InputError, match="inf"):
        Calibration.from_normals([0.0, 1.0]).p_values([np.inf])
    with pytest.raises(UsageError, match="there are none"):
        Calibration.from_normals([])


def test_colour_scale_comes_from_the_normals_pixels() -> None:
    maps = np.linspace(0, 1, 10_001).reshape(1, 73, 137)
    assert Calibration.from_normals([0.0], maps).map_range == pytest.approx((0.95, 0.999))


def test_json_round_trip_is_exact_and_damage_is_named() -> None:
    calibration = Calibration.from_normals(np.random.default_rng(0).normal(size=50), np.random.rand(2, 3, 3))
    text = json.dumps(calibration.to_dict())
    again = Calibration.from_dict(json.loads(text))
    assert np.array_equal(again.scores, calibration.scores)
    assert again.map_range == calibration.map_range
    good = json.loads(text)
    for damaged in (
        {},
        good | {"scores": []},
        good | {"scores": ["a"]},
        good | {"map_low": None},
        good | {"scores": [float("nan")]},
    ):
        with pytest.raises(UsageError, match="calibration is damaged"):
            Calibration.from_dict(damaged)
