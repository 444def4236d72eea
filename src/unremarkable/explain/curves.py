"""ROC and precision-recall curves, of one method or of several, with their bands; the FROC curve of lesions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from unremarkable.evaluation.curves import Curve
from unremarkable.evaluation.intervals import Interval
from unremarkable.explain.bands import Band
from unremarkable.explain.style import (
    ABNORMAL,
    DASHES,
    MUTED,
    NORMAL,
    REFERENCE,
    SERIES,
    interval_text,
    legend,
    new_axes,
    shortened,
    unit_square,
)

#: from so many methods on, the bands would hide one another
_CROWD = 4


@dataclass(frozen=True, eq=False)
class Drawn:
    """A curve, the area under it, and its band or None."""

    curve: Curve
    area: Interval
    band: Band | None = None


def roc_figure(curves: Mapping[str, Drawn], point: tuple[float, float] | None = None) -> Figure:
    """ROC curves by name, each with its area in the legend.

    Args:
        curves: the name is what stands before the area; bands are drawn of three curves at most.
        point: the operating point (false-positive rate, sensitivity), marked.
    """
    figure, axes = new_axes("False-positive rate (1 − specificity)", "Sensitivity")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=REFERENCE, label="chance")
    _draw(axes, curves)
    _mark(axes, point)
    unit_square(axes)
    legend(axes, "lower right")
    return figure


def pr_figure(curves: Mapping[str, Drawn], prevalence: float, point: tuple[float, float] | None = None) -> Figure:
    """Precision-recall curves by name, each with its area in the legend.

    Args:
        curves: as for `roc_figure`.
        prevalence: share of abnormal cases, the precision of chance.
        point: the operating point (recall, precision), marked.
    """
    figure, axes = new_axes("Recall (sensitivity)", "Precision")
    axes.axhline(prevalence, color=MUTED, linewidth=1, linestyle=REFERENCE, label=f"chance {prevalence:.2f}")
    _draw(axes, curves)
    _mark(axes, point)
    unit_square(axes)
    legend(axes, "lower left" if prevalence > 0.25 else "upper right")
    return figure


def froc_figure(false_positives: ArrayLike, sensitivity: ArrayLike, upto: float = 8.0) -> Figure:
    """FROC curve: the most lesions found `(T,)` at no more false positives per image `(T,)` than the x axis says.

    Neighbouring marks grow together at low thresholds, so that neither quantity need rise as the threshold falls; the
    curve takes the best threshold for each number of false positives, as the sensitivities of `evaluation.lesions` do.
    """
    figure, axes = new_axes("False positives per image", "Lesions found")
    alarms, found = np.asarray(false_positives, dtype=np.float64), np.asarray(sensitivity, dtype=np.float64)
    order = np.lexsort((found, alarms))
    alarms, found = alarms[order], np.maximum.accumulate(found[order])
    axes.step(np.append(0, alarms), np.append(0, found), where="post", color=NORMAL, linewidth=2.2)
    axes.set_xlim(-0.01 * upto, min(upto, max(float(alarms.max(initial=0.0)) * 1.05, 1.0)))
    axes.set_ylim(-0.01, 1.03)
    axes.set_yticks(np.linspace(0, 1, 6))
    return figure


def _draw(axes: Axes, curves: Mapping[str, Drawn]) -> None:
    crowded = len(curves) >= _CROWD
    for index, (name, drawn) in enumerate(curves.items()):
        colour = SERIES[index % len(SERIES)]
        dash = DASHES[index % len(DASHES)]
        if drawn.band is not None and not crowded:
            band = drawn.band
            axes.fill_between(
                band.x,
                band.low,
                band.high,
                color=colour,
                alpha=0.18,
                linewidth=0,
                label="95 % band" if len(curves) == 1 else None,
            )
        axes.plot(
            drawn.curve.x,
            drawn.curve.y,
            color=colour,
            linewidth=1.6 if crowded else 2.2,
            linestyle=dash,
            label=f"{shortened(name)} {interval_text(drawn.area)}",
        )


def _mark(axes: Axes, point: tuple[float, float] | None) -> None:
    if point is not None:
        axes.plot(*point, marker="o", markersize=9, color=ABNORMAL, linestyle="none", label="operating point", zorder=5)
