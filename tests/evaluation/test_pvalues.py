from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from unremarkable.errors import UsageError
from unremarkable.evaluation.intervals import Interval
from unremarkable.evaluation.pvalues import ALPHAS, exact_share, p_value_calibration
from unremarkable.scoring.calibration import Calibration


@pytest.mark.parametrize(("count", "of"), [(0, 20), (1, 20), (7, 20), (20, 20), (3, 1000)])
def test_exact_intervals_are_those_of_scipy(count: int, of: int) -> None:
    expected = stats.binomtest(count, of).proportion_ci(method="exact")
    found = exact_share(count, of)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert exact_share(0, 0).reason == "needs normal cases"


def test_distances_are_those_of_scipy_and_only_normals_count() -> None:
    p_values = np.random.default_rng(0).beta(0.8, 1, size=200)
    labels = np.repeat([0, 1], (150, 50))
    found = p_value_calibration(p_values, labels)
    assert found.ks_excess == pytest.approx(stats.kstest(p_values[:150], "uniform", alternative="greater").statistic)
    assert found.ks_distance == pytest.approx(stats.kstest(p_values[:150], "uniform").statistic)
    assert found.normals == 150
    assert [rate.flagged for rate in found.rates] == [(p_values[:150] <= alpha).sum() for alpha in ALPHAS]
    assert found.brier_of_one_minus_p == pytest.approx(np.mean((1 - p_values - labels) ** 2))
    assert found.rates[0].p_excess is None  # without the number of calibration normals nothing can be expected
    json.dumps(found.to_dict(), allow_nan=False)


def test_p_values_that_keep_their_promise_are_rarely_suspected() -> None:
    """The calibration normals are a sample too, which a binomial test would take for a broken promise."""
    suspected = {"beta-binomial": 0, "binomial": 0}
    trials = 250
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        p_values = Calibration.from_normals(rng.normal(size=39)).p_values(rng.normal(size=200))
        rate = p_value_calibration(p_values, np.zeros(200, int), calibration_normals=39).rates[1]
        assert rate.expected == 0.05
        suspected["beta-binomial"] += rate.p_excess <= 0.05
        suspected["binomial"] += stats.binomtest(rate.flagged, 200, 0.05, "greater").pvalue <= 0.05
    assert suspected["beta-binomial"] / trials < 0.08
    assert suspected["binomial"] / trials > 0.15


def test_p_values_that_are_too_small_are_found() -> None:
    rng = np.random.default_rng(0)
    p_values = Calibration.from_normals(rng.normal(size=199)).p_values(rng.normal(size=200) + 1)
    found = p_value_calibration(p_values, np.zeros(200, int), calibration_normals=199)
    assert found.rates[1].p_excess < 0.001
    assert found.rates[1].share.low > 0.05
    assert found.ks_excess > 0.2


def test_ranks_below_the_smallest_p_value() -> None:
    found = p_value_calibration([0.5, 1.0], [0, 0], calibration_normals=1, alphas=(0.01, 1.0))
    assert [(rate.expected, rate.p_excess) for rate in found.rates] == [(0.0, 1.0), (1.0, 1.0)]
    # More precise than the calibration can be: not from these normals.
    assert p_value_calibration([0.001], [0], calibration_normals=1, alphas=(0.01,)).rates[0].p_excess == 0


def test_several_images_of_a_patient_widen_the_interval() -> None:
    p_values = np.random.default_rng(1).random(40)
    alone = p_value_calibration(p_values, np.zeros(40, int), calibration_normals=99)
    tenfold = p_value_calibration(
        np.tile(p_values, 10), np.zeros(400, int), [str(i % 40) for i in range(400)], calibration_normals=99
    )
    assert alone.interval == "exact binomial"
    assert tenfold.interval == "bootstrap over patients"
    assert (tenfold.normals, tenfold.patients) == (400, 40)
    wide, exact = tenfold.rates[3].share, alone.rates[3].share
    assert wide.value == exact.value
    assert (wide.low, wide.high) == pytest.approx((exact.low, exact.high), abs=0.06)
    assert tenfold.rates[3].p_excess is None


def test_without_normals_and_refusals() -> None:
    found = p_value_calibration([0.01, 0.02], [1, 1], calibration_normals=99)
    assert found.rates[0].share == Interval(None, None, None, "needs normal cases")
    assert found.ks_distance is None
    for bad in ([np.nan], [-0.1], []):
        with pytest.raises(UsageError, match="between 0 and 1"):
            p_value_calibration(bad, [0] * len(bad))
    with pytest.raises(UsageError, match="groups"):
        p_value_calibration([0.1, 0.2], [0, 0], ["a"])
