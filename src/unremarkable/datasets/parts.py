"""Cases that are a part of a file: one slice of a volume, `FILE#slice/80`, or a window, `FILE#window/10,20,120,120`."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from unremarkable.errors import InputError
from unremarkable.imaging.image import Axes, Image

_PART = re.compile(r"(?P<file>.+)#(?:slice/(?P<slice>\d+)|window/(?P<window>\d+,\d+,\d+,\d+))")
_KEPT = 3  # decoded files in one process: neighbouring slices are asked for one after the other, by several threads
_open: OrderedDict[tuple[str, int, int], Image] = OrderedDict()
_lock = threading.Lock()


def slice_of(file: Path | str, index: int) -> str:
    """The path of one slice of a volume; 0 is the first along the image's D axis."""
    return f"{file}#slice/{index}"


def window_of(file: Path | str, x: int, y: int, width: int, height: int) -> str:
    """The path of a rectangle of a picture; (x, y) is its left upper corner, all in pixels."""
    return f"{file}#window/{x},{y},{width},{height}"


def is_part(path: str) -> bool:
    """Whether a case's path names a part of a file, and not a file whose own name looks so."""
    return "#" in path and _PART.fullmatch(path) is not None and not Path(path).exists()


def load_part(path: str) -> Image:
    """The part of an image that a path names, exactly as stored, with the spacing it has and without an affine.

    Raises:
        InputError: the path is not of that form, the file cannot be read, or has no such part.
    """
    match = _PART.fullmatch(path)
    if match is None:
        raise InputError(path, "is not of the form FILE#slice/INDEX or FILE#window/X,Y,WIDTH,HEIGHT")
    image = _read(Path(match["file"]))
    axes = image.axes.removesuffix("C")
    cut: Any
    if match["slice"] is not None:
        index = int(match["slice"])
        if axes != "DHW" or index >= len(image.pixels):
            raise InputError(path, f"the file has no slice {index}: axes {image.axes}, shape {image.pixels.shape}")
        cut, drop = index, 1
    else:
        x, y, width, height = map(int, match["window"].split(","))
        rows, columns = image.pixels.shape[:2]
        if axes != "HW" or not (width and height and x + width <= columns and y + height <= rows):
            raise InputError(path, f"the window is not inside the file: axes {image.axes}, shape {image.pixels.shape}")
        cut, drop = (slice(y, y + height), slice(x, x + width)), 0
    kind: Axes = "HWC" if image.axes.endswith("C") else "HW"
    return Image(
        image.pixels[cut],
        kind,
        source=path,
        spacing=None if image.spacing is None else image.spacing[drop:],
        modality=image.modality,
        unit=image.unit,
        bits=image.bits,
        padding=None if image.padding is None else image.padding[cut],
    )


def _read(file: Path) -> Image:
    """One whole image, decoded once for its neighbouring parts."""
    from unremarkable.imaging.read import read_image

    try:
        status = file.stat()
    except OSError as error:
        raise InputError(file, "no such file") from error
    key = (str(file), status.st_mtime_ns, status.st_size)
    with _lock:
        if key not in _open:
            _open[key] = read_image(file)
            while len(_open) > _KEPT:
                _open.popitem(last=False)
        _open.move_to_end(key)
        return _open[key]
