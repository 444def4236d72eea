from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import betabinom

from unremarkable.explain.scores import box_figure, chance_band, false_alarm_figure, score_figure
from unremarkable.explain.style import svg
from unremarkable.scoring.calibration import Calibration

LABELS = np.repeat([0, 1], 50)
SCORES = np.random.default_rng(0).normal(size=100) + LABELS
CALIBRATION = Calibration.from_normals(np.random.default_rng(1).normal(size=60))


def _legend(axes: object) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]  # type: ignore[attr-defined]


def test_the_histogram_names_every_group_and_its_heights_are_shares() -> None:
    axes = score_figure(SCORES, LABELS, CALIBRATION.scores, 1.0).axes[0]
    assert _legend(axes) == ["normal (50)", "abnormal (50)", "calibration (60)", "threshold"]
    outlines = {patch.get_label(): patch for patch in axes.patches}
    for name in ("normal (50)", "abnormal (50)", "calibration (60)"):
        assert outlines[name].get_data().values.sum() == pytest.approx(1)


def test_scores_far_out_do_not_squeeze_the_rest() -> None:
    axes = score_figure(np.append(SCORES, 1e6), None, None, None).axes[0]
    assert axes.get_xlim()[1] < 10
    assert any("1 beyond" in text.get_text() for text in axes.texts)


@pytest.mark.parametrize("scores", [[0.0], [3.0, 3.0], [-1e-300, 1e-300], [1e300, 1e300]])
def test_constant_and_extreme_scores_can_be_drawn(scores: list[float]) -> None:
    svg(score_figure(scores, None, None, scores[0]), "scores")
    svg(box_figure({"a": {"normal": scores}}), "boxes")


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only(label: int) -> None:
    axes = score_figure([1.0, 2.0], [label] * 2, None, None).axes[0]
    assert _legend(axes) == [("normal (2)", "abnormal (2)")[label]]


def test_boxes_have_the_quartiles_and_empty_groups_keep_their_row() -> None:
    normal, abnormal = SCORES[:50], SCORES[50:]
    figure = box_figure({"a": {"normal": normal, "abnormal": abnormal}, "b": {"normal": [], "abnormal": [1.0]}}, "x")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.get_xlabel() == "x"
    boxes = [patch.get_path().vertices[:, 0] for patch in axes.patches]
    assert len(boxes) == 3
    assert [boxes[0].min(), boxes[0].max()] == pytest.approx(np.quantile(normal, (0.25, 0.75)))
    medians = [line.get_xdata()[0] for line in axes.get_lines() if line.get_linewidth() == 2.2]
    assert medians == pytest.approx([np.median(normal), np.median(abnormal), 1.0])


def test_boxes_without_any_value() -> None:
    svg(box_figure({"a": {"normal": []}}), "boxes")


def test_false_alarms_are_counted_at_each_rate() -> None:
    p_values = np.array([0.01, 0.03, 0.5, 1.0])
    for calibration in (CALIBRATION, None):
        axes = false_alarm_figure(p_values, calibration).axes[0]
        observed = next(line for line in axes.get_lines() if "observed (4" in str(line.get_label()))
        shares = dict(zip(np.round(observed.get_xdata(), 4), observed.get_ydata(), strict=True))
        assert [shares[rate] for rate in (0.008, 0.01, 0.03, 0.2)] == [0, 0.25, 0.5, 0.5]
        assert len(axes.collections) == (calibration is not None)


def test_the_chance_band_is_that_of_the_beta_binomial_law() -> None:
    for n, m in ((19, 7), (99, 250), (1000, 40)):
        allowed = np.array([0, 1, 1, 2, n // 5, n])
        low, high = chance_band(allowed.astype(float), n, m)
        assert (low[0], high[0]) == (0, 0)
        law = betabinom(m, allowed[1:], n + 1 - allowed[1:])
        assert low[1:] == pytest.approx(law.ppf(0.025) / m)
        assert high[1:] == pytest.approx(law.ppf(0.975) / m)


def test_few_normals_leave_the_chance_band() -> None:
    rng = np.random.default_rng(0)
    low, high = (bound[0] for bound in chance_band(np.array([10.0]), 99, 80))
    outside = 0
    for _ in range(500):
        p_values = Calibration.from_normals(rng.normal(size=99)).p_values(rng.normal(size=80))
        outside += not low <= (p_values <= 0.1).mean() <= high
    assert outside < 0.08 * 500
