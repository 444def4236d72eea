"""Figures of artefact robustness: how the measures move with strength, and what one case looks like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unremarkable.benchmark.disturb import UNTOUCHED, conditions
from unremarkable.benchmark.robustness import Condition, Robustness
from unremarkable.datasets.artefacts import KINDS, LEVELS, add_artefact, case_seed
from unremarkable.datasets.case import Case
from unremarkable.datasets.load import load_case
from unremarkable.detector import RATE, Detector
from unremarkable.explain.style import ABNORMAL, DASHES, INK, MUTED, PERCENT, REFERENCE, SERIES, dress, new_figure
from unremarkable.scoring.calibration import normals_needed
from unremarkable.scoring.heatmap import overlay
from unremarkable.scoring.scorer import Predictor, to_picture

_MEASURES = {
    "auroc": "AUROC",
    "false_alarms": "Normals flagged",
    "shift": "Normals' scores, rise in SD",
}
_MARKERS = "os^Dv"


def robustness_figure(result: Robustness) -> Figure:
    """AUROC, share of normals flagged, and shift of the normals' scores over the strength, a line with band a kind."""
    figure = new_figure(10.5, 3.8)
    panels = figure.subplots(1, len(_MEASURES))
    kinds = list(dict.fromkeys(one.kind for one in result.conditions if one.kind != UNTOUCHED))
    for axes, (measure, label) in zip(panels, _MEASURES.items(), strict=True):
        dress(axes, "Strength of the artefact", label)
        for index, kind in enumerate(kinds):
            mine = [one for one in result.conditions if one.kind in (UNTOUCHED, kind)]
            _line(axes, mine, measure, index, kind)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0, max(LEVELS))
    auroc, false_alarms, shift = panels
    auroc.set_ylim(top=1.02)
    auroc.axhline(0.5, color=MUTED, linewidth=1, linestyle=REFERENCE)
    false_alarms.set_ylim(-0.02, 1.02)
    false_alarms.yaxis.set_major_formatter(PERCENT)
    false_alarms.axhline(result.rate, color=MUTED, linewidth=1, linestyle=REFERENCE)
    shift.axhline(0, color=MUTED, linewidth=1, linestyle=REFERENCE)
    handles, names = auroc.get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside upper center", ncols=len(kinds), fontsize=9, labelcolor=INK, frameon=False
    )
    return figure


def artefact_figure(
    detector: Detector,
    case: Case,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    levels: Sequence[int] = LEVELS,
    rate: float | None = None,
    seed: int = 0,
) -> Figure:
    """One case with every artefact at every strength, and the detector's map over each; a volume's middle slice.

    Above each picture stands the image's p-value, in the colour of the abnormal where it is flagged.

    Raises:
        InputError: the case cannot be read.
    """
    inputs = detector.preprocess_(load_case(case))
    place, image = case_seed(inputs, seed), inputs[len(inputs) // 2]
    strengths = [0, *dict.fromkeys(level for _, level in conditions(kinds, levels)[1:])]
    predict = Predictor(detector.method_, detector.reduction, detector.smoothing, detector.plan_.precision)
    wanted = RATE if rate is None else rate
    supported = normals_needed(wanted) <= len(detector.calibration_)
    figure = new_figure(1.3 * len(strengths) + 0.4, 2.75 * len(kinds) + 0.3)
    grid = figure.subplots(2 * len(kinds), len(strengths), squeeze=False)
    for row, kind in enumerate(kinds):
        altered = np.stack([add_artefact(image, kind, level, place).image for level in strengths])
        maps, scores, _ = predict(altered)
        p_values = detector.calibration_.p_values(scores)
        flagged = detector.calibration_.flag(scores, wanted) if supported else np.zeros(len(scores), np.bool_)
        for column, picture in enumerate(map(to_picture, altered)):
            above, below = grid[2 * row, column], grid[2 * row + 1, column]
            above.imshow(picture, cmap="gray", vmin=0, vmax=255)
            below.imshow(overlay(picture, maps[column], *detector.map_range))
            strength = f"{strengths[column]}\n" if not row else ""
            colour = ABNORMAL if flagged[column] else INK
            above.set_title(f"{strength}p = {p_values[column]:.3f}", fontsize=9, color=colour, pad=3)
        for offset, words in enumerate((kind, "map")):
            first = grid[2 * row + offset, 0]
            first.set_ylabel(words, fontsize=10 - offset, color=INK if not offset else MUTED)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    return figure


def _line(axes: Axes, mine: Sequence[Condition], measure: str, index: int, name: str) -> None:
    """One kind's line with its band; what is undefined leaves a gap."""
    values = [getattr(one, measure) for one in mine]
    levels = [one.level for one in mine]
    low, middle, high = (
        np.array([np.nan if end is None else end for end in ends], np.float64)
        for ends in ([v.low for v in values], [v.value for v in values], [v.high for v in values])
    )
    colour = SERIES[index % len(SERIES)]
    axes.fill_between(levels, low, high, color=colour, alpha=0.1, linewidth=0)
    axes.plot(
        levels,
        middle,
        color=colour,
        linewidth=1.8,
        linestyle=DASHES[index % len(DASHES)],
        marker=_MARKERS[index % len(_MARKERS)],
        markersize=4.5,
        label=name,
    )
