from __future__ import annotations

import numpy as np
import pytest

from unremarkable.errors import UsageError
from unremarkable.explain.galleries import gallery_figure
from unremarkable.explain.style import ABNORMAL, NORMAL
from unremarkable.scoring.heatmap import overlay

RNG = np.random.default_rng(0)
IMAGES = [RNG.random((8, 10)).astype(np.float32) for _ in range(5)]
MAPS = [RNG.random((4, 5)) for _ in range(5)]


def _shown(figure: object) -> list[np.ndarray]:
    return [axes.images[0].get_array() for axes in figure.axes if axes.images]  # type: ignore[attr-defined]


def test_rows_of_input_map_and_reconstruction_wrap() -> None:
    figure = gallery_figure(IMAGES, MAPS, IMAGES, map_range=(0.2, 0.9), columns=3)
    assert len(figure.axes) == 2 * 3 * 3
    assert len(_shown(figure)) == 15
    assert np.array_equal(figure.axes[0].images[0].get_array(), IMAGES[0])
    assert np.array_equal(figure.axes[3].images[0].get_array(), overlay(IMAGES[0], MAPS[0], 0.2, 0.9))
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert words == ["input", "anomaly map", "reconstruction"] * 2


def test_truth_and_verdict_stand_above_and_wrong_ones_stand_out() -> None:
    figure = gallery_figure(
        IMAGES[:3], truth=["normal", "tumour", None], flagged=[False, False, True], abnormal=[False, True, None]
    )
    titles = [(axes.get_title(), axes.title.get_color()) for axes in figure.axes]
    assert titles[0] == ("normal\nnot flagged", NORMAL)
    assert titles[1] == ("tumour\nnot flagged", ABNORMAL)
    assert titles[2][0] == "\nflagged" or titles[2][0] == "flagged"


def test_one_image_and_colour() -> None:
    figure = gallery_figure([RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8)])
    assert _shown(figure)[0].shape == (6, 6, 3)


def test_every_image_needs_one_of_each() -> None:
    with pytest.raises(UsageError, match="4 maps for 5 images"):
        gallery_figure(IMAGES, MAPS[:4])
    with pytest.raises(UsageError, match="at least one image"):
        gallery_figure([])
