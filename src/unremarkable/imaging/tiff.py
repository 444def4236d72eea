"""Exact reader for TIFF and BigTIFF files of whole numbers and floats, with one page or many."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import InputError
from unremarkable.imaging.guards import bounded_inflate, check_declared, check_ratio, check_stored, limits
from unremarkable.imaging.image import Axes, Image
from unremarkable.imaging.raster import drop_alpha, image_of, orient

if TYPE_CHECKING:
    from tifffile import TiffFile

_NONE, _DEFLATE = 1, (8, 32946)
# tifffile alone does not decode these; Pillow brings libtiff, and is exact where it has a mode for the values.
_BY_PILLOW = (2, 3, 4, 5, 7, 32773)  # CCITT RLE, G3 and G4, LZW, JPEG, PackBits
_PACKED = (2, 4, 12)  # bits a value, of which tifffile alone unpacks none
_FLOAT_PREDICTOR = 3
_RATIO = 80_000  # a blank row of fax-coded pixels takes one bit
_DEFLATE_RATIO = 1032
_MINISWHITE, _PALETTE = 0, 3
_UNITS = {"inch": 25.4, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "\\u00B5m": 1e-3, "micron": 1e-3}


def read_tiff(path: Path) -> Image:
    """Read a TIFF as stored: `(H, W)`, `(H, W, 3)`, or `(D, H, W)` and `(D, H, W, 3)` from pages of one size.

    White-is-zero values are inverted within their bits, palettes looked up, the orientation tag applied and recorded.
    Spacing is given where the file names a unit (for a volume, where it also gives the distance of its slices).
    Alpha is treated as for PNG.
    """
    from tifffile import TiffFile

    with TiffFile(path) as tiff:
        stack = _series(path, tiff)
        page, names = stack[0].keyframe, stack[0].axes
        check_declared(path, (len(stack), *stack[0].shape), page.dtype.itemsize)
        for series in stack:
            _check(path, tiff, series)
        by_pillow = (
            page.compression in _BY_PILLOW or page.bitspersample in _PACKED or page.predictor == _FLOAT_PREDICTOR
        )
        parts = [_decode_by_pillow(path, tiff, series) if by_pillow else series.asarray() for series in stack]
        pixels, names = (parts[0], names) if len(parts) == 1 else (np.stack(parts), f"I{names}")
        colormap = page.colormap
        row, column, between = _spacing(tiff, page)
        orientation = page.tags[274].value if 274 in page.tags else 1
        metadata: dict[str, Any] = {"format": "TIFF", "compression": _compression(page)}

    pixels, axes = _arrange(path, pixels, names)
    if orientation != 1:
        metadata["orientation"] = orientation
        pixels = orient(pixels, orientation, axes.index("H"))
        row, column = (column, row) if orientation > 4 else (row, column)
    bits, padding = page.bitspersample, None
    if page.photometric == _MINISWHITE:
        pixels = _invert(path, pixels, bits)
    if page.photometric == _PALETTE and colormap is not None:
        pixels, bits = _look_up(colormap, pixels)
        axes = "DHWC" if axes == "DHW" else "HWC"
    if axes.endswith("C"):
        if "S" in names and pixels.shape[-1] in (2, 4):
            pixels, padding = drop_alpha(pixels, path, 1 if pixels.dtype.kind == "f" else 2**bits - 1)
            axes = axes if pixels.ndim == len(axes) else ("DHW" if axes == "DHWC" else "HW")
        elif pixels.shape[-1] != 3:
            raise InputError(path, f"has {pixels.shape[-1]} channels; an image has 1 or 3")
    spacing: tuple[float, ...] | None = None
    if row and column and axes.startswith("H"):
        spacing = (row, column)
    elif row and column and between:
        spacing = (between, row, column)
    return image_of(pixels, path, axes=axes, bits=bits, spacing=spacing, padding=padding, metadata=metadata)


def _series(path: Path, tiff: TiffFile) -> list[Any]:
    """The pages that tifffile takes together; several such series only where they are of one kind, to be stacked."""
    found = [series for series in tiff.series if not series.keyframe.is_reduced] or list(tiff.series)
    if len({(series.shape, series.axes, series.keyframe.hash) for series in found}) != 1:
        raise InputError(path, f"holds {len(found)} pictures of different sizes or types; save one to a file")
    if any(page is None for series in found for page in series.pages):
        raise InputError(path, "lacks pages that its header names; they may lie in another file")
    page = found[0].keyframe
    if page.dtype is None or page.dtype.kind not in "buif":
        raise InputError(path, f"holds {page.dtype or 'unknown'} values; an image needs whole numbers or floats")
    if page.compression not in (_NONE, *_DEFLATE, *_BY_PILLOW):
        raise InputError(path, f"has {_compression(page)} compression; save it with deflate, LZW or none")
    return found


def _check(path: Path, tiff: TiffFile, series: Any) -> None:
    """Refuse sizes that the file cannot hold, before anything is decoded."""
    page = series.keyframe
    declared = check_declared(path, series.shape, page.dtype.itemsize)
    size = tiff.filehandle.size
    if page.compression == _NONE and series.dataoffset is not None:
        check_stored(path, declared, size - series.dataoffset)
        return
    segments = [
        (offset, count)
        for each in series.pages
        for offset, count in zip(each.dataoffsets, each.databytecounts, strict=True)
    ]
    if any(offset + count > size for offset, count in segments):
        raise InputError(path, "truncated: its pixel data lie beyond the end of the file")
    stored = sum(count for _, count in segments)
    if page.compression == _NONE:
        check_stored(path, declared * page.bitspersample // (8 * page.dtype.itemsize), stored)
    check_ratio(path, declared, stored, _DEFLATE_RATIO if page.compression in _DEFLATE else _RATIO)
    if page.compression in _DEFLATE:
        # tifffile inflates a whole segment, however large; only those that could grow far are worth a trial.
        segment = int(np.prod(page.chunks)) * page.dtype.itemsize
        for offset, count in segments:
            if count * _DEFLATE_RATIO > max(limits().ratio_applies_from * 4, 2 * segment):
                tiff.filehandle.seek(offset)
                bounded_inflate(tiff.filehandle.read(count), 2 * segment, source=path)


def _compression(page: Any) -> str:
    return str(getattr(page.compression, "name", page.compression))


def _decode_by_pillow(path: Path, tiff: TiffFile, series: Any) -> NDArray[Any]:
    """Values of the shape and type that tifffile names for the series; InputError where Pillow would change them."""
    from PIL.TiffImagePlugin import TiffImageFile

    page = series.keyframe
    colour, wide = page.samplesperpixel > 1, page.dtype.itemsize > (2 if page.photometric == _MINISWHITE else 4)
    if wide or (colour and page.dtype != np.uint8) or page.dtype == np.float16:
        raise InputError(
            path,
            f"holds {'colour' if colour else 'grey'} {page.dtype} values with {_compression(page)} compression, "
            "which cannot be read exactly here; save it uncompressed",
        )
    data = bytearray(path.read_bytes())
    for each in tiff.pages:
        # Pillow would turn pictures upright, and garbles some on the way; the caller does it for every compression.
        if tag := each.aspage().tags.get(274):
            data[tag.valueoffset : tag.valueoffset + 2] = (1).to_bytes(2, "big" if tiff.byteorder == ">" else "little")
    pixels = []
    with TiffImageFile(BytesIO(data)) as picture:
        for each in series.pages:
            picture.seek(each.index)
            decoded = picture.convert("RGB") if picture.mode in ("YCbCr", "CMYK") else picture
            values = np.asarray(decoded)
            if picture.mode == "L" and page.bitspersample in (2, 4):
                values = values // (255 // (2**page.bitspersample - 1))
            if page.photometric == _MINISWHITE and picture.mode in ("1", "L"):
                values = 2**page.bitspersample - 1 - values  # Pillow has inverted these; the caller does it for all
            # Pillow's 32-bit mode is signed; the cast brings back what it took for negative.
            pixels.append(values.astype(page.dtype))
    return pixels[0] if len(pixels) == 1 else np.stack(pixels)


def _arrange(path: Path, pixels: NDArray[Any], names: str) -> tuple[NDArray[Any], Axes]:
    """Order the axes that tifffile names (S samples, C channels, any other letter slices) as an Image has them."""
    kept = [
        index for index, (name, side) in enumerate(zip(names, pixels.shape, strict=False)) if side > 1 or name in "YXS"
    ]
    if pixels.ndim == len(names):
        pixels = pixels.reshape([pixels.shape[index] for index in kept])
        names = "".join(names[index] for index in kept)
    colour = "S" if "S" in names else "C" if "C" in names else ""
    if colour:
        pixels = np.moveaxis(pixels, names.index(colour), -1)
    slices = [name for name in names if name not in ("Y", "X", colour)]
    if len(slices) > 1 or names.replace(colour, "")[-2:] != "YX":
        raise InputError(path, f"has axes {names} of {pixels.shape}; an image has one axis of slices at most")
    arranged: dict[tuple[bool, bool], Axes] = {
        (False, False): "HW",
        (False, True): "HWC",
        (True, False): "DHW",
        (True, True): "DHWC",
    }
    return pixels, arranged[bool(slices), bool(colour)]


def _invert(path: Path, pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """Exchange black and white exactly, within the values' own type and bits."""
    if pixels.dtype.kind == "f":
        raise InputError(
            path, "is white-is-zero with float values, whose white nothing tells; save it as black-is-zero"
        )
    if pixels.dtype.kind == "i":
        return ~pixels
    return np.asarray(2**bits - 1 - pixels.astype(np.uint8 if pixels.dtype.kind == "b" else pixels.dtype))


def _look_up(colormap: NDArray[np.uint16], indices: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Colours of a `(3, n)` palette of 16 bits, and their bits: 8 where the palette holds 8-bit colours."""
    colours = colormap.T
    if not (colours % 257).any():  # 8-bit colours are written as v × 257
        return (colours // 257).astype(np.uint8)[indices], 8
    if not (colours % 256).any():  # and by some as v × 256
        return (colours // 256).astype(np.uint8)[indices], 8
    return colours[indices], 16


def _spacing(tiff: TiffFile, page: Any) -> tuple[float | None, float | None, float | None]:
    """Millimetres between rows, columns and slices, each None where the file does not say."""
    imagej = tiff.imagej_metadata or {}
    unit = {2: 25.4, 3: 10.0}.get(int(page.resolutionunit)) or _UNITS.get(imagej.get("unit", ""))
    if unit is None or not all(number > 0 for number in page.resolution) or 282 not in page.tags:
        return None, None, None
    columns, rows = page.resolution
    between = imagej.get("spacing")
    return unit / rows, unit / columns, between * _UNITS.get(imagej.get("unit", ""), unit) if between else None
