"""Image: exact pixel values with their geometry, as they came from a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Axes = Literal["HW", "HWC", "DHW", "DHWC", "TDHW"]


@dataclass(frozen=True, eq=False)
class Image:
    """One picture or volume, as stored, after the modality LUT and before any scaling for display or for a network.

    Attributes:
        pixels: values in the narrowest type that holds them exactly; never 8-bit unless the file is.
        axes: meaning of each axis of `pixels`: D slices or frames (along the acquisition axis), H rows, W columns,
            C the three colours R, G, B, T time points.
        spacing: millimetres between neighbours along the spatial axes, in the order of `axes` (`(row, column)` or
            `(slice, row, column)`); None where the file does not say.
        affine: 4x4, from `(slice, row, column, 1)` to RAS+ millimetres; None where the file does not say.
        source: the file or folder it came from.
        modality: DICOM's code ("CT", "MR", "DX", ...) or None.
        unit: physical unit of the values ("HU") or None.
        bits: bits that the file says are in use per value (12 in a 16-bit word, say); None for floating point.
        padding: True where the file says there is no data (DICOM pixel padding), of `pixels`' spatial shape; or None.
        metadata: what else the file says and a reader may ask for; JSON-compatible values only.
    """

    pixels: NDArray[Any]
    axes: Axes
    source: str
    spacing: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None
    modality: str | None = None
    unit: str | None = None
    bits: int | None = None
    padding: NDArray[np.bool_] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.pixels.ndim != len(self.axes):
            raise ValueError(f"pixels of {self.pixels.ndim} axes, named {self.axes!r}")
        if self.axes.endswith("C") and self.pixels.shape[-1] != 3:
            raise ValueError(f"colour images have 3 channels, not {self.pixels.shape[-1]}")

    @property
    def is_volume(self) -> bool:
        """Whether the image has more than one slice axis, and becomes several model inputs."""
        return self.axes not in ("HW", "HWC")
