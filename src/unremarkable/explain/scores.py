"""Distributions of anomaly scores: histogram, box plots, and the false-alarm rate kept against the one asked for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from unremarkable.explain.style import (
    ABNORMAL,
    HEIGHT,
    INK,
    MUTED,
    NORMAL,
    PERCENT,
    REFERENCE,
    SERIES,
    WIDTH,
    legend,
    name_rows,
    new_axes,
)
from unremarkable.scoring.calibration import Calibration

Floats = NDArray[np.float64]


def score_figure(
    scores: ArrayLike, labels: ArrayLike | None, calibration: ArrayLike | None, threshold: float | None
) -> Figure:
    """Distribution of the scores: normal, abnormal (or all, unlabelled) and calibration normals, with the threshold.

    Heights are shares of each group, so that groups of any size compare. Cases beyond the axis count in its last bar.
    """
    values = np.asarray(scores, dtype=np.float64)
    figure, axes = new_axes("Anomaly score", "Share of the group per bar")
    everything = values if calibration is None else np.concatenate([values, np.asarray(calibration)])
    low, high = _usual_range(everything, threshold)
    edges = np.linspace(low, high if high > low else low + max(abs(low), 1.0) * 1e-3, 41)
    if labels is None:
        _bars(axes, values, edges, NORMAL, f"scored ({len(values)})")
    else:
        abnormal = np.asarray(labels, dtype=bool)
        _bars(axes, values[~abnormal], edges, NORMAL, f"normal ({(~abnormal).sum()})")
        _bars(axes, values[abnormal], edges, ABNORMAL, f"abnormal ({abnormal.sum()})")
    if calibration is not None and len(np.asarray(calibration)):
        held_out = np.asarray(calibration)
        heights, _ = np.histogram(held_out.clip(edges[0], edges[-1]), edges)
        axes.stairs(heights / len(held_out), edges, color=INK, linewidth=1.2, label=f"calibration ({len(held_out)})")
    if threshold is not None:
        axes.axvline(threshold, color=INK, linewidth=1.4, linestyle=(0, (5, 3)), label="threshold")
    _say_beyond(axes, values, high)
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PERCENT)
    axes.set_ylim(bottom=0)
    legend(axes, "best")
    return figure


def box_figure(groups: Mapping[str, Mapping[str, ArrayLike]], quantity: str = "Anomaly score") -> Figure:
    """Box plots, one row a name, within it one box a series: the form of Fig. 6 of the Hetero-AE paper.

    Boxes are quartiles with the median, whiskers reach to the last value within 1.5 times the box, dots are beyond.

    Args:
        groups: `{row: {series: values (N,)}}`; the series "normal" and "abnormal" have the house's colours, as in
            `{"hybrid decoder": {"normal": ..., "abnormal": ...}, ...}`. Empty values leave their place empty.
        quantity: label of the axis.
    """
    series = list(dict.fromkeys(name for row in groups.values() for name in row))
    colours = {"normal": NORMAL, "abnormal": ABNORMAL}
    spare = iter([colour for colour in SERIES if colour not in (NORMAL, ABNORMAL)] * len(series))
    boxes = sum(len(row) for row in groups.values())
    figure, axes = new_axes(quantity, "", WIDTH, max(HEIGHT / 2, 1.1 + 0.3 * boxes + 0.12 * len(groups)))
    drawn = [np.asarray(values, dtype=np.float64) for row in groups.values() for values in row.values()]
    everything = np.concatenate([np.empty(0), *drawn])
    shown: dict[str, str] = {name: colours.get(name) or next(spare) for name in series}
    for place, row in enumerate(groups.values()):
        height = 0.8 / max(len(row), 1)
        for index, (name, values) in enumerate(row.items()):
            if not len(np.asarray(values)):
                continue
            axes.boxplot(
                np.asarray(values, dtype=np.float64),
                positions=[place - 0.4 + height * (index + 0.5)],
                widths=height * 0.72,
                orientation="horizontal",
                patch_artist=True,
                manage_ticks=False,
                boxprops={"facecolor": shown[name], "alpha": 0.35, "edgecolor": shown[name]},
                medianprops={"color": shown[name], "linewidth": 2.2},
                whiskerprops={"color": shown[name]},
                capprops={"color": shown[name]},
                flierprops={"marker": ".", "markersize": 4, "markerfacecolor": shown[name], "markeredgecolor": "none"},
            )
    name_rows(axes, list(groups))
    if len(everything):
        low, high = _usual_range(everything, None)
        if high < everything.max():
            margin = 0.03 * (high - low)
            axes.set_xlim(low - margin, high + margin)
            _say_beyond(axes, everything, high)
    if len(series) > 1 and any(len(row) > 1 for row in groups.values()):
        from matplotlib.patches import Patch

        handles = [Patch(facecolor=shown[name], alpha=0.5, label=name) for name in series]
        legend(axes, "lower center", handles=handles, ncols=len(series), bbox_to_anchor=(0.5, 1.0))
    return figure


def false_alarm_figure(p_values: ArrayLike, calibration: Calibration | None, upto: float = 0.2) -> Figure:
    """Share of test normals that each requested rate flags, against that rate; `p_values` are those of test normals.

    The band is `chance_band`: what to expect of test normals that are like the calibration normals.
    """
    ordered = np.sort(np.asarray(p_values, dtype=np.float64))
    figure, axes = new_axes("False-alarm rate asked for", "Test normals flagged")
    rates = np.linspace(0, upto, 101)
    if calibration is not None:
        low, high = chance_band(np.floor(rates * (len(calibration) + 1) + 1e-9), len(calibration), len(ordered))
        axes.fill_between(
            rates, low, high, step="mid", color=MUTED, alpha=0.22, linewidth=0, label="expected by chance (95 %)"
        )
    axes.plot([0, upto], [0, upto], color=MUTED, linewidth=1, linestyle=REFERENCE, label="as asked")
    shares = np.searchsorted(ordered, rates * (1 + 1e-12), side="right") / len(ordered)
    axes.step(rates, shares, where="post", color=NORMAL, linewidth=2.2, label=f"observed ({len(ordered)} normals)")
    axes.set_xlim(0, upto)
    axes.set_ylim(0, max(2 * upto, float(shares.max()) * 1.05))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(PERCENT)
    legend(axes, "upper left")
    return figure


def chance_band(allowed: Floats, n: int, m: int) -> tuple[Floats, Floats]:
    """Shares of m test normals between which 95 % of chance's results lie, by `allowed`, l = floor(rate (n + 1)).

    For test normals exchangeable with n calibration normals the number flagged is beta-binomial (m, l, n + 1 − l).
    """
    from scipy.special import betaln

    k = np.arange(m + 1)
    different, place = np.unique(allowed, return_inverse=True)
    some = np.maximum(different, 1)[:, None]
    log = betaln(k + some, m - k + n + 1 - some) - betaln(some, n + 1 - some) - betaln(k + 1, m - k + 1) - np.log(m + 1)
    below = np.cumsum(np.exp(log), axis=1)
    bounds = [np.where(different < 1, 0, (below < tail).sum(axis=1)) / m for tail in (0.025, 0.975)]
    return bounds[0][place], bounds[1][place]


def _usual_range(values: Floats, threshold: float | None) -> tuple[float, float]:
    """From the lowest to the highest, or to the 99th percentile where the rest is so far out that it would squeeze."""
    low, high = float(values.min()), float(values.max())
    usual = float(np.quantile(values, 0.99))
    far_out = high - usual > usual - low > 0 and (threshold is None or threshold < usual)
    return low, usual if far_out else high


def _say_beyond(axes: Axes, values: Floats, high: float) -> None:
    beyond = int((values > high).sum())
    if beyond:
        axes.annotate(
            f"{beyond} beyond, up to {values.max():.3g} →",
            (0.99, 0.5),
            xycoords="axes fraction",
            ha="right",
            color=MUTED,
            fontsize=9,
        )


def _bars(axes: Axes, values: Floats, edges: Floats, colour: str, label: str) -> None:
    if not len(values):
        return
    heights, _ = np.histogram(values.clip(edges[0], edges[-1]), edges)
    axes.stairs(heights / len(values), edges, fill=True, color=colour, alpha=0.35, linewidth=0)
    axes.stairs(heights / len(values), edges, color=colour, linewidth=1.6, label=label)
