"""Average ranks of methods over data sets: critical-difference diagram and rank plot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unremarkable.errors import UsageError
from unremarkable.explain.style import INK, LINE, MUTED, NORMAL, WIDTH, name_rows, new_axes, new_figure, shortened


def critical_difference_figure(names: Sequence[str], ranks: Sequence[float], cd: float | None) -> Figure:
    """Critical-difference diagram (Demšar, JMLR 7, 2006, Fig. 1): a bar joins methods that the test cannot tell apart.

    Args:
        names: of the methods.
        ranks: average rank of each over the data sets, 1 best.
        cd: critical difference of the Nemenyi test; None draws the ranks without bars.

    Raises:
        UsageError: fewer than two methods, or another number of ranks.
    """
    order = _order(names, ranks)
    ordered = np.asarray(ranks, dtype=np.float64)[order]
    k = len(order)
    half = (k + 1) // 2
    bars = [] if cd is None else cliques(ordered, cd)
    # Names stand on both sides; what they leave is for the ranks.
    longest = max(len(shortened(name)) for name in names)
    figure = new_figure(max(WIDTH + 0.6, 3.2 + 0.17 * longest), 1.0 + 0.16 * len(bars) + 0.26 * half)
    axes = figure.add_subplot()
    axes.set_axis_off()
    first = 0.9 + 0.42 * len(bars)
    axes.plot([1, k], [0, 0], color=INK, linewidth=1.4)
    for tick in range(1, k + 1):
        axes.plot([tick, tick], [-0.16, 0], color=INK, linewidth=1.2)
        if (tick - 1) % -(-k // 6) == 0:
            axes.text(tick, -0.26, str(tick), ha="center", va="bottom", color=MUTED, fontsize=9.5)
    # A margin in ranks for the names: about 40 % of the figure on either side is text.
    reach = 0.12 * (k - 1)
    for place, (index, rank) in enumerate(zip(order, ordered, strict=True)):
        left = place < half
        y = first + 0.62 * (place if left else k - 1 - place)
        end = 1 - reach if left else k + reach
        axes.plot([rank, rank, end], [0, y, y], color=NORMAL, linewidth=1.2, solid_joinstyle="round")
        text = f"{shortened(names[index])}  {rank:.2f}" if left else f"{rank:.2f}  {shortened(names[index])}"
        axes.text(
            end - 0.02 * k if left else end + 0.02 * k,
            y,
            text,
            ha="right" if left else "left",
            va="center",
            color=INK,
            fontsize=10,
        )
    for level, (low, high) in enumerate(bars):
        y = 0.38 + 0.42 * level
        axes.plot([ordered[low] - 0.02 * k, ordered[high] + 0.02 * k], [y, y], color=INK, linewidth=4)
    if cd is not None:
        _scale(axes, cd, k)
    axes.set_ylim(first + 0.62 * half - 0.2, -1.75)
    return figure


def rank_figure(names: Sequence[str], ranks: Sequence[float], cd: float | None) -> Figure:
    """Average rank of each method, best on top, with half the critical difference to either side (Nemenyi).

    Two methods differ where their lines do not overlap. Arguments and errors as `critical_difference_figure`.
    """
    order = _order(names, ranks)
    figure, axes = new_axes("Average rank (1 = best)", "", WIDTH, 1.0 + 0.3 * len(order))
    ordered = np.asarray(ranks, dtype=np.float64)[order]
    places = np.arange(len(order))
    if cd is not None:
        axes.axvspan(ordered[0] - cd / 2, ordered[0] + cd / 2, color=LINE, alpha=0.5, linewidth=0)
        for place, rank in zip(places, ordered, strict=True):
            axes.plot([rank - cd / 2, rank + cd / 2], [place, place], color=NORMAL, linewidth=2.2)
    axes.plot(ordered, places, marker="o", markersize=7, color=NORMAL, linestyle="none")
    for place, rank in zip(places, ordered, strict=True):
        axes.annotate(f"{rank:.2f}", (rank, place), (0, 6), textcoords="offset points", ha="center", fontsize=9)
    name_rows(axes, [names[index] for index in order])
    axes.set_xticks(range(1, len(order) + 1))
    return figure


def cliques(ordered: NDArray[np.float64], cd: float) -> list[tuple[int, int]]:
    """First and last index of each longest run of ascending ranks that lie within `cd`; runs of one are left out."""
    ends = np.searchsorted(ordered, ordered + cd, side="right") - 1
    return [
        (start, int(end)) for start, end in enumerate(ends) if end > start and (start == 0 or end > ends[start - 1])
    ]


def _order(names: Sequence[str], ranks: Sequence[float]) -> list[int]:
    if len(names) < 2 or len(ranks) != len(names):
        raise UsageError(f"ranks compare at least two methods, with one rank for each; got {len(names)}, {len(ranks)}")
    return [int(index) for index in np.argsort(np.asarray(ranks, dtype=np.float64), kind="stable")]


def _scale(axes: Axes, cd: float, k: int) -> None:
    """The critical difference as a length, above the axis; a longer one than the axis is cut."""
    length = min(cd, k - 1)
    axes.plot([1, 1 + length], [-1.05, -1.05], color=INK, linewidth=1.4)
    for end in (1, 1 + length):
        axes.plot([end, end], [-1.15, -0.95], color=INK, linewidth=1.4)
    axes.text(1 + length / 2, -1.15, f"CD {cd:.2f}", ha="center", va="bottom", color=INK, fontsize=9.5)
