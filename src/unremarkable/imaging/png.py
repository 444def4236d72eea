"""Exact reader for PNG files of every colour type and depth."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import InputError
from unremarkable.imaging.guards import bounded_inflate, check_declared, check_ratio
from unremarkable.imaging.image import Image
from unremarkable.imaging.raster import drop_alpha, image_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_SAMPLES = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGB_ALPHA: 4}
_DEFLATE_RATIO = 1032  # the most that deflate reaches
# Adam7: first column, first row, column step, row step of each pass.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def read_png(path: Path) -> Image:
    """Read a PNG as stored: grey of 1 to 16 bits `(H, W)`, colour of 8 or 16 bits `(H, W, 3)`; palettes looked up.

    Opaque alpha is dropped, wholly transparent pixels become `padding`, and half transparent ones are refused.
    The sBIT chunk sets `bits` where the values fit in them; values are never shifted.
    """
    data = path.read_bytes()
    chunks = {name: data[start:end] for name, start, end in _chunks(path, data, until=b"IDAT")}
    try:
        width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
        samples = _SAMPLES[colour]
    except (KeyError, struct.error):
        raise InputError(path, "damaged PNG: no valid header") from None
    check_declared(path, (height, width, samples), (depth + 7) // 8)
    check_ratio(path, height * width * samples * depth // 8, len(data), _DEFLATE_RATIO)

    pixels: NDArray[Any]
    if depth == 16 and colour != _GREY:
        pixels = _read_deep_colour(path, data, width, height, samples, bool(interlaced))
    else:
        pixels = _decode(data)
    if colour == _GREY and depth in (2, 4):
        pixels = pixels // (255 // (2**depth - 1))  # the decoder spreads these over 0-255
    opaque = 2**depth - 1
    if colour == _PALETTE:
        pixels, opaque = _look_up(path, pixels, chunks), 255

    padding = None
    key = chunks.get(b"tRNS")
    if pixels.ndim == 3 and pixels.shape[-1] in (2, 4):
        pixels, padding = drop_alpha(pixels, path, opaque)
    elif key and colour in (_GREY, _RGB):
        clear = pixels.reshape(height, width, -1) == np.frombuffer(key, ">u2")
        clear = clear.all(axis=-1)
        padding = clear if clear.any() else None
    bits = 8 if colour == _PALETTE else _bits_in_use(pixels, depth, chunks.get(b"sBIT", b""))
    return image_of(pixels, path, bits=bits, padding=padding, metadata={"format": "PNG", "depth": depth})


def _chunks(path: Path, data: bytes, until: bytes = b"") -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk's content, up to and without the first one called `until`."""
    position = len(SIGNATURE)
    while position + 8 <= len(data):
        length, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if name in (until, b"IEND"):
            return
        start, end = position + 8, position + 8 + length
        if end > len(data):
            break
        yield name, start, end
        position = end + 4
    raise InputError(path, "truncated: the file ends inside a PNG chunk")


def _decode(data: bytes) -> NDArray[Any]:
    from PIL.PngImagePlugin import PngImageFile

    with PngImageFile(BytesIO(data)) as picture:
        return np.asarray(picture)


def _read_deep_colour(
    path: Path, data: bytes, width: int, height: int, samples: int, interlaced: bool
) -> NDArray[np.uint16]:
    """Colour of 16 bits, `(H, W, samples)`, which Pillow would cut down to 8.

    PNG filters foretell a byte from the bytes one pixel away, so the high bytes of all samples, with the filters of
    their rows, are an 8-bit picture in its own right, and so are the low bytes. Pillow decodes both, in C.
    """
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    sides = [(-((top - height) // down), -((left - width) // right)) for left, top, right, down in passes]
    shapes = [(rows, 1 + columns * samples * 2) for rows, columns in sides if rows > 0 and columns > 0]
    packed = b"".join(data[start:end] for name, start, end in _chunks(path, data) if name == b"IDAT")
    total = sum(rows * length for rows, length in shapes)
    flat = np.frombuffer(bounded_inflate(packed, total, source=path), np.uint8)
    if flat.size < total:
        raise InputError(path, "truncated: its compressed data end before the last row")

    colour = {2: _GREY_ALPHA, 3: _RGB, 4: _RGB_ALPHA}[samples]
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, int(interlaced))
    halves = []
    for half in (1, 2):
        parts, start = [], 0
        for rows, length in shapes:
            lines = flat[start : start + rows * length].reshape(rows, length)
            parts.append(np.concatenate([lines[:, :1], lines[:, half::2]], axis=1).tobytes())
            start += rows * length
        body = zlib.compress(b"".join(parts), level=0)
        halves.append(_decode(SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")))
    return halves[0].astype(np.uint16) << 8 | halves[1]


def _chunk(name: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")


def _look_up(path: Path, indices: NDArray[Any], chunks: dict[bytes, bytes]) -> NDArray[np.uint8]:
    """`(H, W, 3)` colours of a palette, or `(H, W, 4)` where the palette has alpha."""
    content = chunks.get(b"PLTE", b"")
    if not content or len(content) % 3 or indices.max() >= len(content) // 3:
        raise InputError(path, "damaged PNG: its palette lacks colours that the pixels use")
    palette = np.frombuffer(content, np.uint8).reshape(-1, 3)
    if b"tRNS" in chunks:
        alpha = np.full((len(palette), 1), 255, np.uint8)
        given = np.frombuffer(chunks[b"tRNS"][: len(palette)], np.uint8)
        alpha[: given.size, 0] = given
        palette = np.hstack([palette, alpha])
    return palette[indices]


def _bits_in_use(pixels: NDArray[Any], depth: int, significant: bytes) -> int:
    """Bits that the values occupy, by the sBIT chunk.

    The standard wants 12 significant bits of 16 shifted to the top, with zeros or copies of the top bits below: then
    all 16 are in use. Scanner software also writes 0-4095 plainly beside an sBIT of 12: then 12 are.
    """
    bits = max(significant, default=depth)
    if not 0 < bits < depth:
        return depth
    low = pixels & (2 ** (depth - bits) - 1)
    copied = 2 * bits >= depth and bool((low == pixels >> bits).all())
    return depth if copied or not low.any() or pixels.max() >= 2**bits else bits
