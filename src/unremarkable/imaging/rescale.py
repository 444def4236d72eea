"""Linear rescaling of stored values (DICOM's modality LUT, NIfTI's scl_slope) into the narrowest exact type."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def rescale(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """`slope · stored + intercept`.

    Integers stay integers where slope and intercept are whole numbers: in the narrowest type that holds the result and
    is no narrower than the stored one, signed where it can be. Otherwise the result is float32 where that keeps
    neighbouring stored values apart by 64 of its own steps or more, else float64. Floating-point values keep their
    type.
    Raises ValueError for a slope of zero, or a slope or intercept that is not finite.
    """
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise ValueError(f"a rescale slope of {slope} and intercept of {intercept} leave no values")
    if slope == 1 and intercept == 0:
        return stored
    if stored.dtype.kind == "f":
        return (stored.astype(np.float64) * slope + intercept).astype(stored.dtype)
    low, high = int(stored.min()), int(stored.max())
    if float(slope).is_integer() and float(intercept).is_integer():
        m, b = int(slope), int(intercept)
        ends = [m * low + b, m * high + b]
        if max(map(abs, [*ends, m * low, m * high])) < 2**63:
            # The intermediate product may need a wider type than the result.
            wide = narrowest([low, high, m * low, m * high, m, b, *ends], stored.dtype.itemsize)
            return (stored.astype(wide) * wide.type(m) + wide.type(b)).astype(narrowest(ends, stored.dtype.itemsize))
    largest = max(abs(slope * low + intercept), abs(slope * high + intercept))
    fine = np.spacing(np.float32(largest)) * 64 <= abs(slope) if largest < np.finfo(np.float32).max else False
    result = np.empty(stored.shape, np.float32 if fine else np.float64)
    # Slice by slice: the float64 intermediate of a whole volume would take several times its size.
    for i in range(len(stored)):
        result[i] = stored[i] * np.float64(slope) + intercept
    return result


def narrowest(values: list[int], itemsize: int) -> np.dtype[Any]:
    """The narrowest integer type of at least `itemsize` bytes that holds all of `values`, signed before unsigned.

    Signed comes first so that the slices of one series, each with its own range, agree; and 8-bit only where the stored
    type is, since 8 bits say that a file's values span 0 to 255.
    """
    low, high = min(values), max(values)
    choices: list[DTypeLike] = [np.uint8] if itemsize == 1 else []
    choices += [t for t in (np.int16, np.uint16, np.int32, np.uint32, np.int64) if np.dtype(t).itemsize >= itemsize]
    for choice in choices:
        info = np.iinfo(np.dtype(choice))
        if info.min <= low and high <= info.max:
            return np.dtype(choice)
    raise ValueError(f"values from {low} to {high} fit no integer type")
