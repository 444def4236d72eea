"""The figure of a label-free selection."""

from __future__ import annotations

from matplotlib.figure import Figure

from unremarkable.benchmark.selection import CRITERIA, HELD_OUT_LOSS, POOL, SYNTHETIC, Selection
from unremarkable.evaluation.intervals import Interval
from unremarkable.explain.style import ABNORMAL, INK, MUTED, NORMAL, REFERENCE, dress, name_rows, new_figure, shortened

_LABELS = {
    HELD_OUT_LOSS: "Held-out loss (lower)",
    POOL: "AUROC, pool (higher)",
    SYNTHETIC: "AUROC, synthetic (higher)",
}


def selection_figure(selection: Selection) -> Figure:
    """A row a candidate, a panel a criterion: values with intervals, and each criterion's choice in its own colour."""
    candidates = selection.candidates
    figure = new_figure(10.0, 1.3 + 0.32 * len(candidates))
    panels = figure.subplots(1, len(CRITERIA), sharey=True)
    for axes, criterion, choice in zip(panels, CRITERIA, selection.choices, strict=True):
        dress(axes, _LABELS[criterion], "")
        name_rows(axes, [one.label for one in candidates])
        for row, one in enumerate(candidates):
            value = one.value(criterion)
            if value is None or one.failure is not None:
                continue
            chosen = one.label == choice.chosen
            interval = {POOL: one.pool, SYNTHETIC: one.synthetic}.get(criterion, Interval(value, None, None))
            if interval.low is not None and interval.high is not None:
                axes.plot([interval.low, interval.high], [row, row], color=INK, linewidth=1.4)
            axes.plot(
                [value],
                [row],
                marker="D" if chosen else "o",
                markersize=8 if chosen else 6,
                color=ABNORMAL if chosen else NORMAL,
                linestyle="none",
            )
        if criterion != HELD_OUT_LOSS:
            axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=REFERENCE)
        title = f"chooses {choice.chosen}" if choice.chosen else f"none: {choice.reason}"
        axes.set_title(title, fontsize=9, color=ABNORMAL if choice.chosen else MUTED, wrap=True)
    panels[0].set_yticks(range(len(candidates)), [shortened(one.label, 40) for one in candidates])
    return figure
