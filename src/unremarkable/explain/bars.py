"""Bars with intervals, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from unremarkable.errors import UsageError
from unremarkable.evaluation.intervals import Interval
from unremarkable.explain.style import (
    INK,
    MUTED,
    NORMAL,
    SERIES,
    WIDTH,
    legend,
    name_rows,
    new_axes,
)


def interval_figure(
    names: Sequence[str], metrics: Mapping[str, Sequence[Interval]], x: str = "", upto: float | None = 1.0
) -> Figure:
    """Bars with intervals, one row a name (a method, a finding, a subgroup), within it one bar a metric.

    As Figs. 6 and 7 of the GAN study, with the intervals they lack: `metrics` is
    `{"sensitivity": [...], "specificity": [...]}` with one `Interval` for each of `names`. A value that is undefined
    has no bar and says so. `upto` is the end of the axis; None goes by the data.

    Raises:
        UsageError: a metric has another number of values than there are names, or there are no names.
    """
    if not names or any(len(values) != len(names) for values in metrics.values()):
        raise UsageError("bars need at least one name, and one value of each metric for each name")
    figure, axes = new_axes(x, "", WIDTH, 1.0 + (0.24 * len(metrics) + 0.12) * len(names))
    height = 0.8 / len(metrics)
    for index, (metric, values) in enumerate(metrics.items()):
        colour = SERIES[index % len(SERIES)]
        places = np.arange(len(names)) - 0.4 + height * (index + 0.5)
        lengths = [interval.value or 0.0 for interval in values]
        axes.barh(places, lengths, height * 0.8, color=colour, alpha=0.45, linewidth=0, label=metric)
        for place, interval in zip(places, values, strict=True):
            if interval.value is None:
                axes.text(0.01, place, "undefined", color=MUTED, fontsize=9, va="center")
            elif interval.low is not None and interval.high is not None:
                axes.plot([interval.low, interval.high], [place, place], color=INK, linewidth=1.6)
                axes.plot([interval.value], [place], marker="|", markersize=9, color=INK)
    name_rows(axes, list(names))
    axes.set_xlim(0, upto)
    if len(metrics) > 1:
        legend(axes, "lower center", ncols=len(metrics), bbox_to_anchor=(0.5, 1.0))
    return figure


def confusion_figure(confusion: Mapping[str, int]) -> Figure:
    """Confusion matrix of "tp", "fp", "tn", "fn": counts, and in colour and words the share of each row."""
    rows = [[confusion["tp"], confusion["fn"]], [confusion["fp"], confusion["tn"]]]
    words = [["found", "missed"], ["false alarms", "passed"]]
    figure, axes = new_axes("", "", 3.8, 2.6)
    for y, row in enumerate(rows):
        for x, count in enumerate(row):
            share = count / sum(row) if sum(row) else 0.0
            axes.fill_between([x - 0.49, x + 0.49], y - 0.49, y + 0.49, color=NORMAL, alpha=0.04 + 0.45 * share)
            axes.text(x, y - 0.08, f"{count}", ha="center", va="center", color=INK, fontsize=15, fontweight="bold")
            text = f"{words[y][x]}, {100 * share:.1f} %" if sum(row) else "none of this class"
            axes.text(x, y + 0.24, text, ha="center", va="center", color=INK, fontsize=9)
    axes.set_xticks([0, 1], ["flagged", "not flagged"], color=INK)
    axes.set_yticks([0, 1], [f"abnormal\n({sum(rows[0])})", f"normal\n({sum(rows[1])})"], color=INK)
    axes.set_ylim(1.5, -0.5)
    axes.set_xlim(-0.5, 1.5)
    axes.xaxis.tick_top()
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    return figure
