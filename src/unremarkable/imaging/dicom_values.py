"""From stored DICOM values to the values an Image holds: modality LUT, MONOCHROME1, pixel padding, palettes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import InputError
from unremarkable.imaging.dicom_file import number
from unremarkable.imaging.rescale import rescale

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True)
class Transform:
    """One modality LUT: a table for stored values from `first` on, or a slope and an intercept.

    `kind` is RescaleType or ModalityLUTType ("HU", "US", ...), or None; `given` is whether the file has it at all.
    """

    slope: float = 1.0
    intercept: float = 0.0
    first: int = 0
    table: tuple[int, ...] = ()
    table_bits: int = 0
    kind: str | None = None
    given: bool = False

    def apply(self, stored: NDArray[Any], bits: int | None, *, invert: bool) -> NDArray[Any]:
        """The values of stored ones; with `invert`, mirrored within the range that the stored bits (or table) span."""
        if not self.table:
            return rescale(_mirrored(stored, bits) if invert else stored, self.slope, self.intercept)
        table = np.array(self.table, np.uint8 if self.table_bits <= 8 else np.uint16)
        if invert:
            table = (2**self.table_bits - 1 - table).astype(table.dtype)
        return table[np.clip(stored.astype(np.int64) - self.first, 0, len(table) - 1)]


def _mirrored(stored: NDArray[Any], bits: int | None) -> NDArray[Any]:
    """Stored values counted from the other end of their range, so that the darkest becomes the brightest.

    The range is that of the stored bits, or of the whole type where values lie outside it; for floating point, that of
    the values themselves.
    """
    if stored.dtype.kind == "f":
        return stored.min() + stored.max() - stored
    signed, bits = stored.dtype.kind == "i", bits or stored.dtype.itemsize * 8
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if stored.min() < low or stored.max() > high:
        info = np.iinfo(stored.dtype)
        low, high = int(info.min), int(info.max)
    # low + high is -1 for signed types, and for unsigned ones their own maximum or less: nothing overflows.
    return stored.dtype.type(low + high) - stored


def transform_in(item: Dataset | None, source: object, *, signed: bool) -> Transform:
    """The modality LUT in a data set, or in one item of PixelValueTransformationSequence."""
    if item is None:
        return Transform()
    if item.get("ModalityLUTSequence"):
        lut = item.ModalityLUTSequence[0]
        entries, first, bits = (int(v) for v in lut.LUTDescriptor)
        first = first - 2**16 if signed and first >= 2**15 else first
        table = _words(lut["LUTData"].value, entries or 2**16, bits, little_endian=_little_endian(item))
        if not 1 <= bits <= 16 or len(table) != (entries or 2**16) or int(table.max()) >= 2**bits:
            raise InputError(source, f"damaged modality LUT: {len(table)} of {entries} entries of {bits} bits")
        return Transform(first=first, table=tuple(map(int, table)), table_bits=bits, kind=_kind(lut), given=True)
    slope, intercept = number(item.get("RescaleSlope")), number(item.get("RescaleIntercept"))
    if slope is None and intercept is None:
        return Transform()
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise InputError(source, f"its rescale slope of {slope:g} and intercept of {intercept:g} leave no values")
    return Transform(slope, intercept, kind=_kind(item), given=True)


def _kind(item: Dataset) -> str | None:
    return str(item.get("RescaleType") or item.get("ModalityLUTType") or "").strip().upper() or None


def _little_endian(dataset: Dataset) -> bool:
    return dataset.original_encoding[1] is not False


def _words(data: Any, entries: int, bits: int, *, little_endian: bool) -> NDArray[np.uint16]:
    """A table's entries, which files store as numbers, as 16-bit words, or as two 8-bit entries a word."""
    if not isinstance(data, bytes | bytearray):
        return np.atleast_1d(np.asarray(data)).astype(np.uint16)
    words = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little_endian else ">u2").astype("<u2")
    if bits <= 8 and len(data) < 2 * entries:
        return words.view(np.uint8)[:entries].astype(np.uint16)
    return words[:entries]


def apply_transforms(
    stored: NDArray[Any], transforms: Sequence[Transform], bits: int | None, *, invert: bool
) -> NDArray[Any]:
    """Frames after each frame's own modality LUT, in one exact type."""
    if len(set(transforms)) == 1:
        return transforms[0].apply(stored, bits, invert=invert)
    # Each frame on its own, then together in a type that holds all of them.
    mirrored = [t.apply(frame, bits, invert=invert) for t, frame in zip(transforms, stored, strict=True)]
    return np.stack(mirrored).astype(np.result_type(*mirrored), copy=False)


def padding_mask(dataset: Dataset, stored: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where stored values are PixelPaddingValue, or between it and PixelPaddingRangeLimit; None where none is."""
    prefix = {"i": "", "u": "", "f": "Float" if stored.dtype.itemsize == 4 else "DoubleFloat"}[stored.dtype.kind]
    ends = [dataset.get(f"{prefix}PixelPadding{end}") for end in ("Value", "RangeLimit")]
    values = [v for v in map(number, ends) if v is not None]
    if number(ends[0]) is None:
        return None
    if stored.dtype.kind in "iu":
        # Its VR may be taken for the wrong sign: bring it into the stored values' own type.
        words = np.array([int(v) for v in values]) & (2 ** (8 * stored.dtype.itemsize) - 1)
        values = [float(w) for w in words.astype(f"u{stored.dtype.itemsize}").view(stored.dtype)]
    mask = (stored >= min(values)) & (stored <= max(values))
    return mask if mask.any() else None


def look_up_palette(dataset: Dataset, indices: NDArray[Any], source: object) -> tuple[NDArray[Any], int]:
    """RGB of PALETTE COLOR indices, as `(..., 3)` in 8 or 16 bits, and how many bits the palette says."""
    if "RedPaletteColorLookupTableDescriptor" not in dataset:
        raise InputError(source, "PALETTE COLOR without a palette")
    if "RedPaletteColorLookupTableData" not in dataset:
        from pydicom.pixels import apply_color_lut

        coloured = apply_color_lut(indices, dataset)[..., :3]
        return coloured, int(dataset.RedPaletteColorLookupTableDescriptor[2])
    channels = []
    for colour in ("Red", "Green", "Blue"):
        entries, first, bits = (int(v) for v in dataset[f"{colour}PaletteColorLookupTableDescriptor"].value)
        first = first - 2**16 if indices.dtype.kind == "i" and first >= 2**15 else first
        data = dataset[f"{colour}PaletteColorLookupTableData"].value
        # pydicom reads these words in the machine's order; a big-endian file has them in its own.
        table = _words(data, entries or 2**16, bits, little_endian=_little_endian(dataset))
        if bits not in (8, 16) or len(table) != (entries or 2**16) or table.max() >= 2**bits:
            raise InputError(source, f"damaged palette: {len(table)} of {entries} entries of {bits} bits")
        table = table.astype(np.uint8 if bits == 8 else np.uint16)
        channels.append(table[np.clip(indices.astype(np.int64) - first, 0, len(table) - 1)])
    return np.stack(channels, axis=-1), bits
