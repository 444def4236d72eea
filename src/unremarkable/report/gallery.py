"""The cases that the page shows as pictures, and under which heading."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: cases under each heading
EACH = 12
#: images are shown at this many pixels at most, and below it as they are
_SIDE = 320
#: up to this side an image is stored without loss: it is small, and shown enlarged
_EXACT = 96


@dataclass(frozen=True)
class Picture:
    """A picture as it lies in a file and in the page: the encoded bytes, "png" or "jpeg"."""

    data: bytes
    kind: str

    @classmethod
    def of(cls, image: NDArray[np.uint8]) -> Picture:
        """Encode uint8 `(H, W)` or `(H, W, 3)`: reduced to 320 pixels, JPEG (quality 90); small ones PNG, as is."""
        picture = Image.fromarray(np.ascontiguousarray(image))
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        if max(picture.size) <= _EXACT:
            picture.save(buffer, "PNG")
            return cls(buffer.getvalue(), "png")
        picture.save(buffer, "JPEG", quality=90, subsampling=0)
        return cls(buffer.getvalue(), "jpeg")

    @property
    def uri(self) -> str:
        """The picture itself, as an address that a page can show."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.data).decode()}"

    @property
    def exact(self) -> bool:
        """Whether it is small and without loss, to be shown enlarged with its pixels visible."""
        return self.kind == "png"


@dataclass(frozen=True, eq=False)
class GalleryItem:
    """One case in pictures.

    Attributes:
        title: its path or name.
        image: what the method saw.
        overlay: the same with its heat map.
        reconstruction: or None for methods that do not reconstruct.
        score: anomaly score.
        p_value: or None where there is no calibration.
        flagged: verdict, or None where there is none.
        label: 0 normal, 1 abnormal, None unknown.
        finding: name of its class, or None.
        note: one line for the reader ("slice 14 of 28"), or empty.
    """

    title: str
    image: Picture
    overlay: Picture
    reconstruction: Picture | None
    score: float
    p_value: float | None
    flagged: bool | None
    label: int | None = None
    finding: str | None = None
    note: str = ""

    @property
    def outcome(self) -> str:
        """One of "found", "missed", "false alarm" and "passed" for a labelled case with a verdict, else empty."""
        if self.flagged is None or self.label is None:
            return ""
        if self.label:
            return "found" if self.flagged else "missed"
        return "false alarm" if self.flagged else "passed"


@dataclass(frozen=True)
class Section:
    """A heading, what it shows, and its cases in order."""

    title: str
    text: str
    items: tuple[GalleryItem, ...]


def sections(items: Sequence[GalleryItem], misses: int, alarms: int, each: int = EACH) -> list[Section]:
    """The headings with cases to show under each; `misses` and `alarms` count all such cases, shown or not."""
    order = sorted(items, key=lambda item: -item.score)
    lowest_misses = [item for item in reversed(order) if item.outcome == "missed"]
    highest_alarms = [item for item in order if item.outcome == "false alarm"]
    top = order[:each]
    bottom = [item for item in reversed(order) if item not in top][:each]
    found = [
        Section("Most suspicious", "The highest anomaly scores of all cases, from the highest down.", tuple(top)),
        Section(
            "Misses",
            f"{misses} abnormal {_cases(misses)} not flagged; those with the lowest scores first.",
            tuple(lowest_misses[:each]),
        ),
        Section(
            "False alarms",
            f"{alarms} normal {_cases(alarms)} flagged; those with the highest scores first.",
            tuple(highest_alarms[:each]),
        ),
        Section("Least suspicious", "The lowest anomaly scores of all cases, from the lowest up.", tuple(bottom)),
    ]
    return [section for section in found if section.items]


def _cases(count: int) -> str:
    return "case was" if count == 1 else "cases were"
