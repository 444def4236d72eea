"""The packed cache: every case decoded and preprocessed once, into one memory-mapped array.

An entry is a folder named by what it was made from: the bytes of the cases in order, the Preprocess, and the package's
version. It holds `images.npy` and `index.json`, with a CRC-32 of every 64 MiB of the array. All are checked when it is
opened, at over 1 GB/s and core, far faster than packing again; an entry that fails is packed again. An entry is written
beside its final place and renamed, so that it is whole or absent, and two processes may pack it at once.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from unremarkable import __version__
from unremarkable.datasets.case import Case
from unremarkable.datasets.load import Loader, digest, load_case, stream
from unremarkable.datasets.parallel import map_in_order, with_progress
from unremarkable.errors import InputError, UsageError

if TYPE_CHECKING:
    from unremarkable.imaging.preprocess import Preprocess

FORMAT = 1
ENVIRONMENT = "UNREMARKABLE_CACHE"
_HEADER = 128  # of images.npy; fixed, for the number of images is known only at the end
_BLOCK = 64 * 1024**2
_ABANDONED = 3600.0  # seconds without a write after which another process's partial entry is removed


@dataclass(frozen=True, eq=False)
class Packed:
    """Cases as model input.

    Attributes:
        images: float32 `(M, C, H, W)` in [0, 1], memory-mapped and read-only; a volume gives one image a slice.
        case_of: `(M,)`, the index of the case that each image came from, ascending; failed cases have no images.
        digests: sha256 of the bytes behind each case, None where they could not be read.
        failures: path and reason of each case that could not be used.
        origin: "cache", "packed" now, or "repacked" because the cached entry was damaged.
        folder: the cache entry.
    """

    images: NDArray[np.float32]
    case_of: NDArray[np.int64]
    digests: tuple[str | None, ...]
    failures: tuple[tuple[str, str], ...]
    origin: Literal["cache", "packed", "repacked"]
    folder: Path

    def of(self, cases: Sequence[int]) -> Rows:
        """The images of some cases, by their indices."""
        return Rows(self.images, np.flatnonzero(np.isin(self.case_of, np.asarray(cases, dtype=int))))


@dataclass(frozen=True, eq=False)
class Rows:
    """Some of the packed images, read from the disk as they are asked for; `index` is their place among all."""

    images: NDArray[np.float32]
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.images[self.index[rows]]


def pack(
    cases: Sequence[Case],
    preprocess: Preprocess,
    *,
    folder: Path | None = None,
    workers: int | None = None,
    progress: bool = False,
    loader: Loader = load_case,
) -> Packed:
    """Decode and preprocess the cases once, in parallel; again only where bytes or Preprocess have changed.

    The images are the same for any number of workers. `folder` holds the entries; `$UNREMARKABLE_CACHE/packed` or the
    platform's cache folder if None.

    Raises:
        UsageError: there are no cases, none can be read, or the disk is full or not writable.
    """
    if not cases:
        raise UsageError("there are no cases to pack")
    root = folder or cache_folder() / "packed"
    digests = tuple(
        with_progress(map_in_order(_digest_or_none, cases, workers), len(cases), "Looking for changes", progress)
    )
    source = "" if loader is load_case else f"{loader.__module__}.{loader.__qualname__}"
    key = {
        "format": FORMAT,
        "version": __version__,
        "preprocess": preprocess.to_dict(),
        "digests": digests,
        "loader": source,
    }
    entry = root / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    found = _open(entry, cases, digests, "cache", workers)
    if found is not None:
        return found
    damaged = entry.exists()
    prepared = with_progress(stream(cases, preprocess, workers=workers, loader=loader), len(cases), "Packing", progress)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(root)
        _check_space(root, len(cases), preprocess)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=root))
        try:
            _write(partial, prepared, len(cases), workers)
            _publish(partial, entry, lambda: _open(entry, cases, digests, "cache", workers) is not None)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(root, None) from error
        raise UsageError(f"{root}: the cache cannot be written: {error.strerror or error}") from error
    packed = _open(entry, cases, digests, "repacked" if damaged else "packed", workers)
    if packed is None:
        raise UsageError(f"{entry}: the cache reads back otherwise than it was written; check the disk")
    return packed


def cache_folder() -> Path:
    """Where the package keeps what it can make again: `$UNREMARKABLE_CACHE`, or the platform's cache folder."""
    if chosen := os.environ.get(ENVIRONMENT):
        return Path(chosen).expanduser()
    home = Path.home()
    if sys.platform == "darwin":
        base = home / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "unremarkable"


