"""Cases side by side: input, anomaly map, reconstruction, truth and verdict (Figs. 4 and 10 to 12 of the papers)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unremarkable.errors import UsageError
from unremarkable.explain.style import ABNORMAL, INK, NORMAL, new_figure, shortened
from unremarkable.scoring.heatmap import overlay

T = TypeVar("T")
Picture = NDArray[np.floating] | NDArray[np.uint8]


def gallery_figure(
    images: Sequence[Picture],
    maps: Sequence[NDArray[np.floating]] | None = None,
    reconstructions: Sequence[Picture] | None = None,
    *,
    map_range: tuple[float, float] = (0.0, 1.0),
    truth: Sequence[str | None] | None = None,
    flagged: Sequence[bool | None] | None = None,
    abnormal: Sequence[bool | None] | None = None,
    columns: int = 6,
) -> Figure:
    """A block of rows (input, anomaly map, reconstruction) for every `columns` cases.

    Args:
        images: `(H, W)` or `(H, W, 3)`, in [0, 1] or uint8.
        maps: `(h, w)` each, drawn over the image as heat maps; None leaves the row out.
        reconstructions: as `images`; None leaves the row out.
        map_range: map values of the bare image and of the strongest colour; `Detector.map_range`.
        truth: name of each case's class, above its column.
        flagged: verdicts, below the truth: "flagged" or "not flagged".
        abnormal: labels; a verdict that contradicts its label stands in the colour of the abnormal.
        columns: cases in a row.

    Raises:
        UsageError: no images, or another number of anything else.
    """
    given = {"maps": maps, "reconstructions": reconstructions, "truth": truth, "flagged": flagged, "abnormal": abnormal}
    for name, values in given.items():
        if values is not None and len(values) != len(images):
            raise UsageError(f"{len(values)} {name} for {len(images)} images: each image needs one")
    if not images:
        raise UsageError("a gallery needs at least one image")
    rows: list[tuple[str, Sequence[Picture]]] = [("input", images)]
    if maps is not None:
        drawn = [overlay(image, found, *map_range) for image, found in zip(images, maps, strict=True)]
        rows.append(("anomaly map", drawn))
    if reconstructions is not None:
        rows.append(("reconstruction", reconstructions))
    across = min(columns, len(images))
    blocks = -(-len(images) // across)
    lines = 0.2 * ((truth is not None) + (flagged is not None))
    figure = new_figure(1.15 * across + 0.3, blocks * (1.15 * len(rows) + lines))
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)  # type: ignore[union-attr, call-arg]
    grid = figure.subplots(blocks * len(rows), across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for index in range(len(images)):
        block, column = divmod(index, across)
        for row, (_, pictures) in enumerate(rows):
            axes = grid[block * len(rows) + row, column]
            picture = np.asarray(pictures[index])
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255 if picture.dtype == np.uint8 else 1)
            if not row:
                _caption(axes, _of(truth, index), _of(flagged, index), _of(abnormal, index))
    for line in range(blocks * len(rows)):
        first, what = grid[line, 0], rows[line % len(rows)][0]
        place = {"transform": first.transAxes, "rotation": 90, "ha": "right", "va": "center"}
        first.text(-0.06, 0.5, what, fontsize=9, color=INK, **place)
    return figure


def _of(values: Sequence[T] | None, index: int) -> T | None:
    return None if values is None else values[index]


def _caption(axes: Axes, truth: str | None, flagged: bool | None, abnormal: bool | None) -> None:
    """Truth, and below it the verdict: in the colour of the abnormal where it contradicts the label."""
    lines = [] if truth is None else [shortened(truth, 15)]
    colour = INK
    if flagged is not None:
        lines.append("flagged" if flagged else "not flagged")
        if abnormal is not None:
            colour = ABNORMAL if bool(abnormal) != bool(flagged) else NORMAL
    axes.set_title("\n".join(lines), fontsize=9, color=colour, pad=2, linespacing=1.1)
