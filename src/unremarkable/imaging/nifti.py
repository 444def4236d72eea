"""NIfTI-1 and -2 → Image: scaled exactly, upright, slice by slice as acquired, with an affine to RAS+ millimetres."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import InputError
from unremarkable.imaging.guards import check_declared, readable
from unremarkable.imaging.image import Image
from unremarkable.imaging.quiet import quiet
from unremarkable.imaging.rescale import rescale

GZIP = b"\x1f\x8b"
MOST_EXTENSIONS = 16 * 1024**2
# Where the slice, row and column index grow, by the patient axis that the slices follow: the order of DICOM series and
# the way radiologists look at slices (anterior or superior at the top, the patient's right on the left).
UPRIGHT = {"S": ("S", "P", "L"), "A": ("P", "I", "L"), "R": ("R", "I", "P")}
_TO_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}


def read_nifti(path: str | Path) -> Image:
    """The image in a `.nii` or `.nii.gz` file, or in a `.hdr` and `.img` pair (give either).

    - Values are `scl_slope · stored + scl_inter`; unscaled integers and whole-number scalings stay integer.
    - The slice axis is the file's third, that of acquisition. Axes are permuted and flipped, never resampled, to the
      nearest patient axes: axial slices run to superior, rows to posterior, columns to left; coronal P, I, L;
      sagittal R, I, P. `metadata["orientation"]` has these three letters, `metadata["stored_orientation"]` the file's.
    - `affine` maps `(slice, row, column, 1)` to RAS+ millimetres; None where the file has neither qform nor sform.
    - `(D, H, W)`; 4-D files are `(T, D, H, W)`, or `(D, H, W)` with one volume; one slice is `(H, W)`; RGB adds C.
    - NaN voxels, with which skull-stripped files fill their background, become 0 and `padding`.

    Raises InputError for a file that is not NIfTI, is damaged, truncated, larger than the guard's limits, of a type
    with no single exact reading (complex, vectors), or without finite values.
    """
    path = Path(path)
    try:
        with quiet():
            return _read(path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(path, f"truncated or damaged compressed data ({error})") from error
    except OSError as error:
        raise InputError(path, error.strerror or str(error)) from error


@dataclass(frozen=True, eq=False)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    offset: int
    affine: NDArray[np.float64]
    known: bool  # whether the file says how it lies in the patient
    metadata: dict[str, Any]
    single_file: bool


def _read(path: Path) -> Image:
    header_path = path.with_name(re.sub(r"\.img(\.gz)?$", r".hdr\1", path.name))
    with _open(header_path) as stream:
        header = _header(path, stream.read(540))
    image_path = header_path
    if not header.single_file:
        image_path = header_path.with_name(re.sub(r"\.hdr(\.gz)?$", r".img\1", header_path.name))
        if image_path == header_path or not image_path.exists():
            raise InputError(path, "the header of a .hdr and .img pair whose .img file is missing")
    with _open(image_path) as stream:
        values = _values(path, stream, header)
    return _image(path, header, values)


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as stream:
        compressed = stream.read(2) == GZIP
    return gzip.open(path) if compressed else path.open("rb")  # type: ignore[return-value]


def _header(path: Path, start: bytes) -> _Header:
    from nibabel.imageglobals import LoggingOutputSuppressor
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    kind: type[Nifti1Header] | None = None
    if start[344:348] in (b"n+1\0", b"ni1\0"):
        kind = Nifti1Header
    elif start[4:8] in (b"n+2\0", b"ni2\0") and len(start) == 540:
        kind = Nifti2Header
    if kind is None:
        raise InputError(path, "not a NIfTI file" if start else "empty file")
    try:
        with LoggingOutputSuppressor():
            header = kind(start[: kind.sizeof_hdr])
            shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
            slope, intercept = header.get_slope_inter()
            affine = np.asarray(header.get_best_affine(), float)
    except (HeaderDataError, WrapStructError, ValueError, KeyError, ArithmeticError) as error:
        raise InputError(path, f"damaged NIfTI header: {' '.join(str(error).split())}") from error
    single_file, offset = bytes(header["magic"].tobytes()).startswith(b"n+"), float(header["vox_offset"])
    if not math.isfinite(offset) or not 0 <= offset <= MOST_EXTENSIONS:
        raise InputError(path, f"damaged NIfTI header: its data start at byte {offset:g}")
    if dtype.kind not in "iufV" or dtype.itemsize > 8 or (dtype.fields and dtype.itemsize != 3):
        raise InputError(path, f"NIfTI values of {_type_name(dtype)} are not supported")
    check_declared(path, shape, dtype.itemsize)
    affine[:3] *= _TO_MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise InputError(path, "damaged NIfTI header: its affine maps the voxels to no volume")
    return _Header(
        shape,
        dtype,
        1.0 if slope is None else float(slope),
        float(intercept or 0.0),
        max(int(offset), kind.single_vox_offset if single_file else 0),
        affine,
        int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0,
        {
            "format": "NIfTI-1" if kind is Nifti1Header else "NIfTI-2",
            "description": header["descrip"].tobytes().split(b"\0")[0].decode("latin-1").strip(),
        },
        single_file,
    )


def _type_name(dtype: np.dtype[Any]) -> str:
    return "RGBA" if dtype.fields else f"type {dtype.name}"


def _values(path: Path, stream: BinaryIO, header: _Header) -> NDArray[Any]:
    """Scaled values in the file's own axes, `(x, y, z, …)` in Fortran order; RGB with a last axis of 3."""
    needed = math.prod(header.shape) * header.dtype.itemsize
    if len(stream.read(header.offset)) < header.offset:
        raise InputError(path, "truncated: it ends within its header")
    # Reading what the header declares, and one byte more for the checksum, inflates no bomb behind it.
    data = stream.read(needed)
    if len(data) < needed:
        raise InputError(path, f"truncated: {readable(len(data))} of {readable(needed)} of voxels")
    stream.read(1)
    if header.dtype.fields:
        return np.moveaxis(np.frombuffer(data, np.uint8).reshape(3, *header.shape, order="F"), 0, -1)
    stored = np.frombuffer(data, header.dtype).reshape(header.shape, order="F")
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    try:
        # Transposed, so that rescaling goes along memory.
        return rescale(stored.T, header.slope, header.intercept).T
    except ValueError as error:
        raise InputError(path, str(error)) from error


