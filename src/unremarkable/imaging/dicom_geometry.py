"""Where slices lie in space: their order along the normal, whether any is missing, and the affine of the stack.

DICOM's patient axes are LPS+ (left, posterior, superior); affines here map to RAS+ millimetres, so x and y change sign.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import InputError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SAME_POSITION = 1e-3  # mm; scanners write positions to a micrometre or coarser
SAME_DIRECTION = 1e-3  # between unit vectors, about 0.06 degrees
MOST_CHANGES = 4  # of the slice spacing: three zones with a transition slice between each two


@dataclass(frozen=True, eq=False)
class Plane:
    """One slice in LPS millimetres.

    Attributes:
        position: centre of its first pixel.
        along_row: unit vector in which the column index grows; along_column: in which the row index grows.
        spacing: millimetres between rows and between columns, or None.
        thickness: millimetres to the next slice as the header has it, or None.
    """

    position: NDArray[np.float64]
    along_row: NDArray[np.float64]
    along_column: NDArray[np.float64]
    spacing: tuple[float, float] | None = None
    thickness: float | None = None

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector out of the slice, the direction in which slices are counted."""
        return np.cross(self.along_row, self.along_column)

    def affine(self, step: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """4x4 from `(slice, row, column, 1)` to RAS+, with `step` from one slice to the next; None without spacing."""
        if self.spacing is None:
            return None
        lps = np.eye(4)
        lps[:3, 0] = step
        lps[:3, 1] = self.along_column * self.spacing[0]
        lps[:3, 2] = self.along_row * self.spacing[1]
        lps[:3, 3] = self.position
        return LPS_TO_RAS @ lps

    def parallel(self, other: Plane) -> bool:
        """Whether rows and columns of both run in the same directions."""
        apart = np.abs([self.along_row - other.along_row, self.along_column - other.along_column])
        return bool(apart.max() < SAME_DIRECTION)


def make_plane(
    position: Sequence[float] | None,
    orientation: Sequence[float] | None,
    spacing: tuple[float, float] | None,
    thickness: float | None,
) -> Plane | None:
    """A plane from ImagePositionPatient and ImageOrientationPatient; None where they are absent or make no plane."""
    if position is None or orientation is None:
        return None
    at, along_row, along_column = np.array(position, float), np.array(orientation[:3], float), np.array(orientation[3:])
    if not (np.isfinite(at).all() and np.isfinite(orientation).all()):
        return None
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(along_row @ along_column)) > 0.02:
        return None
    return Plane(at, along_row / lengths[0], along_column / lengths[1], spacing, thickness)


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in order.

    Attributes:
        order: `(T, D)` indices of the slices given, by time and then by position along the normal.
        affine: see `Image`; its first column is the mean step, so it carries the shear of a tilted gantry.
        spacing: `(slice, row, column)` in millimetres, the lengths of the affine's columns; None without them.
        metadata: JSON-compatible: `slice_positions` (mm along the normal), `spacing_uniform`, `gantry_tilt_degrees`
            (angle between the normal and the direction in which slices follow each other), `repeated_by`.
    """

    order: NDArray[np.intp]
    affine: NDArray[np.float64] | None
    spacing: tuple[float, float, float] | None
    metadata: dict[str, Any]


def stack(
    source: object,
    planes: Sequence[Plane],
    names: Sequence[str],
    keys: Mapping[str, Sequence[Any]],
    instances: Sequence[int | None] = (),
) -> Stack:
    """Order slices by position along their normal, and by time where each position was taken several times.

    `keys` are the attributes that may tell the time points apart, best first, each with one value a slice or None;
    `instances` are instance numbers, which help to find missing slices; `names` are for messages.
    Raises InputError, saying which, for mixed orientation or pixel spacing, a missing slice, irregular spacing,
    duplicates, an incomplete time series, and slices that are shifted sideways.
    """
    first = planes[0]
    _same_grid(source, planes)
    along = np.array([plane.position @ first.normal for plane in planes])
    levels = _levels(along)
    order, repeated_by = _times(source, levels, names, keys)
    line = order[0]
    positions = along[line]
    numbers = [instances[i] for i in line] if len(order) == 1 and len(instances) else []
    if reason := uneven(positions, [names[i] for i in line], numbers):
        raise InputError(source, reason)
    metadata: dict[str, Any] = {"slice_positions": [round(float(p), 4) for p in positions], "spacing_uniform": True}
    if repeated_by:
        metadata["repeated_by"] = repeated_by
    start = planes[line[0]]
    if len(line) == 1:
        step = first.normal * (first.thickness or 1.0)
    else:
        step, tilt = _direction(source, [planes[i].position for i in line], first)
        metadata["spacing_uniform"] = _uniform(positions)
        metadata["gantry_tilt_degrees"] = tilt
    affine = start.affine(step)
    spacing = None if first.spacing is None else (float(np.linalg.norm(step)), *first.spacing)
    return Stack(order, affine, spacing, metadata)


def _same_grid(source: object, planes: Sequence[Plane]) -> None:
    first = planes[0]
    if not all(first.parallel(plane) for plane in planes):
        kinds: list[Plane] = []
        for plane in planes:
            if not any(plane.parallel(kind) for kind in kinds):
                kinds.append(plane)
        across = [abs(first.normal @ kind.normal) for kind in kinds[1:]]
        what = "a localiser, its slices cross each other" if min(across) < 0.2 else "mixed orientation"
        raise InputError(source, f"{what}: {len(planes)} slices in {len(kinds)} orientations")
    spacings = {None if plane.spacing is None else tuple(round(s, 4) for s in plane.spacing) for plane in planes}
    if len(spacings) > 1:
        raise InputError(source, f"mixed pixel spacing: {len(spacings)} kinds among {len(planes)} slices")


def _levels(along: NDArray[np.float64]) -> list[list[int]]:
    """Indices of the slices at each position, positions ascending."""
    levels: list[list[int]] = []
    last = -math.inf
    for i in np.argsort(along, kind="stable"):
        if along[i] - last > SAME_POSITION:
            levels.append([])
        levels[-1].append(int(i))
        last = along[i]
    return levels


def _times(
    source: object, levels: list[list[int]], names: Sequence[str], keys: Mapping[str, Sequence[Any]]
) -> tuple[NDArray[np.intp], str | None]:
    """`(T, D)` order of the slices, and the attribute that gave the order of the time points."""
    counts = Counter(map(len, levels))
    if len(counts) > 1:
        usual, worst = counts.most_common(1)[0][0], max(levels, key=len)
        if usual == 1:
            twice = ", ".join(names[i] for i in worst[:3])
            raise InputError(source, f"duplicate slices: {len(worst)} at one position ({twice})")
        raise InputError(
            source,
            f"incomplete time series: {len(levels)} positions with {min(counts)} to {max(counts)} slices each",
        )
    if len(levels[0]) == 1:
        return np.array(levels).T, None
    for name, values in keys.items():
        if all(_distinct([values[i] for i in level]) for level in levels):
            return np.array([sorted(level, key=lambda i: values[i]) for level in levels]).T, name
    raise InputError(
        source, f"{len(levels[0])} volumes at the same {len(levels)} positions, and nothing says which came first"
    )


def _distinct(values: list[Any]) -> bool:
    return None not in values and len(set(values)) == len(values)


def uneven(positions: NDArray[np.float64], names: Sequence[str], instances: Sequence[int | None] = ()) -> str | None:
    """Why these positions (mm, ascending) are not those of one whole volume; None where they are.

    Spacing may really change within a scan (thin slices through the skull base, thick above), so steps are taken in
    runs of like ones. Something is missing where a run stands above the runs beside it and is one step long, or two
    steps of a whole multiple between equal neighbours; and where a single odd step comes with a jump of the instance
    numbers that other steps do not have. Otherwise spacing may change at most `MOST_CHANGES` times, and a single
    smaller step between two zones is a transition.
    """
    steps = np.diff(positions)
    if len(steps) < 2:
        return None
    starts = [0] + [i for i in range(1, len(steps)) if not _alike(steps[i - 1], steps[i])]
    runs = [steps[start:end] for start, end in zip(starts, [*starts[1:], len(steps)], strict=True)]
    irregular = f"irregular slice spacing: {steps.min():.3g} to {steps.max():.3g} mm"
    if len(runs) > 2 + len(steps) / 2:
        return irregular
    jumps = _jumps(instances)
    for k, (start, run) in enumerate(zip(starts, runs, strict=True)):
        beside = [float(np.median(runs[j])) for j in (k - 1, k + 1) if 0 <= j < len(runs)]
        step, usual = float(run[0]), max(beside, default=0.0)
        alternate = len(run) == 2 and len(beside) == 2 and _alike(*beside) and abs(step / usual % 1 - 0.5) > 0.4
        above = bool(beside) and step > usual
        if (above and (len(run) == 1 or alternate)) or (len(run) == 1 and start in jumps):
            names_of = f"{names[start]} and {names[start + 1]}"
            return f"a slice is missing between {names_of}: {step:.3g} mm apart, {usual:.3g} is usual"
    return f"{irregular}, changing {len(runs) - 1} times" if len(runs) - 1 > MOST_CHANGES else None


def _alike(a: float, b: float) -> bool:
    # Positions rounded to 0.1 mm make steps of 0.6 and 0.7; half the step is what a missing slice can never hide in.
    small = min(a, b)
    return bool(abs(a - b) <= min(max(0.11, 0.05 * small), 0.5 * small))


def _jumps(instances: Sequence[int | None]) -> set[int]:
    """Steps at which the instance number changes by another amount than at nearly all others."""
    given = [n for n in instances if n is not None]
    if len(given) < 4 or len(given) < len(instances):
        return set()
    changes = [abs(b - a) for a, b in pairwise(given)]
    usual, count = Counter(changes).most_common(1)[0]
    return {i for i, change in enumerate(changes) if change != usual} if count >= 0.8 * len(changes) else set()


def _uniform(positions: NDArray[np.float64]) -> bool:
    even = np.linspace(positions[0], positions[-1], len(positions))
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    # Positions rounded to 0.1 mm lie up to 0.1 mm off the line through the first and the last.
    return bool(np.abs(positions - even).max() <= min(max(0.1, 0.05 * step), 0.25 * step))


def _direction(source: object, positions: list[NDArray[np.float64]], first: Plane) -> tuple[NDArray[np.float64], float]:
    """The mean step in LPS, and its angle to the normal in degrees. Raises InputError for a stack that is no line."""
    points = np.array(positions)
    whole = points[-1] - points[0]
    unit = whole / np.linalg.norm(whole)
    offsets = points - points[0]
    sideways = np.linalg.norm(offsets - np.outer(offsets @ unit, unit), axis=1).max()
    if sideways > max(1.0, *(first.spacing or ())):
        raise InputError(source, f"slices are shifted sideways by up to {sideways:.3g} mm, so they make no volume")
    tilt = math.degrees(math.atan2(float(np.linalg.norm(np.cross(unit, first.normal))), float(unit @ first.normal)))
    return whole / (len(points) - 1), round(tilt, 2) if tilt >= 0.05 else 0.0
