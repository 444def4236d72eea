from __future__ import annotations

import numpy as np
import pytest

from unremarkable.errors import UsageError
from unremarkable.scoring.reduction import REDUCTIONS, reduce_map, smooth


@pytest.fixture
def maps() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(5, 13, 17)).astype(np.float32)


def test_reductions_are_what_they_say(maps: np.ndarray) -> None:
    rows = np.sort(maps.reshape(5, -1), axis=1)[:, ::-1].astype(np.float64)
    assert np.array_equal(reduce_map(maps, "max"), rows[:, 0])
    assert reduce_map(maps, "mean") == pytest.approx(rows.mean(axis=1), abs=1e-12)
    assert reduce_map(maps, "top1") == pytest.approx(rows[:, :2].mean(axis=1), abs=1e-12)
    assert reduce_map(maps, "top10") == pytest.approx(rows[:, :22].mean(axis=1), abs=1e-12)


@pytest.mark.parametrize("how", REDUCTIONS)
def test_a_score_depends_on_its_own_map_only_and_not_on_where_the_pixels_lie(maps: np.ndarray, how: str) -> None:
    together = reduce_map(maps, how)
    alone = np.concatenate([reduce_map(maps[i : i + 1], how) for i in range(5)])
    assert np.array_equal(together, alone)
    moved = np.random.default_rng(1).permuted(maps.reshape(5, -1), axis=1).reshape(maps.shape)
    assert reduce_map(moved, how) == pytest.approx(together, abs=1e-12)


@pytest.mark.parametrize("how", REDUCTIONS)
def test_small_constant_and_empty(how: str) -> None:
    assert reduce_map(np.full((2, 1, 1), 3.5, np.float32), how).tolist() == [3.5, 3.5]
    assert reduce_map(np.full((1, 9, 9), 0.25), how) == [0.25]
    assert reduce_map(np.empty((0, 4, 4)), how).shape == (0,)


@pytest.mark.parametrize("how", REDUCTIONS)
def test_nan_spoils_its_own_map_only(maps: np.ndarray, how: str) -> None:
    maps[2, 3, 4] = np.nan
    assert np.isnan(reduce_map(maps, how)).tolist() == [False, False, True, False, False]
    assert np.isnan(reduce_map(smooth(maps, 1.5), how)).tolist() == [False, False, True, False, False]


def test_wrong_requests(maps: np.ndarray) -> None:
    with pytest.raises(UsageError, match="did you mean 'top10'"):
        reduce_map(maps, "top-10")
    with pytest.raises(UsageError, match="shape"):
        reduce_map(maps[0], "max")
    with pytest.raises(UsageError, match="shape"):
        reduce_map(np.empty((2, 0, 4)), "max")
    for sigma in (-1, np.nan, np.inf):
        with pytest.raises(UsageError, match="smoothing"):
            smooth(maps, sigma)


def test_smoothing_is_a_gaussian_of_that_width_within_each_map() -> None:
    maps = np.zeros((2, 61, 61))
    maps[0, 30, 30] = 1
    result = smooth(maps, 3)
    assert result[1].max() == 0
    assert result[0].sum() == pytest.approx(1)
    offset = np.arange(-30, 31)
    for axis in (0, 1):
        assert (result[0].sum(axis=axis) * offset**2).sum() == pytest.approx(9, rel=0.01)
    assert smooth(np.full((1, 5, 5), 2.0), 4) == pytest.approx(2)
    assert smooth(maps, 0) is maps
