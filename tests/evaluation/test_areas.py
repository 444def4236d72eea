"""Areas under pixel curves, by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, f1_score, jaccard_score, roc_auc_score, roc_curve

from unremarkable.evaluation.areas import (
    area_under_pimo,
    area_under_pro,
    area_under_roc,
    average_precision,
    curve_metrics,
    dice_and_iou,
)
from unremarkable.evaluation.levels import LabelledMap, PixelCounts, count_pixels, levels_of


def counted(*cases: tuple[np.ndarray, np.ndarray]) -> PixelCounts:
    maps = [LabelledMap(values, mask) for values, mask in cases]
    return count_pixels(maps, levels_of(maps))


def random_set(seed: int, ties: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    cases = []
    for _ in range(4):
        mask = np.zeros((20, 30), bool)
        mask[4 : 4 + rng.integers(1, 9), 5 : 5 + rng.integers(1, 20)] = True
        values = rng.normal(size=mask.shape) + mask
        cases.append((np.round(values) if ties else values, mask))
    return cases


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_against_scikit_learn(seed: int, ties: bool) -> None:
    cases = random_set(seed, ties)
    counts = counted(*cases)
    values, marked = np.concatenate([v.ravel() for v, _ in cases]), np.concatenate([m.ravel() for _, m in cases])
    assert area_under_roc(counts.positive, counts.negative) == pytest.approx(roc_auc_score(marked, values))
    expected = average_precision_score(marked, values)
    assert average_precision(counts.positive, counts.negative) == pytest.approx(expected)
    dice, overlap = dice_and_iou(counts)
    best = np.sort(values)[::-1][int(np.argmax(_dice_by_rank(values, marked)))]
    assert dice.max() == pytest.approx(f1_score(marked, values >= best))
    assert overlap.max() == pytest.approx(jaccard_score(marked, values >= best))


def _dice_by_rank(values: np.ndarray, marked: np.ndarray) -> np.ndarray:
    order = np.argsort(-values, kind="stable")
    dice = 2 * np.cumsum(marked[order]) / (np.arange(1, len(order) + 1) + marked.sum())
    last = np.append(np.diff(values[order]) != 0, True)
    return np.where(last, dice, 0)


def test_pro_by_hand() -> None:
    """A 4 × 4 map with regions of one and two pixels; ten of thirteen unmarked pixels at the bottom.

    From the top: 9 (one-pixel region: PRO 1/2), 8 (unmarked: rate 1/13), 7 (half of the other region: PRO 3/4),
    6 and 5 (unmarked: rates 2/13, 3/13), 4 (the rest: PRO 1), then ten unmarked pixels at 0.
    """
    values = np.zeros((4, 4))
    mask = np.zeros((4, 4), bool)
    values[0, 0], mask[0, 0] = 9, True
    values[0, 3] = 8
    values[3, 0], mask[3, 0] = 7, True
    values[1, 2] = 6
    values[3, 3] = 5
    values[3, 1], mask[3, 1] = 4, True
    counts = counted((values, mask))
    # Up to rate 1/13: 1/2; up to 3/13 = 0.2308: 3/4; then level at 1 to the limit.
    by_hand = (1 / 13 * 1 / 2 + 2 / 13 * 3 / 4 + (0.3 - 3 / 13) * 1) / 0.3
    assert area_under_pro(counts.region, counts.negative) == pytest.approx(by_hand)
    # The limit inside a slope: all thirteen unmarked pixels level with the two-pixel region, beneath the other one.
    values = np.where(values == 9, 9.0, 0.0)
    counts = counted((values, mask))
    assert area_under_pro(counts.region, counts.negative, 0.3) == pytest.approx(0.5 + 0.5 * 0.3 / 2)
    assert area_under_pro(counts.region, counts.negative, 1.0) == pytest.approx(0.75)


def test_pro_of_one_region_is_the_partial_roc_area() -> None:
    cases = random_set(5, False)[:1]
    counts = counted(*cases)
    rate, recall, _ = roc_curve(cases[0][1].ravel(), cases[0][0].ravel(), drop_intermediate=False)
    at = np.interp(0.3, rate, recall)
    inside = rate <= 0.3
    expected = auc(np.append(rate[inside], 0.3), np.append(recall[inside], at)) / 0.3
    assert area_under_pro(counts.region, counts.negative) == pytest.approx(expected)
    assert area_under_pro(counts.region, counts.negative, 1.0) == pytest.approx(
        roc_auc_score(cases[0][1].ravel(), cases[0][0].ravel())
    )


def test_every_region_counts_alike_whatever_its_size() -> None:
    mask = np.zeros((10, 10), bool)
    mask[0, 0] = True
    mask[4:10, 4:10] = True
    found_small = np.where(mask & (np.arange(100).reshape(10, 10) == 0), 1.0, 0.0)
    found_large = np.where(mask, 1.0, 0.0) - found_small
    small, large = (counted((values, mask)) for values in (found_small, found_large))
    assert area_under_pro(small.region, small.negative) == pytest.approx(area_under_pro(large.region, large.negative))
    assert area_under_roc(small.positive, small.negative) < 0.6 < area_under_roc(large.positive, large.negative)


def test_pimo_by_hand() -> None:
    """Two normal cases; between rates of 0.1 and 1 with the first flagged at 9, 7 and 5 and the second at 6.

    The shared rate is the mean of both cases' own: 0.05 at 9 (one of ten pixels of one case), 0.1 at 7, 0.225 at 6
    (one of four of the other), 0.275 at 5, and 1 at 0. An abnormal case with pixels 10, 8, 6.5 and 1 has a recall of
    1/4 before 0.05, 2/4 before 0.1, 3/4 before 0.225, then 4/4 before 1.
    """
    first, second = np.zeros((1, 10)), np.zeros((1, 4))
    first[0, :3] = 9, 7, 5
    second[0, 0] = 6
    abnormal, mask = np.array([[10, 8, 6.5, 1, 2.0]]), np.array([[True] * 4 + [False]])
    counts = counted((first, first < 0), (second, second < 0), (abnormal, mask))
    expected = (3 / 4 * np.log(0.225 / 0.1) + 3 / 4 * np.log(0.275 / 0.225) + np.log(1 / 0.275)) / np.log(10)
    # 6.5 is above 6 and flagged from 0.1 on; 1 is above 0 and flagged once 5 and all above it may be: from 0.275 on.
    assert area_under_pimo(counts, (0.1, 1.0)) == pytest.approx(expected)
    # Unmarked pixels of abnormal cases play no part.
    moved = counted((first, first < 0), (second, second < 0), (np.array([[10, 8, 6.5, 1, 99.0]]), mask))
    assert area_under_pimo(moved, (0.1, 1.0)) == pytest.approx(expected)
    # Fourteen pixels cannot tell a rate of 0.00001 from 0.
    assert np.isnan(area_under_pimo(counts))


def test_pimo_is_a_mean_over_images() -> None:
    rng = np.random.default_rng(3)
    normal = (rng.normal(size=(50, 50)), np.zeros((50, 50), bool))
    mask = np.ones((10, 10), bool)
    cases = [(rng.normal(size=(10, 10)) + shift, mask) for shift in (1, 2, 3)]
    each = [area_under_pimo(counted(normal, case), (1e-3, 1e-1)) for case in cases]
    assert area_under_pimo(counted(normal, *cases), (1e-3, 1e-1)) == pytest.approx(np.mean(each), abs=1e-4)
    assert each[0] < each[1] < each[2]


def test_constant_maps() -> None:
    mask = np.zeros((400, 400), bool)
    mask[:200] = True
    found = curve_metrics(counted((np.ones((400, 400)), mask), (np.ones((400, 400)), mask & False)))
    assert found["auroc"] == 0.5
    assert found["auprc"] == 0.25
    assert found["aupimo"] == 0
    assert found["aupro"] == pytest.approx(0.15)
    assert found["best_dice"] == pytest.approx(0.4)
    assert found["best_iou"] == pytest.approx(0.25)


def test_all_normal_and_all_abnormal() -> None:
    values = np.random.default_rng(0).normal(size=(20, 20))
    normal = curve_metrics(counted((values, values > 99)))
    assert all(np.isnan(value) for value in normal.values())
    abnormal = curve_metrics(counted((values, values < 99)))
    assert np.isnan(abnormal["auroc"])
    assert np.isnan(abnormal["aupro"])
    assert np.isnan(abnormal["aupimo"])
    assert abnormal["auprc"] == abnormal["best_dice"] == abnormal["best_iou"] == 1


def test_many_replicates_at_once() -> None:
    rows, rng = 8, np.random.default_rng(0)
    columns = ("positive", "negative", "region", "image", "normal")
    table = {name: rng.integers(0, 5, (rows, 40)).astype(float) for name in columns}
    together = curve_metrics(PixelCounts(**table, normal_pixels=10**6))
    for row in range(rows):
        alone = curve_metrics(PixelCounts(**{name: part[row] for name, part in table.items()}, normal_pixels=10**6))
        for name, value in alone.items():
            assert together[name][row] == pytest.approx(float(value))
