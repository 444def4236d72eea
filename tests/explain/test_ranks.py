from __future__ import annotations

import numpy as np
import pytest

from unremarkable.errors import UsageError
from unremarkable.explain.ranks import cliques, critical_difference_figure, rank_figure
from unremarkable.explain.style import svg

NAMES = ["d", "a", "c", "b"]
RANKS = [3.9, 1.2, 2.8, 2.1]


def test_cliques_by_hand() -> None:
    ordered = np.array([1.2, 2.1, 2.8, 3.9])
    assert cliques(ordered, 1.0) == [(0, 1), (1, 2)]
    assert cliques(ordered, 1.7) == [(0, 2), (2, 3)]
    assert cliques(ordered, 1.8) == [(0, 2), (1, 3)]
    assert cliques(ordered, 3.0) == [(0, 3)]
    assert cliques(ordered, 0.5) == []
    assert cliques(np.array([2.0, 2.0]), 0.0) == [(0, 1)]


def test_a_diagram_names_every_method_with_its_rank_and_joins_what_cannot_be_told_apart() -> None:
    axes = critical_difference_figure(NAMES, RANKS, 1.0).axes[0]
    words = [text.get_text() for text in axes.texts]
    for text in ("a  1.20", "b  2.10", "2.80  c", "3.90  d", "CD 1.00"):
        assert text in words
    assert sum(line.get_linewidth() == 4 for line in axes.get_lines()) == 2
    without = critical_difference_figure(NAMES, RANKS, None).axes[0]
    assert not any(line.get_linewidth() == 4 for line in without.get_lines())
    assert not any("CD" in text.get_text() for text in without.texts)


@pytest.mark.parametrize("count", [2, 3, 15])
def test_no_two_labels_overlap(count: int) -> None:
    figure = critical_difference_figure(
        [f"a rather long name {i}" for i in range(count)], list(range(1, count + 1)), 1.0
    )
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 + 1 for box in boxes)


def test_the_rank_plot_has_the_best_on_top_and_half_the_difference_to_either_side() -> None:
    axes = rank_figure(NAMES, RANKS, 1.0).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "d"]
    spans = [line.get_xdata() for line in axes.get_lines() if len(line.get_xdata()) == 2]
    assert np.allclose([(s[0] + s[1]) / 2 for s in spans], [1.2, 2.1, 2.8, 3.9])
    assert np.allclose([s[1] - s[0] for s in spans], 1.0)


@pytest.mark.parametrize("make", [critical_difference_figure, rank_figure])
def test_ties_and_what_cannot_be_compared(make: object) -> None:
    svg(make(["a", "b"], [1.5, 1.5], 3.0), "ranks")  # type: ignore[operator]
    for names, ranks in ((["a"], [1.0]), (["a", "b"], [1.0])):
        with pytest.raises(UsageError, match="at least two methods"):
            make(names, ranks, 1.0)  # type: ignore[operator]