def _digest_or_none(case: Case) -> str | None:
    try:
        return digest(case)
    except InputError:
        return None  # the reason comes up again, and is recorded, where the case is decoded


def _write(partial: Path, prepared: Any, count: int, workers: int | None) -> None:
    """Write a whole entry into an empty folder."""
    owners: list[int] = []
    failures: list[tuple[int, str]] = []
    shape: tuple[int, ...] = ()
    first: InputError | None = None
    path = partial / "images.npy"
    with path.open("wb") as file:
        file.seek(_HEADER)
        for index, (_, _, inputs) in enumerate(prepared):
            if isinstance(inputs, InputError):
                first = first or inputs
                failures.append((index, inputs.reason))
                continue
            owners.extend([index] * len(inputs))
            shape = inputs.shape[1:]
            file.write(np.ascontiguousarray(inputs, "<f4").data)
        if not owners:
            raise UsageError(f"none of the {count} cases can be used; {first}")
        file.seek(0)
        file.write(_npy_header((len(owners), *shape)))
        file.flush()
        os.fsync(file.fileno())
    index_file = {
        "shape": [len(owners), *shape],
        "case_of": owners,
        "failures": failures,
        "crc32": _checksums(path, workers),
    }
    (partial / "index.json").write_text(json.dumps(index_file), encoding="utf-8")


def _open(
    entry: Path, cases: Sequence[Case], digests: tuple[str | None, ...], origin: Any, workers: int | None
) -> Packed | None:
    """An entry, or None where it is absent, incomplete or damaged."""
    path = entry / "images.npy"
    try:
        index = json.loads((entry / "index.json").read_text(encoding="utf-8"))
        shape = tuple(int(side) for side in index["shape"])
        whole = path.stat().st_size == _HEADER + 4 * int(np.prod(shape))
        if not whole or len(index["case_of"]) != shape[0] or index["crc32"] != _checksums(path, workers):
            return None
        failures = tuple((cases[at].path, str(reason)) for at, reason in index["failures"])
        images = np.memmap(path, "<f4", "r", offset=_HEADER, shape=shape)
        return Packed(images, np.array(index["case_of"], np.int64), digests, failures, origin, entry)
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _checksums(path: Path, workers: int | None) -> list[int]:
    """CRC-32 of each block of a file."""

    def checksum(start: int) -> int:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            return zlib.crc32(file.read(_BLOCK))

    return list(map_in_order(checksum, range(0, path.stat().st_size, _BLOCK), workers))


def _npy_header(shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape})
    return b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little") + text.ljust(_HEADER - 11).encode() + b"\n"


def _publish(partial: Path, entry: Path, is_sound: Callable[[], bool]) -> None:
    """Move a finished entry to its place. Where another process was first and its entry is sound, that one stays."""
    try:
        partial.rename(entry)
    except OSError:
        if not entry.is_dir():
            raise
        if not is_sound():
            aside = Path(tempfile.mkdtemp(prefix=".partial-", dir=entry.parent)) / "damaged"
            entry.rename(aside)
            shutil.rmtree(aside.parent, ignore_errors=True)
            partial.rename(entry)


def _remove_abandoned(root: Path) -> None:
    """Remove what killed processes left: partial entries that nothing has been written to for an hour."""
    for partial in root.glob(".partial-*"):
        try:
            newest = max(path.stat().st_mtime for path in (partial, *partial.iterdir()))
        except OSError:
            continue  # its process has just removed it
        if time.time() - newest > _ABANDONED:
            shutil.rmtree(partial, ignore_errors=True)


def _check_space(root: Path, count: int, preprocess: Preprocess) -> None:
    need = 4 * count * preprocess.channels * preprocess.size[0] * preprocess.size[1]
    if shutil.disk_usage(root).free < need:
        raise _disk_full(root, need)


def _disk_full(root: Path, need: int | None) -> UsageError:
    wanted = "" if need is None else f"at least {need / 1e9:.1f} GB are needed and "
    try:
        free = f"{shutil.disk_usage(root).free / 1e9:.1f} GB are free"
    except OSError:
        free = "none is free"
    return UsageError(
        f"{root}: the disk is too full to pack the images: {wanted}{free}; ${ENVIRONMENT} names another folder"
    )
