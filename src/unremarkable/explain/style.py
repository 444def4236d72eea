"""One look for every figure: colours, axes, legends, and the way into a page."""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from unremarkable.evaluation.intervals import Interval

INK, MUTED, LINE, SURFACE = "#17212b", "#5a6775", "#dce2e9", "#fffffe"
#: Okabe and Ito's blue and vermillion, told apart by all common forms of colour vision.
NORMAL, ABNORMAL = "#0072b2", "#d55e00"
#: For several methods: the rest of their palette without its yellow, which is lost on white. Seven colours and four
#: dashes, each taken in turn, make 28 different lines.
SERIES = (NORMAL, ABNORMAL, "#009e73", "#cc79a7", "#56b4e9", "#e69f00", MUTED)
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
#: Dashes of what is there for comparison only.
REFERENCE: Any = (0, (4, 4))
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.3g} %")
#: In a page these colours follow its light or dark dress.
_CSS = {INK: "ink", MUTED: "muted", LINE: "line", SURFACE: "surface", NORMAL: "normal", ABNORMAL: "abnormal"}
#: inches; a page shows a figure some 500 pixels wide on a desk and 330 on a telephone
WIDTH, HEIGHT = 4.6, 3.4


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> Figure:
    """An empty figure that finds its own margins."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axes(x: str, y: str, width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """A figure with one pair of axes in the house's dress."""
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    dress(axes, x, y)
    return figure, axes


def dress(axes: Axes, x: str, y: str) -> None:
    """Labels, grid and spines."""
    axes.set_xlabel(x, color=INK, fontsize=10)
    axes.set_ylabel(y, color=INK, fontsize=10)
    axes.tick_params(colors=MUTED, labelsize=9.5, length=0)
    axes.grid(color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(MUTED)
    axes.set_facecolor("none")


def name_rows(axes: Axes, names: list[str]) -> None:
    """One horizontal row a name, the first on top; long names are cut in the middle."""
    axes.set_yticks(np.arange(len(names)), [shortened(name) for name in names], color=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def shortened(name: str, most: int = 24) -> str:
    """A name of at most `most` characters, its middle left out where it is longer; dollar signs taken as they are."""
    if len(name) > most:
        name = f"{name[: most // 2 - 1]}…{name[-(most - most // 2) :]}"
    return name.replace("$", r"\$")


def unit_square(axes: Axes) -> None:
    """Both axes from 0 to 1."""
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.03)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))


def legend(axes: Axes, place: Any, **more: Any) -> None:
    """A legend that lets the drawing shine through."""
    axes.legend(
        loc=place,
        fontsize=9,
        labelcolor=INK,
        handlelength=1.8,
        facecolor=SURFACE,
        edgecolor="none",
        framealpha=0.85,
        **more,
    )


def interval_text(interval: Interval) -> str:
    """As "0.912 (0.874–0.941)", or "undefined"."""
    if interval.value is None:
        return "undefined"
    bounds = "" if interval.low is None else f" ({interval.low:.3f}–{interval.high:.3f})"
    return f"{interval.value:.3f}{bounds}"


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
