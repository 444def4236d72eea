"""Decode a DICOM file's stored values: every transfer syntax that the installed decoders can, frames first."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import InputError
from unremarkable.imaging.dicom_file import (
    PIXEL_KEYWORDS,
    first_line,
    has_pixels,
    no_image_reason,
    syntax_name,
    transfer_syntax,
)
from unremarkable.imaging.guards import check_declared, check_stored

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

RLE = "1.2.840.10008.1.2.5"


@dataclass(frozen=True, eq=False)
class Stored:
    """Decoded values before the modality LUT.

    Attributes:
        frames: `(F, H, W)`, or `(F, H, W, 3)` RGB.
        photometric: "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR" (indices not yet looked up) or "RGB".
        bits: bits in use per value; None for floating point.
    """

    frames: NDArray[Any]
    photometric: str
    bits: int | None


def decode(dataset: Dataset, source: object) -> Stored:
    """All frames of a data set. Raises InputError where it has none, or they are too large, short or undecodable."""
    if not has_pixels(dataset):
        raise InputError(source, no_image_reason(dataset))
    keyword = next(keyword for keyword in PIXEL_KEYWORDS if keyword in dataset)
    missing = [name for name in ("Rows", "Columns", "BitsAllocated") if not dataset.get(name)]
    if missing:
        raise InputError(source, f"damaged DICOM: no {' or '.join(missing)} for its pixel data")
    count = int(dataset.get("NumberOfFrames") or 1)
    samples, allocated = int(dataset.get("SamplesPerPixel") or 1), int(dataset.BitsAllocated)
    shape = (count, int(dataset.Rows), int(dataset.Columns), samples)
    check_declared(source, shape, max(1, allocated // 8))
    frames, photometric = _decoded(dataset, source, keyword, shape)
    if samples != (3 if photometric == "RGB" else 1) or photometric not in (
        "MONOCHROME1",
        "MONOCHROME2",
        "PALETTE COLOR",
        "RGB",
    ):
        raise InputError(source, f"{samples} samples per pixel in colour space {photometric} are not supported")
    frames = frames.reshape(count, *frames.shape[-2 - (samples > 1) :])
    # Big-endian values in the machine's own order: the rest of the program should not meet any other.
    frames = frames.astype(frames.dtype.newbyteorder("="), copy=False)
    return Stored(frames, photometric, _bits(dataset) if frames.dtype.kind in "iu" else None)


def _bits(dataset: Dataset) -> int:
    allocated, stored = int(dataset.BitsAllocated), int(dataset.get("BitsStored") or 0)
    return stored if 0 < stored <= allocated else allocated


def _decoded(dataset: Dataset, source: object, keyword: str, shape: tuple[int, ...]) -> tuple[NDArray[Any], str]:
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    syntax = transfer_syntax(dataset)
    try:
        decoder = get_decoder(UID(syntax))
    except NotImplementedError:
        raise InputError(source, f"transfer syntax {syntax_name(syntax)} is not supported") from None
    if not decoder.is_available:
        raise InputError(source, f"transfer syntax {syntax_name(syntax)} needs a decoder that is not installed")
    if not getattr(dataset, "file_meta", {}).get("TransferSyntaxUID"):
        _name_syntax(dataset, syntax)
    if decoder.is_native:
        check_stored(source, _native_bytes(dataset, shape), len(dataset[keyword].value or b""))
    else:
        _check_fragments(dataset, source, shape)
        _quiet_gdcm()
    clear_here = (decoder.is_native or syntax == RLE) and keyword == "PixelData" and dataset.BitsAllocated > 1
    options = {"correct_unused_bits": False} if clear_here else {}
    try:
        frames, properties = decoder.as_array(dataset, allow_excess_frames=False, **options)
    except BaseException as error:
        # A decoder written in Rust panics past Exception; interrupts and the like must pass.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        # pydicom tells what each decoder said, after a preamble that helps nobody.
        said = first_line(error).rpartition("all available plugins: ")[2]
        raise InputError(source, f"its pixel data ({syntax_name(syntax)}) cannot be decoded: {said}") from error
    if clear_here:
        frames = _clear_unused_bits(frames, dataset)
    return frames, str(properties["photometric_interpretation"])


def _name_syntax(dataset: Dataset, syntax: str) -> None:
    from pydicom.dataset import FileMetaDataset

    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax


def _native_bytes(dataset: Dataset, shape: tuple[int, ...]) -> int:
    values = math.prod(shape)
    if dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
        values = values // 3 * 2
    return math.ceil(values * int(dataset.BitsAllocated) / 8)


def _clear_unused_bits(frames: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    """Drop the bits outside BitsStored, which old files use for overlays, and restore the sign below them."""
    allocated, stored = int(dataset.BitsAllocated), _bits(dataset)
    high = int(dataset.get("HighBit") or stored - 1)
    if not stored - 1 <= high < allocated:
        high = stored - 1
    if allocated > stored:
        frames = frames if frames.flags.writeable else frames.copy()
        np.left_shift(frames, allocated - 1 - high, out=frames)
        np.right_shift(frames, allocated - stored, out=frames)
    return frames


def _check_fragments(dataset: Dataset, source: object, shape: tuple[int, ...]) -> None:
    """Refuse frames that are fewer than declared, or whose own header asks for another size than the file's."""
    from pydicom.encaps import generate_frames

    count, rows, columns = shape[:3]
    offsets, lengths = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    try:
        frames = generate_frames(
            dataset.PixelData,
            number_of_frames=count,
            extended_offsets=(offsets, lengths) if offsets and lengths else None,
        )
        found = 0
        for found, frame in enumerate(frames, 1):
            size = codestream_size(frame)
            if size is not None and size != (rows, columns):
                raise InputError(
                    source,
                    f"frame {found} is {size[0]} × {size[1]} by its own header, {rows} × {columns} by the file's",
                )
            # Run lengths inflate up to 64 times, with no size to check; honest ones never take twice the plain size.
            if (
                transfer_syntax(dataset) == RLE
                and len(frame) > 4096 + math.prod(shape[1:]) * dataset.BitsAllocated // 4
            ):
                raise InputError(source, f"frame {found} is longer compressed than it could be uncompressed")
    except (ValueError, EOFError, IndexError, struct.error) as error:
        raise InputError(source, f"its compressed frames cannot be told apart: {first_line(error)}") from error
    if found < count:
        raise InputError(source, f"truncated: {found} of {count} compressed frames")


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """`(rows, columns)` in the header of a JPEG, JPEG-LS or JPEG 2000 frame; None where there is none to read."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start >= 0 and len(frame) >= start + 24:
        width, height, left, top = struct.unpack(">4I", frame[start + 8 : start + 24])
        return height - top, width - left
    if not frame.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            height, width = struct.unpack(">HH", frame[at + 5 : at + 9])
            return (height, width) if height else None
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _quiet_gdcm() -> None:
    """GDCM writes to the terminal past Python; what it has to say reaches the user as an InputError."""
    try:
        import gdcm
    except ImportError:
        return
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    gdcm.Trace.DebugOff()
