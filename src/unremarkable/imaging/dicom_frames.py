"""Functional groups of enhanced multi-frame objects: what each frame has of its own, and what all share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unremarkable.imaging.dicom_file import number, numbers
from unremarkable.imaging.dicom_geometry import Plane, make_plane

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


class FunctionalGroups:
    """Attributes by frame. A single-frame object, or one without functional groups, answers from its top level."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        self.dataset = dataset
        frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
        shared = dataset.get("SharedFunctionalGroupsSequence") or []
        self.frames = list(frames) if len(frames) == count else []
        self.shared = shared[0] if len(shared) else None
        self.count = count

    def group(self, frame: int, keyword: str) -> Dataset | None:
        """One functional group of one frame (index from 0): the frame's own, else the shared one, else None."""
        for item in (self.frames[frame] if self.frames else None, self.shared):
            sequence = None if item is None else item.get(keyword)
            if sequence:
                found: Dataset = sequence[0]
                return found
        return None

    def value(self, frame: int, keyword: str, attribute: str) -> Any:
        """One attribute of one functional group, or None."""
        group = self.group(frame, keyword)
        return None if group is None else group.get(attribute)

    def planes(self) -> list[Plane] | None:
        """Where each frame lies; None unless all have a position and an orientation."""
        planes = [self._plane(frame) for frame in range(self.count)] if self._located() else []
        return [p for p in planes if p is not None] if planes and None not in planes else None

    def _located(self) -> bool:
        # In segmentations, frames repeat positions by segment and leave empty slices out: they are no stack.
        return "SegmentSequence" not in self.dataset and (self.count == 1 or bool(self.frames))

    def _plane(self, frame: int) -> Plane | None:
        measures = self.group(frame, "PixelMeasuresSequence") or self.dataset
        position = self.group(frame, "PlanePositionSequence") or self.dataset
        orientation = self.group(frame, "PlaneOrientationSequence") or self.dataset
        return make_plane(
            numbers(position.get("ImagePositionPatient"), 3),
            numbers(orientation.get("ImageOrientationPatient"), 6),
            positive_pair(measures.get("PixelSpacing")),
            slice_distance(measures),
        )

    def time_keys(self) -> dict[str, list[Any]]:
        """Attributes that may tell frames at one position apart, best first."""
        frames = range(self.count)
        return {
            "TemporalPositionIndex": [self._content(f, "TemporalPositionIndex") for f in frames],
            "DimensionIndexValues": [_as_tuple(self._content(f, "DimensionIndexValues")) for f in frames],
            "FrameAcquisitionDateTime": [_text(self._content(f, "FrameAcquisitionDateTime")) for f in frames],
        }

    def _content(self, frame: int, attribute: str) -> Any:
        return self.value(frame, "FrameContentSequence", attribute)


def _as_tuple(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    return tuple(int(v) for v in value) if hasattr(value, "__len__") else (int(value),)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def positive_pair(value: Any) -> tuple[float, float] | None:
    """Two positive numbers (row, column spacing in mm); None for anything else."""
    pair = numbers(value, 2)
    return (pair[0], pair[1]) if pair and min(pair) > 0 and max(pair) < float("inf") else None


def slice_distance(dataset: Dataset) -> float | None:
    """Millimetres to the next slice as the header has it: SpacingBetweenSlices, else SliceThickness."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = number(dataset.get(keyword))
        if value and 0 < abs(value) < float("inf"):
            return abs(value)
    return None
