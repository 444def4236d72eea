"""The page's figures, each a `matplotlib.figure.Figure` without any global state of pyplot."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from unremarkable.evaluation.curves import Curve
from unremarkable.evaluation.intervals import Interval
from unremarkable.scoring.calibration import Calibration

INK, MUTED, LINE, SURFACE = "#17212b", "#5a6775", "#dce2e9", "#fffffe"
#: Okabe and Ito's blue and vermillion, told apart by all common forms of colour vision.
NORMAL, ABNORMAL = "#0072b2", "#d55e00"
#: In the page these colours follow its light or dark dress.
_CSS = {INK: "ink", MUTED: "muted", LINE: "line", SURFACE: "surface", NORMAL: "normal", ABNORMAL: "abnormal"}
_SIZE = (5.2, 3.7)
_PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.3g} %")


def roc_figure(curve: Curve, auroc: Interval, point: tuple[float, float] | None) -> Figure:
    """ROC curve with its area; `point` is the operating point (false-positive rate, sensitivity)."""
    figure, axes = _axes("False-positive rate (1 − specificity)", "Sensitivity")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)), label="chance")
    axes.plot(curve.x, curve.y, color=NORMAL, linewidth=2.2, label=f"AUROC {_text(auroc)}")
    _mark(axes, point)
    _unit_square(axes)
    _legend(axes, "lower right")
    return figure


def pr_figure(curve: Curve, auprc: Interval, prevalence: float, point: tuple[float, float] | None) -> Figure:
    """Precision-recall curve with its area; `point` is the operating point (recall, precision)."""
    figure, axes = _axes("Recall (sensitivity)", "Precision")
    axes.axhline(prevalence, color=MUTED, linewidth=1, linestyle=(0, (4, 4)), label=f"chance {prevalence:.2f}")
    axes.plot(curve.x, curve.y, color=NORMAL, linewidth=2.2, label=f"AUPRC {_text(auprc)}")
    _mark(axes, point)
    _unit_square(axes)
    _legend(axes, "lower left")
    return figure


def score_figure(
    scores: ArrayLike, labels: ArrayLike | None, calibration: ArrayLike | None, threshold: float | None
) -> Figure:
    """Distribution of the scores: normal, abnormal (or all, unlabelled) and calibration normals, with the threshold.

    Heights are shares of each group, so that groups of any size compare. Cases beyond the axis count in its last bar.
    """
    values = np.asarray(scores, dtype=np.float64)
    figure, axes = _axes("Anomaly score", "Share of the group per bar")
    everything = values if calibration is None else np.concatenate([values, np.asarray(calibration)])
    low, high = float(everything.min()), float(everything.max())
    usual = float(np.quantile(everything, 0.99))
    beyond = 0
    if high - usual > usual - low > 0 and (threshold is None or threshold < usual):
        high, beyond = usual, int((values > usual).sum())
    edges = np.linspace(low, high if high > low else low + max(abs(low), 1.0) * 1e-3, 41)
    if labels is None:
        _bars(axes, values, edges, NORMAL, f"scored ({len(values)})")
    else:
        abnormal = np.asarray(labels, dtype=bool)
        _bars(axes, values[~abnormal], edges, NORMAL, f"normal ({(~abnormal).sum()})")
        _bars(axes, values[abnormal], edges, ABNORMAL, f"abnormal ({abnormal.sum()})")
    if calibration is not None:
        held_out = np.asarray(calibration)
        heights, _ = np.histogram(held_out.clip(edges[0], edges[-1]), edges)
        axes.stairs(heights / len(held_out), edges, color=INK, linewidth=1.2, label=f"calibration ({len(held_out)})")
    if threshold is not None:
        axes.axvline(threshold, color=INK, linewidth=1.4, linestyle=(0, (5, 3)), label="threshold")
    if beyond:
        axes.annotate(
            f"{beyond} beyond, up to {values.max():.3g} →",
            (0.99, 0.5),
            xycoords="axes fraction",
            ha="right",
            color=MUTED,
        )
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(_PERCENT)
    axes.set_ylim(bottom=0)
    _legend(axes, "best")
    return figure


def false_alarm_figure(p_values: ArrayLike, calibration: Calibration | None, upto: float = 0.2) -> Figure:
    """Share of test normals that each requested rate flags, against that rate; `p_values` are those of test normals.

    The band is `chance_band`: what to expect of test normals that are like the calibration normals.
    """
    ordered = np.sort(np.asarray(p_values, dtype=np.float64))
    figure, axes = _axes("False-alarm rate asked for", "Test normals flagged")
    rates = np.linspace(0, upto, 101)
    if calibration is not None:
        low, high = chance_band(np.floor(rates * (len(calibration) + 1) + 1e-9), len(calibration), len(ordered))
        axes.fill_between(
            rates, low, high, step="mid", color=MUTED, alpha=0.22, linewidth=0, label="expected by chance (95 %)"
        )
    axes.plot([0, upto], [0, upto], color=MUTED, linewidth=1, linestyle=(0, (4, 4)), label="as asked")
    shares = np.searchsorted(ordered, rates * (1 + 1e-12), side="right") / len(ordered)
    axes.step(rates, shares, where="post", color=NORMAL, linewidth=2.2, label=f"observed ({len(ordered)} normals)")
    axes.set_xlim(0, upto)
    axes.set_ylim(0, max(2 * upto, float(shares.max()) * 1.05))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(_PERCENT)
    _legend(axes, "upper left")
    return figure


def chance_band(allowed: NDArray[np.float64], n: int, m: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


def loss_figure(phase: Mapping[str, Any]) -> Figure:
    """Losses by epoch of one phase in the form of `PhaseHistory`: `epochs` with `losses` and `held_out`."""
    figure, axes = _axes("Epoch", "Loss")
    epochs: Sequence[Mapping[str, Any]] = phase["epochs"]
    number = [record["epoch"] for record in epochs]
    drawn = {name: [record["losses"].get(name, np.nan) for record in epochs] for name in epochs[0]["losses"]}
    styles = ["-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2))]
    for index, (name, losses) in enumerate(drawn.items()):
        axes.plot(number, losses, color=NORMAL, linewidth=1.8, linestyle=styles[index % 4], label=f"training: {name}")
    held_out = [np.nan if record.get("held_out") is None else record["held_out"] for record in epochs]
    if np.isfinite(held_out).any():
        drawn["held out"] = held_out
        axes.plot(number, held_out, color=ABNORMAL, linewidth=1.8, label="held-out normals")
        if phase.get("best_epoch"):
            axes.axvline(phase["best_epoch"], color=MUTED, linewidth=1, linestyle=(0, (4, 4)), label="kept")
    values = np.array([value for losses in drawn.values() for value in losses], dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(axes, "best")
    return figure


def svg(figure: Figure, description: str) -> str:
    """The figure as an `<svg>` element to stand in a page: real text, colours that follow the page, no references."""
    buffer = io.StringIO()
    # The salt makes the element names, and so the page, the same in every run.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": description}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    label = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    text = re.sub(r"<svg[^>]*>", lambda _: f'<svg {box[0]} role="img" aria-label="{label}">', text, count=1)
    # Several drawings share a page: only the salted ids that something points to are unique, and needed.
    needed = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in needed else "", text)
    for colour, name in _CSS.items():
        text = text.replace(colour, f"var(--{name})")
    return text.replace("xlink:href", "href")


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.13, 0.135, 0.84, 0.84))
    axes.set_xlabel(x, color=INK, fontsize=10)
    axes.set_ylabel(y, color=INK, fontsize=10)
    axes.tick_params(colors=MUTED, labelsize=9, length=0)
    axes.grid(color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(MUTED)
    axes.set_facecolor("none")
    return figure, axes


def _unit_square(axes: Axes) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.03)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))


def _mark(axes: Axes, point: tuple[float, float] | None) -> None:
    if point is not None:
        axes.plot(*point, marker="o", markersize=9, color=ABNORMAL, linestyle="none", label="operating point", zorder=5)


def _bars(axes: Axes, values: NDArray[np.float64], edges: NDArray[np.float64], colour: str, label: str) -> None:
    if not len(values):
        return
    heights, _ = np.histogram(values.clip(edges[0], edges[-1]), edges)
    axes.stairs(heights / len(values), edges, fill=True, color=colour, alpha=0.35, linewidth=0)
    axes.stairs(heights / len(values), edges, color=colour, linewidth=1.6, label=label)


def _legend(axes: Axes, place: Any) -> None:
    axes.legend(
        loc=place, fontsize=9, labelcolor=INK, handlelength=1.8, facecolor=SURFACE, edgecolor="none", framealpha=0.85
    )


def _text(interval: Interval) -> str:
    if interval.value is None:
        return "undefined"
    bounds = "" if interval.low is None else f" ({interval.low:.3f}–{interval.high:.3f})"
    return f"{interval.value:.3f}{bounds}"