def _image(path: Path, header: _Header, values: NDArray[Any]) -> Image:
    from nibabel import orientations

    colour = header.dtype.fields is not None
    values, padding = _without_nan(path, _volumes(path, values, colour))
    stored = orientations.io_orientation(header.affine)
    slices_along = "RAS"[int(stored[2, 0])]
    turn = orientations.ornt_transform(stored, orientations.axcodes2ornt(UPRIGHT[slices_along]))
    affine = header.affine @ orientations.inv_ornt_aff(turn, values.shape[:3])
    values = orientations.apply_orientation(values, turn)
    padding = None if padding is None else orientations.apply_orientation(padding, turn)
    spacing: tuple[float, ...] = tuple(float(s) for s in np.linalg.norm(affine[:3, :3], axis=0))
    axes = "DHWC" if colour else "DHW"
    if not colour and values.ndim == 4:
        axes = "TDHW"
        values, padding = np.moveaxis(values, 3, 0), None if padding is None else np.moveaxis(padding, 3, 0)
    elif len(values) == 1:
        axes, spacing = axes[1:], spacing[1:]
        values, padding = values[0], None if padding is None else padding[0]
    return Image(
        pixels=np.ascontiguousarray(values),
        axes=axes,  # type: ignore[arg-type]
        source=str(path),
        spacing=spacing,
        affine=affine if header.known else None,
        bits=values.dtype.itemsize * 8 if values.dtype.kind in "iu" else None,
        padding=padding,
        metadata=header.metadata
        | {
            "orientation": "".join(UPRIGHT[slices_along]) if header.known else "unknown",
            "stored_orientation": "".join(orientations.ornt2axcodes(stored)) if header.known else "unknown",
        },
    )


def _volumes(path: Path, values: NDArray[Any], colour: bool) -> NDArray[Any]:
    """`(x, y, z)`, `(x, y, z, t)` with t over 1, or `(x, y, z, 3)` for colour."""
    shape = values.shape[:-1] if colour else values.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    shape = (*shape, 1, 1)[: max(3, len(shape))] if len(shape) < 3 else shape
    if len(shape) > (3 if colour else 4):
        raise InputError(path, f"NIfTI of {len(shape)} axes ({' × '.join(map(str, shape))}) is not supported")
    return values.reshape(*shape, 3) if colour else values.reshape(shape)


def _without_nan(path: Path, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    if values.dtype.kind != "f":
        return values, None
    if np.isinf(values).any():
        raise InputError(path, f"{int(np.isinf(values).sum())} voxels are infinite")
    hidden = np.isnan(values)
    if hidden.all():
        raise InputError(path, "all voxels are NaN")
    return (np.where(hidden, values.dtype.type(0), values), hidden) if hidden.any() else (values, None)
