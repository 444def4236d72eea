"""Intensity policies: which stored value becomes 0 and which becomes 1 in a model's input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import InputError, UsageError
from unremarkable.imaging.image import Image

# Centre and width in HU, as commonly set for reading CT; each name is an intensity policy of its own.
WINDOWS: dict[str, tuple[float, float]] = {
    "abdomen": (50, 400),
    "bone": (400, 1800),
    "brain": (40, 80),
    "liver": (30, 150),
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "soft-tissue": (40, 400),
    "spine": (50, 250),
    "stroke": (40, 40),
    "subdural": (75, 215),
    "temporal-bone": (600, 2800),
}
POLICIES = ("dtype", "percentile", "range", "window", *WINDOWS)
_BODY_PARTS = {
    "HEAD": "brain",
    "BRAIN": "brain",
    "SKULL": "brain",
    "CHEST": "lung",
    "LUNG": "lung",
    "ABDOMEN": "abdomen",
}
_REC_601 = np.array([0.299, 0.587, 0.114])
Limits = tuple[float, float]


def parse_intensity(text: str) -> dict[str, Any]:
    """Settings of `Preprocess` from one text: a policy's name, "window:CENTRE/WIDTH" or "range:LOW/HIGH".

    Raises UsageError where the numbers cannot be read; `Preprocess` refuses names that do not exist.
    """
    name, separator, numbers = text.partition(":")
    if not separator:
        return {"intensity": name}
    try:
        first, second = (float(number) for number in numbers.split("/"))
    except ValueError:
        raise UsageError(f"intensity {text!r} is not understood; write window:CENTRE/WIDTH or range:LOW/HIGH") from None
    return {"intensity": name} | ({"window": (first, second)} if name == "window" else {"low": first, "high": second})


def window_limits(window: tuple[float, float]) -> Limits:
    """The values that a window (centre, width) shows as black and as white. Raises UsageError for a bad width."""
    centre, width = window
    if not width > 0:
        raise UsageError(f"a window's width must be positive, not {width:g}")
    return centre - width / 2, centre + width / 2


def dtype_limits(values: NDArray[Any], bits: int | None, source: str) -> Limits:
    """The range that the type of `values` can hold: all `bits` in use, or 0 to 1 for floats.

    Raises InputError where values lie outside, or more than 16 bits are in use, which tells no range.
    """
    if values.dtype.kind == "f":
        low, high, name = 0.0, 1.0, "floating-point values"
    else:
        bits = bits or values.dtype.itemsize * 8
        if bits > 16:
            raise InputError(source, f"{bits}-bit values tell no range; use intensity percentile, window or range")
        low = -(2.0 ** (bits - 1)) if values.dtype.kind == "i" else 0.0
        high, name = low + 2.0**bits - 1, f"{bits}-bit values"
    if values.size and (values.min() < low or values.max() > high):
        raise InputError(
            source,
            f"intensity dtype takes {name} to lie in {low:g} to {high:g}, here they span {values.min():g} to "
            f"{values.max():g}; use intensity percentile, window or range",
        )
    return low, high


def percentile_limits(values: NDArray[Any], low: float, high: float) -> Limits:
    """The percentiles `low` and `high` (0-100) of all `values`, which are finite.

    A percentile is a value that occurs: the smallest with at least that share of values at or below it. Where both
    fall together (a small object on a large even ground), the least and the greatest value take their place.
    """
    if values.size == 0:
        return 0.0, 0.0
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        # Counting is many times faster than sorting, and as exact.
        shift = int(values.min()) if values.dtype.kind == "i" else 0
        total = np.cumsum(np.bincount((np.subtract(values, shift, dtype=np.intp) if shift else values).ravel()))
        ranks = np.maximum(np.ceil(np.array([low, high]) / 100 * values.size), 1)
        bounds = np.searchsorted(total, ranks) + shift
    else:
        bounds = np.percentile(values, [low, high], method="inverted_cdf")
    if bounds[0] == bounds[1]:
        return float(values.min()), float(values.max())
    return float(bounds[0]), float(bounds[1])


def scale(values: NDArray[Any], limits: Limits) -> NDArray[np.float32]:
    """Map `values` linearly, the limits to 0 and 1, and clip. Limits with no finite span between them give zeros."""
    low, high = limits
    if not 0 < high - low < np.inf:
        return np.zeros(values.shape, np.float32)
    # Whole numbers of 16 bits are exact in float32; larger ones must lose their offset first.
    exact = np.float32 if values.dtype.itemsize <= 2 else np.float64
    unit = np.subtract(values, exact(low), dtype=exact)
    unit /= exact(high - low)
    return np.clip(unit, 0, 1, out=unit).astype(np.float32, copy=False)


def is_grey(pixels: NDArray[Any]) -> bool:
    """Whether the three channels of `(..., 3)` colour pixels are equal."""
    red = pixels[..., 0]
    return bool(np.array_equal(red, pixels[..., 1]) and np.array_equal(red, pixels[..., 2]))


def luminance(pixels: NDArray[Any]) -> NDArray[Any]:
    """Grey of `(..., 3)` colour pixels by ITU-R BT.601; where the channels are equal, their very values."""
    if is_grey(pixels):
        return np.ascontiguousarray(pixels[..., 0])
    exact = np.result_type(pixels, np.float32)
    return pixels.astype(exact, copy=False) @ _REC_601.astype(exact)


def choose_intensity(images: Sequence[Image]) -> tuple[str, str]:
    """The policy for images like these, and the reason in words.

    CT in Hounsfield units gets the window of its body part where all files name one, else the soft-tissue window;
    8-bit images keep their range; all else, whose values have no fixed meaning, goes by robust percentiles.
    """
    if images and all(image.unit == "HU" for image in images):
        parts = {str(image.metadata.get("body_part") or "").upper() for image in images}
        windows = {next((window for part, window in _BODY_PARTS.items() if part in named), None) for named in parts}
        window = windows.pop() if len(windows) == 1 else None
        if window:
            return window, f"values in HU, body part {' or '.join(sorted(parts))}"
        return "soft-tissue", "values in HU, and the files do not agree on a body part with a window of its own"
    if images and all(image.pixels.dtype == np.uint8 for image in images):
        return "dtype", "all images are 8-bit"
    return "percentile", "values without a common physical unit or range"


def choose_channels(images: Sequence[Image]) -> int:
    """3 where one image in ten or more shows colour, else 1.

    A tint that hardly shows does not count: JPEG leaves one in grey scans that were stored as colour.
    """
    coloured = sum(image.axes.endswith("C") and _shows_colour(image.pixels) for image in images)
    return 3 if coloured and coloured * 10 >= len(images) else 1


def _shows_colour(pixels: NDArray[Any]) -> bool:
    """Whether the channels differ by a sixteenth of the image's span in more than one pixel of a hundred."""
    if is_grey(pixels):
        return False
    red, green, blue = (pixels[..., channel].astype(np.float64) for channel in range(3))
    most = np.maximum(np.maximum(red, green), blue)
    least = np.minimum(np.minimum(red, green), blue)
    return float(np.mean(most - least > (most.max() - least.min()) / 16)) > 0.01
