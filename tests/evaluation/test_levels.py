"""Map values in steps of floating-point order, and the pixels counted in them."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label

from unremarkable.errors import InputError, UsageError
from unremarkable.evaluation.levels import (
    STEPS,
    EqualSteps,
    EveryValue,
    LabelledMap,
    count_pixels,
    levels_of,
    region_shares,
)


@pytest.mark.parametrize(
    "values",
    [
        np.array([0.0, -0.0, 1.0, 2.0, 0.5]),
        np.array([-3.0, -1e-30, 0.0, 1e-30, 7.0]),
        np.array([5.0, 5.0, 5.0]),
        np.random.default_rng(0).normal(size=4000) * 1e6,
        np.geomspace(1e-35, 1e35, 3000),
    ],
)
def test_steps_keep_the_order_of_the_values(values: np.ndarray) -> None:
    values = values.astype(np.float32)
    levels = EqualSteps.spanning(values.min(), values.max())
    steps = levels.index(values)
    assert 1 <= len(levels) <= STEPS
    assert steps.min() == 0
    assert steps.max() == len(levels) - 1
    order = np.argsort(values, kind="stable")
    assert (np.diff(steps[order]) <= 0).all()
    same = np.diff(steps[order]) == 0
    gap, size = np.diff(values[order]), np.abs(values[order][1:])
    assert (gap[same] <= size[same] / 8000 + 1e-36).all()


@pytest.mark.parametrize("exact", [True, False])
def test_a_threshold_is_exceeded_by_exactly_its_steps(exact: bool) -> None:
    values = np.random.default_rng(1).normal(size=5000).astype(np.float32)
    levels = EveryValue(np.unique(values)) if exact else EqualSteps.spanning(values.min(), values.max())
    steps = levels.index(values)
    for step in np.unique(steps)[::97]:
        np.testing.assert_array_equal(values > levels.threshold(int(step)), steps <= step)


def test_many_pixels_are_counted_in_equal_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    cases = [LabelledMap(rng.normal(size=(30, 30)), np.zeros((30, 30), bool)) for _ in range(3)]
    assert isinstance(levels_of(cases), EveryValue)
    monkeypatch.setattr("unremarkable.evaluation.levels.STEPS", 2**11)
    levels = levels_of(cases)
    assert isinstance(levels, EqualSteps)
    assert len(levels) <= 2**11
    assert count_pixels(cases, levels).negative.sum() == 2700


def test_counts_by_hand() -> None:
    values = np.array([[4.0, 3.0], [2.0, 1.0]])
    abnormal = LabelledMap(values, np.array([[True, False], [False, True]]))  # one region, joined by a corner
    normal = LabelledMap(np.array([[3.0, 1.0, 1.0, 1.0, 1.0]]), np.zeros((1, 5), bool))
    cases = [abnormal, normal]
    levels = levels_of(cases)
    counts = count_pixels(cases, levels)
    steps = levels.index(np.array([4.0, 3.0, 2.0, 1.0]))
    np.testing.assert_allclose(counts.positive[steps], [1, 0, 0, 1])
    np.testing.assert_allclose(counts.negative[steps], [0, 2, 1, 4])
    np.testing.assert_allclose(counts.region[steps], [0.5, 0, 0, 0.5])
    np.testing.assert_allclose(counts.image[steps], [0.5, 0, 0, 0.5])
    np.testing.assert_allclose(counts.normal[steps], [0, 0.2, 0, 0.8])
    assert counts.normal_pixels == 5
    assert counts.positive.sum() + counts.negative.sum() == 9


def test_regions_are_those_of_scikit_image() -> None:
    mask = np.random.default_rng(2).random((40, 50)) < 0.3
    numbered = label(mask, connectivity=2)
    sizes = np.bincount(numbered.ravel())
    np.testing.assert_allclose(region_shares(mask), np.where(mask, 1 / sizes[numbered], 0))
    assert region_shares(mask).sum() == pytest.approx(numbered.max())


def test_what_cannot_be_measured_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"scan 7: .*not finite"):
        LabelledMap(np.array([[np.nan]]), np.array([[False]]), "scan 7")
    with pytest.raises(InputError, match="scan 7"):
        LabelledMap(np.zeros((2, 2)), np.zeros((2, 3), bool), "scan 7")
    with pytest.raises(UsageError, match="at least one"):
        levels_of([])
