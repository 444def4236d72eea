"""Open a DICOM file without trusting it: one clear line for whatever is wrong, and nothing large allocated first."""

from __future__ import annotations

import io
import mmap
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unremarkable.errors import InputError, UnremarkableError
from unremarkable.imaging.guards import bounded_inflate, limits, readable
from unremarkable.imaging.quiet import quiet

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
DEFLATED = "1.2.840.10008.1.2.1.99"
# Assigned after pydicom's dictionary was made.
_NEWER_SYNTAXES = {"1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression"}
_ITEM = re.compile(rb"\xfe\xff\x00\xe0|\xff\xfe\xe0\x00")
_VR = re.compile(rb"[A-Z]{2}")


def looks_like_dicom(start: bytes) -> bool:
    """Whether a file that starts with these bytes (132 or more) is DICOM, with the standard's prefix or without."""
    if start[128:132] == b"DICM":
        return True
    if len(start) < 8:
        return False
    # Old writers leave the preamble out: then the first element is of group 2 or 8, with a VR or a short length.
    for order in "<>":
        group, element, length = struct.unpack(order + "HHI", start[:8])
        if group in (0x0002, 0x0008) and element < 0x0100 and (_VR.match(start[4:6]) or length <= 64):
            return True
    return False


def open_dicom(path: Path, *, header_only: bool = False) -> FileDataset:
    """The data set of a file; without its pixels for `header_only`. Call it inside `one_line`.

    A deflated file is inflated under the guard's limits. Raises InputError for a file that is not DICOM, that nests
    sequences deeper than `Limits.max_depth`, or that holds more than `Limits.max_members` sequence items.
    """
    size = path.stat().st_size
    if size > limits().max_bytes:
        raise InputError(path, f"{readable(size)} on disk; the limit is {readable(limits().max_bytes)}")
    with path.open("rb") as stream:
        start = stream.read(132)
        if not looks_like_dicom(start):
            raise InputError(path, "empty file" if not start else "not a DICOM file")
        dataset = _parse(path, stream, prefixed=start[128:132] == b"DICM", size=size, header_only=header_only)
    if _nesting(dataset) > limits().max_depth:
        raise _too_deep(path)
    return dataset


def _parse(path: Path, stream: io.BufferedReader, *, prefixed: bool, size: int, header_only: bool) -> FileDataset:
    from pydicom import dcmread
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset

    meta = None
    if prefixed:
        meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    if meta is not None and meta.get("TransferSyntaxUID") == DEFLATED:
        body = bytes(bounded_inflate(stream, source=path, wrapper="deflate"))
        _count_items(path, body)
        dataset = dcmread(io.BytesIO(body), force=True, stop_before_pixels=header_only)
        dataset.file_meta = FileMetaDataset(meta)
        return dataset
    # An item takes eight bytes or more, so that most files are too small to hold too many.
    if size > 8 * limits().max_members:
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
            _count_items(path, view)
    stream.seek(0)
    dataset = dcmread(stream, force=not prefixed, stop_before_pixels=header_only)
    if not prefixed and "SOPClassUID" not in dataset and "Rows" not in dataset:
        raise InputError(path, "not a DICOM file")
    return dataset


def _count_items(path: Path, data: bytes | mmap.mmap) -> None:
    # The parser makes an object of every item, at a hundred times the item's size.
    most = limits().max_members
    if sum(1 for _ in islice(_ITEM.finditer(data), most + 1)) > most:
        raise InputError(path, f"more than {most} sequence items or frame fragments")


def _nesting(dataset: Dataset) -> int:
    """How deep the sequences go that were parsed at once; those of known length are parsed only when asked for."""
    from pydicom.dataelem import DataElement

    depth, level = -1, [dataset]
    while level:
        depth += 1
        elements = (element for item in level for element in item.values())
        level = [item for e in elements if isinstance(e, DataElement) and e.VR == "SQ" for item in e.value or ()]
    return depth


def _too_deep(source: object) -> InputError:
    return InputError(source, f"sequences nested more than {limits().max_depth} deep")


def has_pixels(dataset: Dataset) -> bool:
    """Whether the data set carries pixel data of any kind."""
    return any(keyword in dataset for keyword in PIXEL_KEYWORDS)


def no_image_reason(dataset: Dataset) -> str:
    """Why a data set without pixel data has none, as far as it can be told."""
    from pydicom.uid import UID

    meta = getattr(dataset, "file_meta", {})
    sop_class = str(dataset.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")
    if sop_class == "1.2.840.10008.1.3.10":
        return "a DICOMDIR, an index of other files; give the folder that holds them"
    if "Rows" in dataset or len(dataset) == 0:
        return "truncated: the file ends before its pixel data"
    name = UID(sop_class).name.removesuffix(" Storage") if sop_class else "unnamed"
    if name.endswith("Image"):
        return f"truncated or damaged: of SOP class {name}, without pixel data"
    return f"holds no image: its SOP class is {name}"


def transfer_syntax(dataset: Dataset) -> str:
    """UID of the transfer syntax; for a file that does not name it, the one that its parsing showed."""
    from pydicom import uid

    named = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if named:
        return str(named)
    implicit, little_endian = dataset.original_encoding
    if not little_endian:
        return str(uid.ExplicitVRBigEndian)
    return str(uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian)


def syntax_name(syntax: str) -> str:
    """A transfer syntax by the standard's name, or by its UID where it has none."""
    from pydicom.uid import UID

    return _NEWER_SYNTAXES.get(syntax) or UID(syntax).name


@contextmanager
def one_line(source: object) -> Iterator[None]:
    """Turn whatever parsing a damaged or hostile file raises into one InputError; keep the libraries' warnings quiet.

    pydicom raises nearly every built-in exception on some damaged file, so all of them are caught, here alone.
    """
    try:
        with quiet():
            yield
    except UnremarkableError:
        raise
    except RecursionError:
        raise _too_deep(source) from None
    except MemoryError:
        raise InputError(source, "too little memory to decode it") from None
    except OSError as error:
        raise InputError(source, error.strerror or f"damaged DICOM: {first_line(error)}") from error
    except Exception as error:
        raise InputError(source, f"damaged DICOM: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """An exception in one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 240 else text[:237] + "..."


def number(value: Any) -> float | None:
    """A DICOM number as a float; None where it is absent, empty, several, or no number."""
    try:
        return None if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        return None


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """`count` DICOM numbers as floats; None where they are absent, of another count, or no numbers."""
    if value is None or isinstance(value, str | bytes) or not hasattr(value, "__len__") or len(value) != count:
        return None
    found = tuple(number(v) for v in value)
    return None if any(v is None for v in found) else tuple(v for v in found if v is not None)
