from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve
from sklearn.metrics import roc_curve as sklearn_roc

from unremarkable.errors import InputError, UsageError
from unremarkable.evaluation.curves import pr_curve, roc_curve
from unremarkable.evaluation.intervals import Interval
from unremarkable.explain.bands import pr_band, roc_band
from unremarkable.explain.curves import Drawn, froc_figure, pr_figure, roc_figure

LABELS = np.repeat([0, 1], 40)
SCORES = np.random.default_rng(0).normal(size=80).round(1) + LABELS
PATIENTS = [str(i // 2) for i in range(80)]
AREA = Interval(0.7, 0.6, 0.8)


def test_the_roc_band_is_what_resampling_patients_by_hand_gives() -> None:
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(600):
        rows = np.concatenate([2 * p + np.arange(2) for half in (0, 20) for p in half + rng.integers(20, size=20)])
        false, true, _ = sklearn_roc(LABELS[rows], SCORES[rows])
        drawn.append(np.interp(np.linspace(0, 1, 101), false, true))
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    band = roc_band(SCORES, LABELS, PATIENTS, replicates=600)
    assert band.low == pytest.approx(low, abs=0.08)
    assert band.high == pytest.approx(high, abs=0.08)
    assert np.abs(band.low - low).mean() < 0.02
    assert np.abs(band.high - high).mean() < 0.02


def test_the_pr_band_is_what_resampling_by_hand_gives() -> None:
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(600):
        rows = np.concatenate([half + rng.integers(40, size=40) for half in (0, 40)])
        precision, recall, _ = precision_recall_curve(LABELS[rows], SCORES[rows])
        ahead = [precision[:-1][recall[:-1] >= max(x, 1 / 40) - 1e-9][-1] for x in np.linspace(0, 1, 101)]
        drawn.append(ahead)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    band = pr_band(SCORES, LABELS, replicates=600)
    assert np.abs(band.low - low).mean() < 0.03
    assert np.abs(band.high - high).mean() < 0.02


def test_bands_hold_their_curve() -> None:
    curve = roc_curve(SCORES, LABELS)
    band = roc_band(SCORES, LABELS, PATIENTS, replicates=300)
    inside = np.interp(band.x, curve.x, curve.y)
    assert ((band.low <= inside) & (inside <= band.high)).mean() > 0.95


def test_images_of_one_patient_count_as_one() -> None:
    scores, labels = np.repeat(SCORES, 4), np.repeat(LABELS, 4)
    single = roc_band(SCORES, LABELS, replicates=300)
    together = roc_band(scores, labels, [str(i // 4) for i in range(320)], replicates=300)
    apart = roc_band(scores, labels, replicates=300)
    width, alike, narrow = ((band.high - band.low).mean() for band in (single, together, apart))
    assert alike == pytest.approx(width, rel=0.1)
    assert narrow < 0.7 * width


def test_the_order_of_the_cases_changes_no_band() -> None:
    order = np.random.default_rng(3).permutation(80)
    for make in (roc_band, pr_band):
        for groups in (PATIENTS, None):
            shuffled = None if groups is None else [groups[i] for i in order]
            a = make(SCORES, LABELS, groups, replicates=100)
            b = make(SCORES[order], LABELS[order], shuffled, replicates=100)
            assert np.array_equal(a.low, b.low)
            assert np.array_equal(a.high, b.high)


def test_perfect_scores_and_patients_of_both_classes() -> None:
    band = roc_band([0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1], replicates=100)
    assert (band.low == 1).all()
    mixed = roc_band(SCORES, LABELS, [str(i % 5) for i in range(80)], replicates=100)
    assert np.isfinite([mixed.low, mixed.high]).all()


def test_what_has_no_band_says_why() -> None:
    with pytest.raises(UsageError, match="both normal and abnormal"):
        roc_band([1.0, 2.0], [0, 0])
    with pytest.raises(UsageError, match="1 groups for 2 scores"):
        pr_band([1.0, 2.0], [0, 1], ["a"])
    with pytest.raises(InputError):
        roc_band([np.nan, 2.0], [0, 1])


def test_figures_draw_the_curves_bands_and_operating_point() -> None:
    roc = Drawn(roc_curve(SCORES, LABELS), AREA, roc_band(SCORES, LABELS, replicates=100))
    axes = roc_figure({"AUROC": roc}, (0.1, 0.5)).axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert np.array_equal(lines["AUROC 0.700 (0.600–0.800)"].get_xdata(), roc.curve.x)
    assert lines["operating point"].get_xydata().tolist() == [[0.1, 0.5]]
    assert [band.get_label() for band in axes.collections] == ["95 % band"]
    pr = Drawn(pr_curve(SCORES, LABELS), AREA)
    axes = pr_figure({"AUPRC": pr}, 0.5).axes[0]
    assert not axes.collections
    assert "operating point" not in {line.get_label() for line in axes.get_lines()}
    assert "chance 0.50" in {line.get_label() for line in axes.get_lines()}


def test_several_methods_differ_in_colour_and_dash_and_hide_no_band() -> None:
    drawn = Drawn(roc_curve(SCORES, LABELS), AREA, roc_band(SCORES, LABELS, replicates=100))
    axes = roc_figure({f"method {i}": drawn for i in range(12)}).axes[0]
    looks = {(line.get_color(), str(line._unscaled_dash_pattern)) for line in axes.get_lines()[1:]}
    assert len(looks) == 12
    assert not axes.collections
    assert len(roc_figure({f"method {i}": drawn for i in range(3)}).axes[0].collections) == 3


def test_froc_takes_the_best_threshold_for_each_number_of_false_positives() -> None:
    axes = froc_figure([0.0, 0.5, 20.0, 6.0], [0.1, 0.5, 0.3, 0.4]).axes[0]
    line = axes.get_lines()[0]
    assert line.get_xdata().tolist() == [0, 0, 0.5, 6, 20]
    assert line.get_ydata().tolist() == [0, 0.1, 0.5, 0.5, 0.5]
    assert axes.get_xlim()[1] == 8
    froc_figure([], [])
