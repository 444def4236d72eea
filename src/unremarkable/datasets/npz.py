"""Packed sets in the MedMNIST form: `train_images`, `train_labels`, `val_images`, ... in one NPZ file."""

from __future__ import annotations

import math
import os
import threading
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from unremarkable.datasets.case import Case, Dataset
from unremarkable.datasets.folders import Labeller, split_of
from unremarkable.errors import InputError, UsageError
from unremarkable.imaging.image import Axes, Image

#: A whole array must fit in memory to be read; more than this share of the machine's is refused.
MEMORY_SHARE = 0.5
_KEPT = 4  # open arrays in one process: the three splits of one file, and one more
_open: OrderedDict[tuple[str, str, int, int], NDArray[Any]] = OrderedDict()
_lock = threading.Lock()


def read_npz(path: str | Path, *, labeller: Labeller | None = None) -> Dataset:
    """The cases of a packed file, without reading its images.

    Arrays `SPLIT_images` `(N, H, W)`, `(N, H, W, 3)` or `(N, D, H, W)` with `SPLIT_labels`, or `images` with `labels`.
    Labels `(N,)` or `(N, 1)` are class numbers, of which 0 is normal unless `labeller` names others; of labels
    `(N, k)`, k findings, all zeros are normal. Without labels the cases are unlabelled. Each path is
    `FILE.npz#ARRAY/INDEX`.

    Raises:
        UsageError: the file cannot be read, holds no image arrays, or its labels do not fit them.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            headers = {
                member[:-4]: _header(archive, member) for member in archive.namelist() if member.endswith(".npy")
            }
    except (OSError, zipfile.BadZipFile, ValueError, InputError) as error:
        raise UsageError(f"{path}: cannot be read as NPZ: {getattr(error, 'reason', error)}") from error
    images = [name for name in headers if name == "images" or (name.endswith("_images") and split_of(name[:-7]))]
    if not images:
        raise UsageError(f"{path}: no array is named images or train_images; arrays: {', '.join(headers) or 'none'}")
    cases: list[Case] = []
    findings = {name: _findings(path, name, headers) for name in images}
    seen = {finding for found in findings.values() for finding in found if finding is not None}
    table: dict[str, int | None] = {}
    if seen:
        chosen = labeller or Labeller()
        zero = "normal" if "normal" in seen else "0"
        table = Labeller(chosen.normal or tuple({zero} & seen), chosen.abnormal).labels(seen, path)
    for name in images:
        split = split_of(name[: -len("_images")])
        for index, finding in enumerate(findings[name]):
            label = table.get(finding or "")
            if finding is None or label is not None:
                cases.append(Case(f"{path}#{name}/{index}", label, finding, split))
    left = sum(map(len, findings.values())) - len(cases)
    notes = (f"{left} images of classes that are neither --normal nor --abnormal are left out",) if left else ()
    return Dataset(path.stem, path.parent, tuple(cases), "npz", notes)


def split_member(path: str) -> tuple[Path, str, int] | None:
    """`FILE.npz#ARRAY/INDEX` in its parts, or None where the path is not of that form."""
    file, _, member = path.rpartition("#")
    array, _, index = member.partition("/")
    if not file.lower().endswith(".npz") or not array or not index.isdecimal():
        return None
    return Path(file), array, int(index)


def read_member(path: str) -> NDArray[Any]:
    """The stored values of one image, as a view; the array it comes from stays open in this process.

    Raises:
        InputError: there is no such file, array or index, or it cannot be read.
    """
    parts = split_member(path)
    if parts is None:
        raise InputError(path, "is not of the form FILE.npz#ARRAY/INDEX")
    file, name, index = parts
    array = _array(file, name)
    if index >= len(array):
        raise InputError(path, f"the array has {len(array)} images")
    member: NDArray[Any] = array[index]
    return member


def load_member(path: str) -> Image:
    """One image of a packed file. Raises InputError as `read_member`, or for a shape that is no image."""
    pixels = read_member(path)
    colour = pixels.shape[-1:] == (3,)
    axes: dict[tuple[int, bool], Axes] = {(2, False): "HW", (3, True): "HWC", (3, False): "DHW", (4, True): "DHWC"}
    if (pixels.ndim, colour) not in axes or pixels.dtype.kind not in "uif":
        raise InputError(path, f"values {pixels.dtype} of shape {pixels.shape} are not an image or volume")
    bits = None if pixels.dtype.kind == "f" else 8 * pixels.dtype.itemsize
    return Image(pixels, axes[pixels.ndim, colour], source=path, bits=bits)


def _array(file: Path, name: str) -> NDArray[Any]:
    """One whole array, read once a process. A compressed member cannot be read in part."""
    try:
        status = file.stat()
        key = (str(file), name, status.st_mtime_ns, status.st_size)
        with _lock:
            if key not in _open:
                with zipfile.ZipFile(file) as archive:
                    shape, dtype = _header(archive, f"{name}.npy")
                    _check_memory(file, shape, dtype)
                    with archive.open(f"{name}.npy") as stream:
                        array = npy.read_array(stream, allow_pickle=False)
                array.setflags(write=False)
                _open[key] = array
                while len(_open) > _KEPT:
                    _open.popitem(last=False)
            _open.move_to_end(key)
            return _open[key]
    except KeyError as error:
        raise InputError(file, f"has no array {name!r}") from error
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(file, f"cannot be read as NPZ: {error}") from error


def _header(archive: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array. Raises ValueError unless they fit the bytes that the archive says it has."""
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
        size = archive.getinfo(member).file_size - stream.tell()
    if dtype.hasobject:
        raise ValueError(f"array {member[:-4]!r} holds Python objects, which are never read")
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"array {member[:-4]!r} declares shape {shape} of {dtype}, but has {size} bytes")
    return shape, dtype


def _check_memory(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on this system
        machine = 16 * 1024**3
    need = math.prod(shape) * dtype.itemsize
    if need > MEMORY_SHARE * machine:
        raise InputError(file, f"an array of {need / 1e9:.1f} GB does not fit in half of this machine's memory")


def _findings(path: Path, name: str, headers: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> list[str | None]:
    """The class of each image of one array: its number; "normal" or "findings 2+5" of several; None without labels."""
    count = headers[name][0][0] if headers[name][0] else 0
    key = name[: -len("images")] + "labels"
    if key not in headers:
        return [None] * count
    try:
        labels = _array(path, key)
    except InputError as error:
        raise UsageError(str(error)) from error
    if len(labels) != count or labels.ndim not in (1, 2) or labels.dtype.kind not in "uib" or labels.size == 0:
        raise UsageError(f"{path}: {key} {labels.dtype} {labels.shape} are not class numbers of the {count} {name}")
    if labels.ndim == 1 or labels.shape[1] == 1:
        return [str(int(value)) for value in labels.ravel()]
    return ["findings " + "+".join(map(str, np.flatnonzero(row))) if row.any() else "normal" for row in labels]
