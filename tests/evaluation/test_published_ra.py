"""The published detection rule, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from unremarkable.errors import UsageError
from unremarkable.evaluation.published_ra import ra_detection, ra_threshold


def a_case() -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((10, 10), bool)
    mask[:2] = True  # 20 pixels, so that more than 2 must be left
    return np.zeros((10, 10)), mask


def test_more_than_a_tenth_of_the_mask() -> None:
    values, mask = a_case()
    values[0, :2] = 0.9
    assert ra_detection(values, mask, 0.5) == (0, 0)
    values[0, 2] = 0.5  # level with the threshold is below it
    assert ra_detection(values, mask, 0.5)[0] == 0
    values[0, 2] = 0.6
    assert ra_detection(values, mask, 0.5) == pytest.approx((1, 1))


def test_false_positives_are_a_ratio_of_sums() -> None:
    values, mask = a_case()
    values[0, :4] = 0.5  # sums to 2 inside
    values[5, :7] = 0.5  # 3.5 outside: floor(3.5 / 2) = 1
    detected, f1 = ra_detection(values, mask, 0.1)
    assert detected == 1
    assert f1 == pytest.approx(2 * 0.5 * 1 / 1.5)
    values[5, :7] = 0.05  # below the threshold: not summed
    assert ra_detection(values, mask, 0.1)[1] == pytest.approx(1)


def test_small_sums_make_no_false_positives() -> None:
    """The published rule divides by at least 1: a map of small values has none, wherever they lie."""
    values, mask = a_case()
    values[0, :4] = 0.01
    values[5] = 0.09  # 0.9 outside against 0.04 inside
    assert ra_detection(values, mask, 0.005) == pytest.approx((1, 1))
    values[6] = 0.09
    assert ra_detection(values, mask, 0.005)[1] == pytest.approx(2 / 3)


def test_threshold_search_on_healthy_maps() -> None:
    rng = np.random.default_rng(0)
    healthy = [rng.random((64, 64)), rng.random((32, 100)) * 0.5]
    found = ra_threshold(healthy)
    tried = np.linspace(0, 1, 1000)
    share = [np.mean([(values > t).mean() for values in healthy]) for t in tried]
    assert found == tried[np.argmax(np.array(share) <= 0.05)]
    assert ra_threshold(healthy, rate=0.01) > found
    assert ra_threshold([np.zeros((4, 4))]) == 0
    with pytest.raises(UsageError, match="highest"):
        ra_threshold([np.full((4, 4), 3.0)])
    assert 2.9 < ra_threshold([np.full((4, 4), 3.0)], highest=4) < 3.1
    with pytest.raises(UsageError, match="healthy"):
        ra_threshold([])
