"""What can be said of an image without understanding it: size, type, brightness, border, and a thumbnail."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.datasets.case import Case
from unremarkable.datasets.load import digest, is_member, load_case
from unremarkable.datasets.parts import is_part
from unremarkable.datasets.series import series_files
from unremarkable.errors import InputError
from unremarkable.imaging.image import Image

THUMBNAIL = 32
#: Values that have an order, and those that have none.
NUMBERS = ("width", "height", "aspect", "slices", "bits", "file_size", "jpeg_tables", "mean", "std", "border")
NAMES = ("colour", "file_type")


@dataclass(frozen=True, eq=False)
class Look:
    """One case at a glance.

    Attributes:
        digest: sha256 of its bytes.
        values: by descriptor, a number, a name, or None where it has none. `bits` is the bit depth, 32 or 64 for
            floating point; `file_size` is in bytes; `jpeg_tables` is the mean of the quantisation steps, large for
            strong compression; `border` is the mean of the outermost 1/32 of the picture; `colour` is "grey",
            "grey stored as colour" or "colour". Of a volume, pixels are those of the middle slice.
        thumbnail: float32 `(32, 32)`.
    """

    digest: str
    values: dict[str, float | str | None]
    thumbnail: NDArray[np.float32]


def look(case: Case) -> Look | InputError:
    """Read one case and describe it; the InputError if it cannot be read."""
    try:
        return describe(case, load_case(case))
    except InputError as error:
        return error
    except Exception as error:  # one strange file must not end a check of ten thousand
        return InputError(case.path, f"unexpected {type(error).__name__}: {error}")


def describe(case: Case, image: Image) -> Look:
    """Describe a case that has been read."""
    grey, colour, slices = _middle(image)
    height, width = grey.shape
    frame = max(1, round(min(height, width) / 32))
    inner = grey[frame:-frame, frame:-frame]
    rim = grey.size - inner.size
    itemsize = 8 * image.pixels.dtype.itemsize
    kind = _file_type(case)
    values: dict[str, float | str | None] = {
        "width": width,
        "height": height,
        "aspect": width / height,
        "slices": slices,
        "bits": image.bits or itemsize,
        "file_size": _file_size(case),
        "jpeg_tables": _jpeg_tables(case) if kind == "JPEG" and not is_part(case.path) else None,
        "mean": float(grey.mean()),
        "std": float(grey.std()),
        "border": float((grey.sum() - inner.sum()) / rim) if rim else float(grey.mean()),
        "colour": colour,
        "file_type": kind,
    }
    return Look(digest(case), values, _thumbnail(grey))


def outlines(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thumbnails `(N, 32, 32)` as unit vectors `(N, 1024)` whose products tell whether two show the same picture.

    Slow changes are taken out first, since all chest radiographs have those in common; what is left, edges and
    texture, survives resizing, recompression and a change of brightness or contrast. A blank image becomes zeros.
    """
    from scipy.ndimage import gaussian_filter

    sharp = thumbnails - gaussian_filter(thumbnails, (0, 2, 2), mode="nearest")
    vectors = sharp.reshape(len(sharp), -1)
    vectors = vectors - vectors.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    blank = lengths < 1e-4 * np.abs(thumbnails).reshape(len(sharp), -1).max(axis=1, keepdims=True) + 1e-12
    unit: NDArray[np.float32] = np.where(blank, 0, vectors / np.where(blank, 1, lengths)).astype(np.float32)
    return unit


def _middle(image: Image) -> tuple[NDArray[np.float32], str, int]:
    """The image, or a volume's middle slice, in grey `(H, W)`; its colour mode; and the number of slices."""
    rows = image.axes.index("H")
    slices = image.pixels.reshape(-1, *image.pixels.shape[rows:])
    pixels = slices[len(slices) // 2].astype(np.float32)
    if image.pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels, posinf=0, neginf=0)
    if pixels.ndim == 2:
        return pixels, "grey", len(slices)
    red, green, blue = (pixels[..., channel] for channel in range(3))
    spread = max(float(np.abs(red - green).max()), float(np.abs(green - blue).max()))
    # Chroma subsampling leaves a step or two of colour in what was grey.
    colour = "grey stored as colour" if spread <= 0.01 * max(float(green.max()), 1.0) else "colour"
    return (red + green + blue) / 3, colour, len(slices)


def _thumbnail(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    from PIL.Image import Resampling, fromarray

    small = fromarray(np.ascontiguousarray(grey)).resize((THUMBNAIL, THUMBNAIL), Resampling.BOX)
    return np.asarray(small)


def _file_type(case: Case) -> str | None:
    from unremarkable.imaging.read import image_kind

    if is_member(case.path):
        return "NPZ"
    if is_part(case.path):
        return image_kind(case.path.rpartition("#")[0]) or "DICOM"
    return image_kind(case.path) or "DICOM"


def _file_size(case: Case) -> float | None:
    if is_member(case.path) or is_part(case.path):
        return None
    path = Path(case.path)
    files = series_files(case.path) or (tuple(path.iterdir()) if path.is_dir() else (path,))
    return float(sum(file.stat().st_size for file in files))


def _jpeg_tables(case: Case) -> float | None:
    from PIL import Image as Pillow

    with Pillow.open(case.path) as file:
        tables: dict[int, Any] = getattr(file, "quantization", {})
    return float(np.mean(tables[0])) if tables else None
