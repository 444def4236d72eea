"""An anomaly map drawn over its image: the more anomalous, the stronger the colour; what is normal stays untouched."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unremarkable.errors import UsageError

#: Violet, magenta, orange, yellow in OKLab (Ottosson 2020): lightness rises evenly, so the order survives colour
#: blindness and greyscale print, and no colour is near grey, which the anatomy has.
ANCHORS = ((0.42, 0.09, -0.17), (0.55, 0.20, -0.04), (0.70, 0.13, 0.12), (0.88, -0.01, 0.17))
#: The image always shines through, even at the strongest colour.
STRONGEST = 0.65


@cache
def colours() -> NDArray[np.uint8]:
    """The colour scale, `(256, 3)` sRGB, from the weakest to the strongest."""
    anchors = np.array(ANCHORS)
    place = np.linspace(0, len(anchors) - 1, 256)
    lab = np.stack([np.interp(place, np.arange(len(anchors)), channel) for channel in anchors.T], axis=1)
    cone = (lab @ np.array([[1, 1, 1], [0.3963378, -0.1055613, -0.0894842], [0.2158038, -0.0638542, -1.2914855]])) ** 3
    linear = cone @ np.array(
        [[4.0767417, -1.2684380, -0.0041961], [-3.3077116, 2.6097574, -0.7034186], [0.2309699, -0.3413194, 1.7076147]]
    )
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    table = np.rint(255 * encoded).astype(np.uint8)
    table.flags.writeable = False
    return table


@cache
def _opacity() -> list[int]:
    level = np.linspace(0, 1, 256)
    return [int(value) for value in np.rint(255 * STRONGEST * level * level * (3 - 2 * level))]


def overlay(
    image: NDArray[np.floating] | NDArray[np.uint8], anomaly_map: NDArray[np.floating], low: float, high: float
) -> NDArray[np.uint8]:
    """The map over its image, `(H, W, 3)` sRGB.

    Args:
        image: `(H, W)` or `(H, W, 3)`, in [0, 1] or uint8.
        anomaly_map: `(h, w)`, enlarged bilinearly to the image.
        low: map value up to which the bare image shows.
        high: map value of the strongest colour; from the calibration, so that all cases share one scale.

    Raises:
        UsageError: other shapes.
    """
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or anomaly_map.ndim != 2:
        raise UsageError(
            f"an image (H, W) or (H, W, 3) and a map (h, w) are needed, not {image.shape}, {anomaly_map.shape}"
        )
    if image.dtype != np.uint8:
        image = (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    base = Image.fromarray(image).convert("RGB")
    level = Image.fromarray(_levels(anomaly_map, image.shape[:2], low, high))
    opacity = level.point(_opacity())
    level.putpalette(colours().tobytes())
    return np.asarray(Image.composite(level.convert("RGB"), base, opacity))


def _levels(anomaly_map: NDArray[np.floating], size: tuple[int, ...], low: float, high: float) -> NDArray[np.uint8]:
    """The map at the image's size `(H, W)` as 0 (at most `low`) to 255 (at least `high`)."""
    # On constant maps high equals low, and any excess is full strength.
    factor = np.float32(255 / max(high - low, 1e-30))
    above = (np.nan_to_num(anomaly_map.astype(np.float32), nan=low) - np.float32(low)) * factor
    return (
        np.asarray(Image.fromarray(above).resize((size[1], size[0]), Image.Resampling.BILINEAR))
        .clip(0, 255)
        .astype(np.uint8)
    )
