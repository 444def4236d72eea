"""Pixel metrics of whole sets: pooled and per image, at a threshold, with intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, jaccard_score, precision_recall_curve, roc_auc_score

from unremarkable.errors import UsageError
from unremarkable.evaluation.areas import area_under_roc
from unremarkable.evaluation.case_weights import case_weights
from unremarkable.evaluation.levels import LabelledMap, count_pixels, levels_of
from unremarkable.evaluation.pixel_cases import count_cases
from unremarkable.evaluation.pixels import ON_TEST_LABELS, pixel_metrics


def a_set(seed: int = 0, normals: int = 3, abnormals: int = 5, side: int = 24) -> list[LabelledMap]:
    rng = np.random.default_rng(seed)
    cases = []
    for index in range(normals + abnormals):
        mask = np.zeros((side, side + 3), bool)
        if index >= normals:
            mask[2 : 2 + rng.integers(3, side // 2), 3 : 3 + rng.integers(3, side // 2)] = True
        values = (rng.gamma(2, size=mask.shape) + mask * rng.random() * 2).astype(np.float32)
        cases.append(LabelledMap(values, mask, name=f"case {index}"))
    return cases


def pooled(cases: list[LabelledMap]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([c.mask.ravel() for c in cases]), np.concatenate([c.values.ravel() for c in cases])


def values_of(cases: list[LabelledMap], threshold: float | None = None) -> dict[str, float | None]:
    return {name: one.value for name, one in pixel_metrics(cases, threshold, replicates=0).metrics.items()}


def test_pooled_and_per_image_against_scikit_learn() -> None:
    cases = a_set()
    found = values_of(cases, threshold=2.5)
    marked, values = pooled(cases)
    assert found["auroc"] == pytest.approx(roc_auc_score(marked, values))
    assert found["auprc"] == pytest.approx(average_precision_score(marked, values))
    assert found["dice"] == pytest.approx(f1_score(marked, values > 2.5))
    assert found["iou"] == pytest.approx(jaccard_score(marked, values > 2.5))
    precision, recall, _ = precision_recall_curve(marked, values)
    assert found["best_dice"] == pytest.approx((2 * precision * recall / (precision + recall + 1e-300)).max())
    abnormal = [case for case in cases if case.abnormal]
    each: dict[str, Callable[[LabelledMap], float]] = {
        "auroc_per_image": lambda c: roc_auc_score(c.mask.ravel(), c.values.ravel()),
        "auprc_per_image": lambda c: average_precision_score(c.mask.ravel(), c.values.ravel()),
        "dice_per_image": lambda c: f1_score(c.mask.ravel(), c.values.ravel() > 2.5),
        "iou_per_image": lambda c: jaccard_score(c.mask.ravel(), c.values.ravel() > 2.5),
    }
    for name, measure in each.items():
        assert found[name] == pytest.approx(np.mean([measure(case) for case in abnormal])), name
    normal = [case for case in cases if not case.abnormal]
    assert found["normal_area_flagged"] == pytest.approx(np.mean([(case.values > 2.5).mean() for case in normal]))


def test_pooled_and_per_image_differ_where_cases_are_on_different_scales() -> None:
    """Each map separates its own lesion perfectly; one scale for all does not."""
    mask = np.zeros((10, 10), bool)
    mask[:5] = True
    cases = [LabelledMap(mask * 1.0 + shift, mask, str(shift)) for shift in (0, 10)]
    found = values_of(cases)
    assert found["auroc_per_image"] == 1
    assert found["auroc"] == 0.75
    assert found["best_dice_per_image"] == pytest.approx((1 + 2 / 3) / 2)  # all of the second is flagged


def test_micro_dice_follows_the_large_lesion_and_macro_does_not() -> None:
    large, small = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    large[:10], small[0, 0] = True, True
    cases = [LabelledMap(large * 1.0, large, "a"), LabelledMap(small * 0.0, small, "b")]
    found = values_of(cases, threshold=0.5)
    assert found["dice"] == pytest.approx(400 / 401)
    assert found["dice_per_image"] == 0.5


def test_best_thresholds_give_what_is_promised_of_them() -> None:
    cases = a_set(1)
    best = pixel_metrics(cases, replicates=0)
    marked, values = pooled(cases)
    assert set(best.thresholds) == set(ON_TEST_LABELS)
    assert best.metrics["best_dice"].value == pytest.approx(f1_score(marked, values > best.thresholds["best_dice"]))
    assert best.metrics["best_iou"].value == pytest.approx(jaccard_score(marked, values > best.thresholds["best_iou"]))
    again = values_of(cases, best.thresholds["best_dice_per_image"])
    assert again["dice_per_image"] == pytest.approx(best.metrics["best_dice_per_image"].value)
    again = values_of(cases, best.thresholds["best_iou_per_image"])
    assert again["iou_per_image"] == pytest.approx(best.metrics["best_iou_per_image"].value)


def test_many_pixels_cost_no_more_than_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = a_set(2)
    exact = pixel_metrics(cases, 2.5, replicates=0)
    # Every distinct value has a step: only true ties, of which gamma variates have none, could be hidden.
    assert exact.auroc_error == 0
    monkeypatch.setattr("unremarkable.evaluation.levels.STEPS", 256)
    rough = pixel_metrics(cases, 2.5, replicates=0)
    assert 0 < abs(rough.metrics["auroc"].value - exact.metrics["auroc"].value) <= rough.auroc_error < 0.02
    for name, one in exact.metrics.items():
        if one.value is not None:
            assert rough.metrics[name].value == pytest.approx(one.value, abs=0.02), name


def test_a_monotone_transform_and_another_order_change_nothing() -> None:
    cases = a_set(3)
    plain = pixel_metrics(cases, replicates=100)
    moved = [LabelledMap(np.exp(case.values) * 3 - 7, case.mask, case.name) for case in reversed(cases)]
    for name, one in pixel_metrics(moved, replicates=100).metrics.items():
        expected = plain.metrics[name]
        for side in ("value", "low", "high"):
            assert getattr(one, side) == pytest.approx(getattr(expected, side), abs=1e-4), (name, side)


def test_bins_of_the_resamples_are_fine_enough() -> None:
    cases = a_set(4, normals=6, abnormals=6, side=64)
    levels = levels_of(cases)
    by_case = count_cases(cases, levels, count_pixels(cases, levels), None)
    weights = next(case_weights(by_case.groups, by_case.abnormal, 16, 0))
    binned = by_case.pooled(weights)
    assert binned.positive.shape[1] <= 4096
    areas = area_under_roc(binned.positive, binned.negative)
    for row in range(4):
        drawn = [case for case, count in zip(cases, weights[row], strict=True) for _ in range(int(count))]
        marked, values = pooled(drawn)
        assert areas[row] == pytest.approx(roc_auc_score(marked, values), abs=5e-4)
        assert binned.positive[row].sum() == marked.sum()


def test_intervals_hold_their_values_and_know_patients() -> None:
    cases = a_set(5, normals=8, abnormals=12)
    alone = pixel_metrics(cases, 2.5, replicates=200).metrics
    for name in ("auroc", "auprc", "aupro", "best_dice", "dice_per_image", "iou", "normal_area_flagged"):
        one = alone[name]
        assert one.low < one.value < one.high, name
    # Every image twice: as one patient's it tells nothing new, as another patient's it would.
    copies = [LabelledMap(case.values, case.mask, f"{case.name} {copy}") for copy in (1, 2) for case in cases]
    same = [LabelledMap(case.values, case.mask, case.name, case.name) for case in cases] * 2
    naive, clustered = (pixel_metrics(found, replicates=1000).metrics["auroc"] for found in (copies, same))
    assert naive.value == pytest.approx(clustered.value) == alone["auroc"].value
    assert (clustered.high - clustered.low) / (naive.high - naive.low) == pytest.approx(np.sqrt(2), rel=0.15)


def test_all_normal_all_abnormal_and_one_case() -> None:
    normal = values_of(a_set(normals=3, abnormals=0), 2.5)
    assert [name for name, value in normal.items() if value is not None] == ["normal_area_flagged"]
    reasons = pixel_metrics(a_set(normals=3, abnormals=0), replicates=100).metrics
    assert reasons["auroc"].reason == "needs marked and unmarked pixels"
    full = LabelledMap(np.arange(6.0).reshape(2, 3), np.ones((2, 3), bool), "full")
    found = values_of([full], 1.0)
    assert found["auroc"] is None
    assert found["auroc_per_image"] is None
    assert found["normal_area_flagged"] is None
    assert found["best_dice"] == found["auprc"] == 1
    one = pixel_metrics(a_set(normals=0, abnormals=1), 2.5, replicates=100).metrics["auroc"]
    assert one.value is not None
    assert one.low is None
    with pytest.raises(UsageError):
        pixel_metrics([])


def test_aupimo_says_what_it_lacks() -> None:
    few = pixel_metrics(a_set(), replicates=0).metrics["aupimo"]
    assert few.value is None
    assert "100,000 pixels of normal cases" in str(few.reason)
    normal = np.random.default_rng(0).gamma(2, size=(320, 320))
    many = [*a_set(normals=0), LabelledMap(normal, np.zeros((320, 320), bool))]
    assert 0 <= pixel_metrics(many, replicates=0).metrics["aupimo"].value < 0.2
