"""Anomaly maps with their ground truth, and the counts of their pixels at every map value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unremarkable.datasets.masks import Lesion
from unremarkable.errors import InputError, UsageError

Floats = NDArray[np.float64]

#: most steps that map values are told apart in: with the counts of each, 160 MB
STEPS = 2**22


@dataclass(frozen=True, eq=False)
class LabelledMap:
    """One case's anomaly map beside its ground truth, both on the image's own grid.

    Attributes:
        values: float, `(H, W)` or more axes for a volume; larger is more anomalous.
        mask: boolean, same shape; nothing is True in a normal case.
        name: the case, for errors.
        group: the patient, whose cases are resampled together; the case itself if empty.
        lesions: marked regions one by one, for lesion metrics.
    """

    values: NDArray[np.floating]
    mask: NDArray[np.bool_]
    name: str = ""
    group: str = ""
    lesions: tuple[Lesion, ...] = ()

    def __post_init__(self) -> None:
        if self.values.shape != self.mask.shape:
            raise InputError(self.name, f"a map of shape {self.values.shape} and a mask of {self.mask.shape}")
        if not np.isfinite(self.values).all():
            raise InputError(self.name, "its anomaly map has values that are not finite")

    @property
    def abnormal(self) -> bool:
        """Whether anything is marked."""
        return bool(self.mask.any())


class Levels(Protocol):
    """Map values as steps, the highest being step 0."""

    def __len__(self) -> int: ...

    def index(self, values: NDArray[np.floating]) -> NDArray[np.int64]:
        """The step of each value, flattened; as float32."""

    def threshold(self, step: int) -> float:
        """A value which exactly the steps up to `step` exceed."""


@dataclass(frozen=True, eq=False)
class EveryValue:
    """A step for each of the distinct float32 `values`, ascending."""

    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def index(self, values: NDArray[np.floating]) -> NDArray[np.int64]:
        """The step of each value, flattened."""
        return len(self.values) - 1 - np.searchsorted(self.values, values.ravel().astype(np.float32))

    def threshold(self, step: int) -> float:
        """A value which exactly the steps up to `step` exceed."""
        return float(np.nextafter(self.values[len(self.values) - 1 - step], np.float32(-np.inf)))


@dataclass(frozen=True)
class EqualSteps:
    """Float32 values in their order, cut into at most `STEPS` equal steps of that order.

    A step is as wide as some neighbouring floating-point numbers: values that share one differ by less than 1 in 8,000
    at the very worst, and by less than 1 in 60,000 where all are positive and within ten orders of magnitude.
    """

    low: int
    high: int
    shift: int

    @classmethod
    def spanning(cls, lowest: float, highest: float) -> EqualSteps:
        """Steps for values from `lowest` to `highest`."""
        low, high = (int(key) for key in _keys(np.array([lowest, highest])))
        return cls(low, high, max(0, (high - low).bit_length() - STEPS.bit_length() + 1))

    def __len__(self) -> int:
        return ((self.high - self.low) >> self.shift) + 1

    def index(self, values: NDArray[np.floating]) -> NDArray[np.int64]:
        """The step of each value, flattened."""
        return (self.high - _keys(values.ravel())) >> self.shift

    def threshold(self, step: int) -> float:
        """A value which exactly the steps up to `step` exceed."""
        return _value(self.high - ((step + 1) << self.shift))


def _keys(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Integers in the order of the values: neighbouring float32 numbers get neighbouring integers."""
    bits = (values.astype(np.float32) + np.float32(0)).view(np.int32).astype(np.int64)  # + 0 makes -0 plain 0
    # Bits of negative floats grow as the value falls.
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _value(key: int) -> float:
    magnitude = np.array(abs(key), np.int32).view(np.float32)
    return float(-magnitude if key < 0 else magnitude)


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """What every metric of a pooled set is made of: at each of T map values, from the highest down, `(..., T)` each.

    Attributes:
        positive: pixels that are marked.
        negative: pixels that are not.
        region: of each marked region (connected component of a mask) the share of its pixels, summed over regions.
        image: of each abnormal case the share of its marked pixels, summed over these cases.
        normal: of each normal case the share of its pixels, summed over these cases.
        normal_pixels: pixels of normal cases in all.
    """

    positive: Floats
    negative: Floats
    region: Floats
    image: Floats
    normal: Floats
    normal_pixels: int


def levels_of(cases: Sequence[LabelledMap]) -> Levels:
    """Steps for the values of all maps: one for every value if there are at most `STEPS` pixels, else equal ones.

    Raises:
        UsageError: there are no cases.
    """
    lowest, highest, pixels = np.inf, -np.inf, 0
    distinct: list[NDArray[np.float32]] = []
    for case in cases:
        lowest, highest = min(lowest, float(case.values.min())), max(highest, float(case.values.max()))
        pixels += case.values.size
        if pixels <= STEPS:
            distinct.append(np.unique(case.values.astype(np.float32)))
        else:
            distinct.clear()
    if not pixels:
        raise UsageError("pixel metrics need at least one anomaly map with its ground truth")
    if pixels <= STEPS:
        return EveryValue(np.unique(np.concatenate(distinct)))
    return EqualSteps.spanning(lowest, highest)


def count_pixels(cases: Sequence[LabelledMap], levels: Levels) -> PixelCounts:
    """The counts of all cases together."""
    totals = [np.zeros(len(levels)) for _ in range(5)]
    normal_pixels = 0
    for case in cases:
        normal_pixels += 0 if case.abnormal else case.mask.size
        steps, columns = columns_of(case, levels)
        for total, column in zip(totals, columns, strict=True):
            if column is not None:
                picked, weights = column
                np.add.at(total, steps[picked], weights)
    positive, negative, region, image, normal = totals
    return PixelCounts(positive, negative, region, image, normal, normal_pixels)


#: the pixels that a column of `PixelCounts` counts, and the weight of each (or of all)
Column = tuple[NDArray[np.bool_], Floats | float]


def columns_of(case: LabelledMap, levels: Levels) -> tuple[NDArray[np.int64], tuple[Column | None, ...]]:
    """The step of each pixel of one case, and what the pixels add to the five columns of `PixelCounts`."""
    marked = case.mask.ravel()
    steps = levels.index(case.values)
    if not case.abnormal:
        return steps, (None, (~marked, 1.0), None, None, (~marked, 1 / marked.size))
    of_region = region_shares(case.mask)[case.mask]
    return steps, ((marked, 1.0), (~marked, 1.0), (marked, of_region), (marked, 1 / int(marked.sum())), None)


def region_shares(mask: NDArray[np.bool_]) -> Floats:
    """1 / (pixels of its connected component) at each marked pixel, diagonal neighbours being connected; else 0."""
    from scipy import ndimage

    numbered, _ = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim))
    sizes = np.bincount(numbered.ravel()).astype(np.float64)
    shares = 1 / np.maximum(sizes, 1)
    shares[0] = 0
    return shares[numbered]
