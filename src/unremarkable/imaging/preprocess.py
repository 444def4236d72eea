"""Preprocess: the only place where an Image becomes model input."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import InputError, UsageError, unknown_name
from unremarkable.imaging import intensity as intensities
from unremarkable.imaging.image import Image
from unremarkable.imaging.intensity import choose_channels, choose_intensity

__all__ = ["Preprocess", "choose_channels", "choose_intensity"]

FITS = ("resize", "pad")
PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class Preprocess:
    """How images become model input; saved with a model, and the same in fitting, scoring, export and service.

    Attributes:
        size: rows and columns of the input.
        channels: 1, colour becoming luminance; or 3, grey being repeated.
        intensity: "dtype" (the range of the type), "percentile" (of the whole image or volume, padding left out),
            "range", "window" (CT in HU), or a window by name, as in `intensity.WINDOWS`; values outside are clipped.
        low, high: the percentiles (0.5 and 99.5 unless given), or the values of "range".
        window: (centre, width) in HU, for "window".
        fit: "resize" to the size, or "pad", which keeps the proportions in millimetres and fills with 0.

    Raises UsageError for settings that are not allowed together.
    """

    size: tuple[int, int] = (224, 224)
    channels: int = 1
    intensity: str = "percentile"
    low: float | None = None
    high: float | None = None
    window: tuple[float, float] | None = None
    fit: str = "resize"

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(isinstance(side, int) and 1 <= side <= 8192 for side in self.size):
            raise UsageError(f"size must be two whole numbers from 1 to 8192, rows and columns, not {self.size}")
        if self.channels not in (1, 3):
            raise UsageError(f"channels must be 1 or 3, not {self.channels}")
        if self.intensity not in intensities.POLICIES:
            raise unknown_name("intensity policy", self.intensity, intensities.POLICIES)
        if self.fit not in FITS:
            raise unknown_name("fit", self.fit, FITS)
        if (self.window is None) is (self.intensity == "window"):
            raise UsageError("a window (centre, width) and intensity 'window' belong together: give both or neither")
        if self.window is not None:
            intensities.window_limits(self.window)
        if self.intensity not in ("percentile", "range") and (self.low, self.high) != (None, None):
            raise UsageError(f"low and high have no meaning with intensity {self.intensity!r}")
        if self.intensity == "range" and (self.low is None or self.high is None or not self.low < self.high):
            raise UsageError(f"intensity 'range' needs low < high, not {self.low} and {self.high}")
        if self.intensity == "percentile":
            low, high = self.percentiles
            if not 0 <= low < high <= 100:
                raise UsageError(f"percentiles must be 0 <= low < high <= 100, not {low:g} and {high:g}")

    @property
    def percentiles(self) -> tuple[float, float]:
        """The percentiles in force."""
        return (
            PERCENTILES[0] if self.low is None else self.low,
            PERCENTILES[1] if self.high is None else self.high,
        )

    @classmethod
    def plan(cls, images: Sequence[Image], **chosen: Any) -> tuple[Preprocess, tuple[str, ...]]:
        """Preprocess for images like these, and lines that say why; what is `chosen` stays as it is.

        Raises UsageError for a setting that does not exist or is not allowed.
        """
        _refuse_unknown(chosen)
        reasons = []
        if "intensity" not in chosen:
            chosen["intensity"], why = choose_intensity(images)
            reasons.append(f"intensity {chosen['intensity']}: {why}")
        if "channels" not in chosen:
            chosen["channels"] = choose_channels(images)
            reasons.append(f"channels {chosen['channels']}: {'grey' if chosen['channels'] == 1 else 'colour'} images")
        return cls(**chosen), tuple(reasons)

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """Model input `(N, channels, *size)` in [0, 1], contiguous: N = 1, or one per slice (of each time point).

        Raises InputError where the values do not suit the intensity policy, or are not finite.
        """
        stored, padding = _slices(image)
        colour = image.axes.endswith("C") and self.channels == 3
        slices = intensities.luminance(stored) if stored.ndim == 4 and not colour else stored
        limits = self._limits(image, stored, slices, padding)
        top, left, height, width = self.box(image)
        inputs = np.zeros((len(slices), self.channels, *self.size), np.float32)
        inside = inputs[:, :, top : top + height, left : left + width]
        for index, values in enumerate(slices):
            unit = intensities.scale(values, limits)
            if padding is not None:
                unit[padding[index]] = 0
            if colour:
                for channel in range(3):
                    inside[index, channel] = resize(unit[..., channel], (height, width))
            else:
                inside[index] = resize(unit, (height, width))
        return inputs

    def box(self, image: Image) -> tuple[int, int, int, int]:
        """Top, left, height and width of the place that `image` takes in its model input."""
        if self.fit == "resize":
            return 0, 0, *self.size
        row_axis = image.axes.index("H")
        height, width = image.pixels.shape[row_axis : row_axis + 2]
        if image.spacing is not None:
            height, width = height * image.spacing[-2], width * image.spacing[-1]
        factor = min(self.size[0] / height, self.size[1] / width)
        inner = max(1, round(height * factor)), max(1, round(width * factor))
        return (self.size[0] - inner[0]) // 2, (self.size[1] - inner[1]) // 2, *inner

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON takes them."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Preprocess:
        """The Preprocess that `to_dict` wrote. Raises UsageError for keys and values that do not exist."""
        _refuse_unknown(settings)
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
        }
        try:
            return cls(**values)
        except TypeError as error:
            raise UsageError(f"preprocess settings of a wrong type: {error}") from None

    def _limits(
        self, image: Image, stored: NDArray[Any], slices: NDArray[Any], padding: NDArray[np.bool_] | None
    ) -> intensities.Limits:
        """The values of `slices` that become 0 and 1; `stored` are the same before colour became luminance."""
        broken = 0 if stored.dtype.kind != "f" else stored.size - int(np.count_nonzero(np.isfinite(stored)))
        if broken:
            raise InputError(image.source, f"{broken} of its {stored.size} values are NaN or infinite")
        if self.intensity == "dtype":
            values = stored if padding is None else stored[~padding]
            return intensities.dtype_limits(values, image.bits, image.source)
        if self.intensity == "percentile":
            return intensities.percentile_limits(slices if padding is None else slices[~padding], *self.percentiles)
        if self.intensity == "range":
            assert self.low is not None
            assert self.high is not None
            return self.low, self.high
        if image.unit != "HU":
            raise InputError(
                image.source, f"intensity {self.intensity} needs values in HU, which these are not; use percentile"
            )
        return intensities.window_limits(self.window or intensities.WINDOWS[self.intensity])


def _refuse_unknown(settings: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(Preprocess)]
    for name in settings:
        if name not in known:
            raise unknown_name("preprocess setting", name, known)


def _slices(image: Image) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The image as `(N, H, W)` or `(N, H, W, 3)`, and its padding as `(N, H, W)` or None."""
    row_axis = image.axes.index("H")
    slices = image.pixels.reshape(-1, *image.pixels.shape[row_axis:])
    return slices, None if image.padding is None else image.padding.reshape(slices.shape[:3])


def resize(
    values: NDArray[np.float32], size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> NDArray[np.float32]:
    """Bilinear `(h, w)` to `size`, of the part `box` (left, top, right, bottom) only; averages where it shrinks."""
    if box is not None:
        # Cut first: the filter would reach over the edge of the box and take in what lies beside it.
        left, top = int(box[0]), int(box[1])
        values = values[top : math.ceil(box[3]), left : math.ceil(box[2])]
        box = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    if size == values.shape:
        return values
    from PIL.Image import Resampling, fromarray

    picture = fromarray(np.ascontiguousarray(values))
    return np.asarray(picture.resize(size[::-1], Resampling.BILINEAR, box=box))
