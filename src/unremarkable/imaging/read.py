"""read_image: one file or folder to one Image, whatever its format; the content decides, not the name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from unremarkable.errors import InputError, UnremarkableError
from unremarkable.imaging.dicom_file import looks_like_dicom
from unremarkable.imaging.guards import inflate_start
from unremarkable.imaging.image import Image

_HEAD = 1024
_RASTER = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\x93NUMPY": "NPY",
}
_PNM = re.compile(rb"P[2356](?:\s+\d|\s*#)")
_BMP = re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)  # with the size of its next header
_NIFTI = {(344, b"n+1\0"), (344, b"ni1\0"), (4, b"n+2\0"), (4, b"ni2\0")}
_FOREIGN = {
    b"PK\x03\x04": "a ZIP archive",
    b"%PDF": "a PDF document",
    b"GIF8": "a GIF, which holds 256 colours at most; convert it to PNG",
    b"RIFF": "a RIFF file (WebP, AVI or WAV); convert images to PNG",
    b"\0\0\0\x0cjP  ": "a bare JPEG 2000; convert it to TIFF or PNG",
    b"\xffO\xffQ": "a bare JPEG 2000; convert it to TIFF or PNG",
    b"\x89HDF": "an HDF5 file; export its images as NPY",
    b"MATLAB": "a MATLAB file; export its images as NPY",
    b"NRRD": "an NRRD file; convert it to NIfTI",
    b"ObjectType": "a MetaImage header; convert it to NIfTI",
    b"P1": "a PBM bitmap; convert it to PNG",
    b"P4": "a PBM bitmap; convert it to PNG",
    b"P7": "a PAM file; convert it to PNG",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself; run git lfs pull",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"\x80\x04": "a Python pickle, which is not opened",
}


def read_image(path: str | os.PathLike[str]) -> Image:
    """Read an image file, or a folder with the slices of one DICOM series, exactly as stored.

    PNG, JPEG, TIFF, BMP, PGM/PPM, NPY, DICOM and NIfTI are known by their content; a name is asked only where the
    content tells nothing. Raises InputError, with one line that says why, for whatever cannot be read exactly.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    kind = _kind(path, _head(path))
    reader = _reader(kind)
    try:
        return reader(path)
    except UnremarkableError:
        raise
    except MemoryError:
        raise InputError(path, "does not fit in memory") from None
    except Exception as error:
        # Decoders meet damaged files with exceptions of every type; the cause stays attached for who debugs one.
        raise InputError(path, f"damaged {kind} file ({_one_line(error)})") from error


def looks_like_image(path: str | os.PathLike[str]) -> bool:
    """Whether the first bytes of a file are those of a format that `read_image` reads; False where none can be read."""
    return image_kind(path) is not None


def image_kind(path: str | os.PathLike[str]) -> str | None:
    """What a file is by its first bytes: "PNG", "JPEG", "TIFF", "BMP", "PNM", "NPY", "DICOM", "NIfTI"; or None."""
    path = Path(path)
    try:
        return _kind(path, _head(path))
    except InputError:
        return None


def _read_folder(folder: Path) -> Image:
    try:
        empty = not any(folder.iterdir())
    except OSError as error:
        raise InputError(folder, f"cannot be read ({error.strerror})") from None
    if empty:
        raise InputError(folder, "is an empty folder")
    from unremarkable.imaging.series import read_series

    return read_series(folder)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        raise InputError(path, "no such file or folder") from None
    except IsADirectoryError:
        raise InputError(path, "is a folder") from None
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not head:
        raise InputError(path, "is an empty file")
    return head


def _kind(path: Path, head: bytes) -> str:
    """The format shown by the first bytes. Raises InputError, naming what they look like instead."""
    if head[128:132] == b"DICM":  # before all else: what precedes it may be of any form, a TIFF header for one
        return "DICOM"
    for magic, kind in _RASTER.items():
        if head.startswith(magic):
            return kind
    if _PNM.match(head):
        return "PNM"
    if _BMP.match(head):
        return "BMP"
    if _is_nifti(head):
        return "NIfTI"
    if head.startswith(b"\x1f\x8b"):
        inner = inflate_start(head, 540, wrapper="gzip")
        if _is_nifti(inner):
            return "NIfTI"
        raise InputError(path, "is gzip-compressed and not NIfTI; decompress it first")
    if looks_like_dicom(head):
        return "DICOM"
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            if magic == b"PK\x03\x04" and path.suffix.lower() == ".npz":
                raise InputError(path, "holds many arrays; name one image in it: FILE.npz#ARRAY/INDEX")
            raise InputError(path, f"is not an image that can be read: it looks like {name}")
    suffix = path.suffix.lower()
    if suffix in (".dcm", ".dicom", ".ima"):
        return "DICOM"
    if suffix in (".nii", ".hdr", ".img") and len(head) >= 348:
        return "NIfTI"
    raise InputError(path, f"is not an image that can be read: it looks like {_guess(head)}")


def _is_nifti(head: bytes) -> bool:
    return any(head[start : start + 4] == magic for start, magic in _NIFTI)


def _guess(head: bytes) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] == b"<":
        return "HTML or XML"
    if text[:1] in (b"{", b"["):
        return "JSON"
    if not head.strip(b"\0"):
        return "nothing but zeros"
    printable = sum(byte in b"\t\r\n" or byte >= 32 for byte in head)
    return "text" if printable == len(head) and b"\x7f" not in head else "data of an unknown format"


def _reader(kind: str) -> Callable[[Path], Image]:
    """The reader of a format; imported here, since some bring a library with them."""
    if kind == "DICOM":
        from unremarkable.imaging.dicom import read_dicom

        return read_dicom
    if kind == "NIfTI":
        from unremarkable.imaging.nifti import read_nifti

        return read_nifti
    if kind == "PNG":
        from unremarkable.imaging.png import read_png

        return read_png
    if kind == "TIFF":
        from unremarkable.imaging.tiff import read_tiff

        return read_tiff
    from unremarkable.imaging import raster

    return {"JPEG": raster.read_jpeg, "BMP": raster.read_bmp, "PNM": raster.read_pnm, "NPY": raster.read_npy}[kind]


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
