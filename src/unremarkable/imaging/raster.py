"""Exact readers for JPEG, BMP, PGM/PPM and NPY files, and what all raster readers share.

PNG and TIFF have modules of their own. Every reader takes the path of a file whose kind is already known by content,
gives the stored values unchanged, and raises InputError for what it will not guess at.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import InputError
from unremarkable.imaging.guards import check_declared, check_ratio, check_stored
from unremarkable.imaging.image import Axes, Image

# A blank 8 × 8 block takes no less than some three bits; only nearly blank progressive files come near.
_JPEG_RATIO = 2000
_PNM_HEADER = re.compile(rb"P[2356]" + rb"(?:\s+|\s*#[^\n\r]*[\n\r]\s*)+(\d{1,9})" * 3 + rb"(?:#[^\n\r]*[\n\r]|\s)")


def read_jpeg(path: Path) -> Image:
    """Read an 8-bit JPEG as `(H, W)` or RGB; CMYK is converted, the EXIF orientation applied and recorded."""
    from PIL.JpegImagePlugin import JpegImageFile

    with path.open("rb") as file, JpegImageFile(file) as picture:
        metadata: dict[str, Any] = {"format": "JPEG"}
        width, height = picture.size
        declared = check_declared(path, (height, width, len(picture.getbands())), 1)
        check_ratio(path, declared, path.stat().st_size, _JPEG_RATIO)
        orientation = picture.getexif().get(274, 1) if "exif" in picture.info else 1
        if picture.mode == "CMYK":
            metadata["converted_from"] = "CMYK"
            pixels = np.asarray(picture.convert("RGB"))
        else:
            pixels = np.asarray(picture)
    if orientation != 1:
        metadata["orientation"] = orientation
    return image_of(orient(pixels, orientation), path, bits=8, metadata=metadata)


def read_bmp(path: Path) -> Image:
    """Read a BMP as 8-bit `(H, W)` or RGB; its fourth channel, which the format reserves, is dropped."""
    from PIL.BmpImagePlugin import BmpImageFile

    with path.open("rb") as file, BmpImageFile(file) as picture:
        (width, height), mode = picture.size, picture.mode
        declared = check_declared(path, (height, width, len(picture.getbands())), 1)
        check_ratio(path, declared, path.stat().st_size, 256)
        grey = mode in ("1", "L")
        pixels = np.asarray(picture if mode in ("L", "RGB") else picture.convert("L" if grey else "RGB"))
    return image_of(pixels, path, bits=8, metadata={"format": "BMP"})


def read_pnm(path: Path) -> Image:
    """Read PGM or PPM, as text or binary, up to 16 bits; `bits` comes from its largest value, kept as `maxval`."""
    data = path.read_bytes()
    header = _PNM_HEADER.match(data)
    if header is None:
        raise InputError(path, "damaged PGM/PPM header")
    width, height, maxval = (int(number) for number in header.groups())
    if not 0 < maxval < 65536:
        raise InputError(path, f"PGM/PPM maximum of {maxval}, not in 1-65535")
    kind, body = data[:2], memoryview(data)[header.end() :]
    shape = (height, width, 3) if kind in (b"P3", b"P6") else (height, width)
    itemsize = 1 if maxval < 256 else 2
    declared, count = check_declared(path, shape, itemsize), int(np.prod(shape))
    if kind in (b"P5", b"P6"):
        check_stored(path, declared, len(body))
        pixels = np.frombuffer(body, dtype=f">u{itemsize}", count=count)
    else:
        check_stored(path, 2 * count - 1, len(body))
        words = re.sub(rb"#[^\n\r]*", b" ", body).split(maxsplit=count)[:count]
        check_stored(path, count, len(words))
        pixels = np.array(words, dtype=np.int64)
    if pixels.max() > maxval or pixels.min() < 0:
        raise InputError(path, f"has values outside the 0-{maxval} that its header declares")
    pixels = pixels.astype(f"u{itemsize}").reshape(shape)
    return image_of(pixels, path, bits=maxval.bit_length(), metadata={"format": "PNM", "maxval": maxval})


def read_npy(path: Path) -> Image:
    """Read an NPY array of numbers: `(H, W)`, `(H, W, 3)` as colour, any other three axes as `(D, H, W)`."""
    from numpy.lib import format as npy

    with path.open("rb") as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
        if dtype.kind not in "buif":
            raise InputError(path, f"holds {dtype} values; an image needs whole numbers or floats")
        if len(shape) not in (2, 3):
            raise InputError(path, f"holds an array of shape {shape}; an image has 2 or 3 axes")
        needed = check_declared(path, shape, dtype.itemsize)
        check_stored(path, needed, path.stat().st_size - file.tell())
        pixels = np.fromfile(file, dtype=dtype, count=int(np.prod(shape)))
    pixels = pixels.reshape(shape[::-1]).T if fortran else pixels.reshape(shape)
    return image_of(pixels, path, metadata={"format": "NPY"})


def image_of(
    pixels: NDArray[Any],
    path: Path,
    *,
    axes: Axes | None = None,
    bits: int | None = None,
    spacing: tuple[float, ...] | None = None,
    padding: NDArray[np.bool_] | None = None,
    metadata: dict[str, Any],
) -> Image:
    """An Image of contiguous values in the machine's byte order; raises InputError for NaN and infinity.

    Axes not given are told from the shape; bits not given are all those of a whole-number type.
    """
    if pixels.dtype.kind == "b":
        pixels, bits = pixels.astype(np.uint8), 1
    pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    if pixels.dtype.kind == "f":
        bits = None
        broken = pixels.size - int(np.count_nonzero(np.isfinite(pixels)))
        if broken:
            raise InputError(path, f"{broken} of its {pixels.size} values are NaN or infinite; replace them first")
    elif bits is None:
        bits = pixels.dtype.itemsize * 8
    if axes is None:
        axes = "HW" if pixels.ndim == 2 else "HWC" if pixels.shape[-1] == 3 else "DHW"
    return Image(pixels, axes, str(path), spacing=spacing, bits=bits, padding=padding, metadata=metadata)


def orient(pixels: NDArray[Any], orientation: int, row_axis: int = 0) -> NDArray[Any]:
    """Turn pixels upright by the EXIF/TIFF orientation code 1-8; columns are the axis after `row_axis`.

    Source: TIFF 6.0, tag Orientation.
    """
    if orientation > 4:
        pixels = pixels.swapaxes(row_axis, row_axis + 1)
    # Codes 5-8 differ from 1-4 by the exchange of rows and columns, and by these flips after it.
    flip_rows, flip_columns = {3: (1, 1), 7: (1, 1), 2: (0, 1), 6: (0, 1), 4: (1, 0), 8: (1, 0)}.get(
        orientation, (0, 0)
    )
    return np.flip(pixels, (row_axis,) * flip_rows + (row_axis + 1,) * flip_columns)


def drop_alpha(pixels: NDArray[Any], path: Path, opaque: int) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Take the last channel of `(H, W, C)` off as alpha: pixels without it, and where it is 0 as padding (or None).

    Raises InputError where pixels are half transparent: their colour depends on a background the file does not have.
    """
    alpha, pixels = pixels[..., -1], pixels[..., :-1]
    clear = alpha == 0
    between = alpha.size - int(np.count_nonzero(clear)) - int(np.count_nonzero(alpha == opaque))
    if between:
        raise InputError(path, f"{between} of its {alpha.size} pixels are half transparent; flatten it first")
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels, clear if clear.any() else None
