from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from unremarkable.report.gallery import GalleryItem, Picture, sections


def _item(score: float, label: int | None = None, flagged: bool | None = None) -> GalleryItem:
    grey = Picture.of(np.zeros((4, 4), np.uint8))
    return GalleryItem(f"{score}", grey, grey, None, score, None, flagged, label)


def _decode(picture: Picture) -> Image.Image:
    head, data = picture.uri.split(",")
    assert head == f"data:image/{picture.kind};base64"
    assert base64.b64decode(data) == picture.data
    return Image.open(io.BytesIO(picture.data))


@pytest.mark.parametrize(
    ("label", "flagged", "outcome"),
    [
        (1, True, "found"),
        (1, False, "missed"),
        (0, True, "false alarm"),
        (0, False, "passed"),
        (None, True, ""),
        (1, None, ""),
    ],
)
def test_outcome(label: int | None, flagged: bool | None, outcome: str) -> None:
    assert _item(1.0, label, flagged).outcome == outcome


def test_sections_order_and_cut() -> None:
    items = [_item(float(score), label=score % 2, flagged=score >= 10) for score in range(20)]
    found = {section.title: section for section in sections(items, misses=5, alarms=5, each=3)}
    scores = {title: [item.score for item in section.items] for title, section in found.items()}
    assert scores == {
        "Most suspicious": [19, 18, 17],
        "Misses": [1, 3, 5],
        "False alarms": [18, 16, 14],
        "Least suspicious": [0, 1, 2],
    }
    assert found["Misses"].text.startswith("5 abnormal cases were not flagged")


def test_no_heading_without_cases_and_no_case_both_most_and_least() -> None:
    assert [section.title for section in sections([_item(1.0), _item(2.0)], 0, 0)] == ["Most suspicious"]
    assert sections([], 0, 0) == []


def test_large_pictures_are_reduced_and_small_ones_exact() -> None:
    large = Picture.of(np.random.default_rng(0).integers(0, 256, (500, 1000), dtype=np.uint8))
    assert not large.exact
    assert (_decode(large).format, _decode(large).size) == ("JPEG", (320, 160))
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    small = Picture.of(pixels)
    assert small.exact
    assert _decode(small).format == "PNG"
    assert np.array_equal(np.asarray(_decode(small)), pixels)
