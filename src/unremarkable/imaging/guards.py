"""Limits against hostile or broken files: a declared size is judged before anything of that size is allocated."""

from __future__ import annotations

import io
import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

from unremarkable.errors import InputError, UsageError

ENVIRONMENT = "UNREMARKABLE_MAX_BYTES"
CHUNK = 64 * 1024
Wrapper = Literal["zlib", "gzip", "deflate"]
_WINDOW_BITS: dict[Wrapper, int] = {"zlib": 15, "gzip": 31, "deflate": -15}


@dataclass(frozen=True)
class Limits:
    """What one input may ask for.

    Attributes:
        max_bytes: decoded bytes of one image or volume; `$UNREMARKABLE_MAX_BYTES` replaces it.
        max_ratio: decoded over compressed bytes, for compressed data whose size no header declares.
        ratio_applies_from: decoded bytes below which `max_ratio` is not asked: small blank images compress well.
        max_depth: sequences nested in sequences, in one DICOM file.
        max_members: items of one container (frames, sequence items, archive members).
    """

    max_bytes: int = 2 * 1024**3
    max_ratio: int = 200
    ratio_applies_from: int = 32 * 1024**2
    max_depth: int = 16
    max_members: int = 100_000


def limits() -> Limits:
    """The limits in force. Raises UsageError where `$UNREMARKABLE_MAX_BYTES` is not a positive whole number."""
    text = os.environ.get(ENVIRONMENT)
    if not text:
        return Limits()
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise UsageError(f"${ENVIRONMENT} must be a positive whole number of bytes, not {text!r}")
    return Limits(max_bytes=int(text))


def check_declared(source: object, shape: Sequence[int], itemsize: int) -> int:
    """The decoded bytes that `shape` values of `itemsize` bytes take; call it before allocating them.

    Raises InputError where a side is not positive, or the sum passes `Limits.max_bytes`.
    """
    sides = tuple(int(side) for side in shape)
    if not sides or min(sides) <= 0:
        raise InputError(source, f"declares an empty image of {_times(sides)} values")
    declared, limit = math.prod(sides) * itemsize, limits().max_bytes
    if declared > limit:
        raise InputError(
            source,
            f"declares {_times(sides)} values of {itemsize} bytes, {readable(declared)}; the limit is "
            f"{readable(limit)} (raise it with {ENVIRONMENT})",
        )
    return declared


def check_stored(source: object, needed: int, stored: int) -> None:
    """Refuse uncompressed data shorter than its header declares, before allocating what the header asks for."""
    if stored < needed:
        raise InputError(source, f"truncated: its header declares {needed} bytes of pixels, the file holds {stored}")


def check_ratio(source: object, declared: int, stored: int, ratio: int) -> None:
    """Refuse `declared` decoded bytes that `stored` bytes cannot hold, where a codec reaches `ratio` at most."""
    if declared > limits().ratio_applies_from and declared > stored * ratio:
        raise InputError(
            source, f"declares {readable(declared)} of pixels, more than its {readable(stored)} can hold: truncated"
        )


def bounded_inflate(
    data: bytes | memoryview | BinaryIO,
    limit: int | None = None,
    *,
    source: object,
    wrapper: Wrapper = "zlib",
) -> bytearray:
    """Decompress zlib, gzip (any number of members) or raw deflate data, never holding more than `limit` bytes.

    With a `limit`, give the size that a trusted header declares. Without one, the output is held to
    `Limits.max_bytes` and, once it is large, to `Limits.max_ratio` times the input read so far, so that a bomb
    is refused after `Limits.ratio_applies_from` bytes. Bytes behind the end of the compressed data are ignored.
    Raises InputError where the limit is passed, or the data are damaged or end early.
    """
    bounds = limits()
    most = bounds.max_bytes if limit is None else limit
    stream = data if hasattr(data, "read") else io.BytesIO(data)
    output, read = bytearray(), 0
    inflater = zlib.decompressobj(_WINDOW_BITS[wrapper])
    pending = b""
    try:
        while True:
            if not pending:
                pending = stream.read(CHUNK)
                read += len(pending)
            if inflater.eof:
                # Another gzip member may follow at once; so may padding.
                if len(pending) < 2:
                    pending += stream.read(CHUNK)
                if wrapper != "gzip" or not pending.startswith(b"\x1f\x8b"):
                    return output
                inflater = zlib.decompressobj(_WINDOW_BITS[wrapper])
            starved = not pending
            part = inflater.decompress(pending, CHUNK * 16)
            output += part
            pending = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            if len(output) > most:
                raise InputError(source, f"inflates past the {readable(most)} that it may have")
            if limit is None and len(output) > max(bounds.ratio_applies_from, bounds.max_ratio * read):
                raise InputError(
                    source, f"inflates to over {bounds.max_ratio} times its stored size: a decompression bomb"
                )
            if starved and not part and not inflater.eof:
                raise InputError(source, "truncated: its compressed data end early")
    except zlib.error as error:
        raise InputError(source, f"damaged compressed data ({error})") from None


def inflate_start(data: bytes, size: int, *, wrapper: Wrapper = "zlib") -> bytes:
    """The first `size` decompressed bytes, or fewer where the data end or are damaged before: enough for a header."""
    try:
        return zlib.decompressobj(_WINDOW_BITS[wrapper]).decompress(data, size)
    except zlib.error:
        return b""


def readable(size: int) -> str:
    """A count of bytes as a person reads it: `3.4 GiB`."""
    value, units = float(size), ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1024 and len(units) > 1:
        value, _ = value / 1024, units.pop(0)
    return f"{size} bytes" if units[0] == "bytes" else f"{value:.1f} {units[0]}"


def _times(sides: Sequence[int]) -> str:
    return " × ".join(map(str, sides)) or "no"
