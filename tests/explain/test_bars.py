from __future__ import annotations

from itertools import pairwise

import pytest

from unremarkable.errors import UsageError
from unremarkable.evaluation.intervals import Interval
from unremarkable.explain.bars import confusion_figure, interval_figure
from unremarkable.explain.style import svg


def test_a_bar_a_metric_with_its_interval_and_undefined_ones_say_so() -> None:
    sensitivity = [Interval(0.8, 0.7, 0.9), Interval(None, None, None, "needs abnormal cases")]
    specificity = [Interval(0.9, None, None, "no interval asked for"), Interval(1.0, 0.9, 1.0)]
    axes = interval_figure(["a", "b"], {"sensitivity": sensitivity, "specificity": specificity}).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.8, 0.0, 0.9, 1.0]
    assert [text.get_text() for text in axes.texts] == ["undefined"]
    spans = [line.get_xdata().tolist() for line in axes.get_lines() if len(line.get_xdata()) == 2]
    assert spans == [[0.7, 0.9], [0.9, 1.0]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["sensitivity", "specificity"]
    # No two bars of one figure lie on one another.
    rows = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bar in axes.patches)
    assert all(first[1] <= second[0] for first, second in pairwise(rows))


@pytest.mark.parametrize(("names", "count"), [(["a"], 2), ([], 0)])
def test_bars_need_a_value_each(names: list[str], count: int) -> None:
    with pytest.raises(UsageError, match="one value of each metric"):
        interval_figure(names, {"auroc": [Interval(0.5, None, None)] * count})


def test_confusion_matrix() -> None:
    axes = confusion_figure({"tp": 8, "fn": 2, "fp": 1, "tn": 19}).axes[0]
    words = [text.get_text() for text in axes.texts]
    assert words == ["8", "found, 80.0 %", "2", "missed, 20.0 %", "1", "false alarms, 5.0 %", "19", "passed, 95.0 %"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["abnormal\n(10)", "normal\n(20)"]


def test_confusion_matrix_of_one_class() -> None:
    figure = confusion_figure({"tp": 0, "fn": 0, "fp": 1, "tn": 1})
    assert sum(text.get_text() == "none of this class" for text in figure.axes[0].texts) == 2
    svg(figure, "confusion")
