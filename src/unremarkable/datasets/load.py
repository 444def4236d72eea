"""From a Case to its pixels, its model input, and the digest of the bytes that hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unremarkable.datasets.case import Case
from unremarkable.datasets.folders import is_ignored
from unremarkable.datasets.npz import load_member, read_member, split_member
from unremarkable.datasets.parallel import map_in_order
from unremarkable.datasets.parts import is_part, load_part
from unremarkable.datasets.series import series_files
from unremarkable.errors import InputError
from unremarkable.imaging.image import Image

if TYPE_CHECKING:
    from unremarkable.imaging.preprocess import Preprocess

Loader = Callable[[Case], Image]


def load_case(case: Case) -> Image:
    """The image of a case: a file or a part of it, a folder of one series, one of several, one image of a packed file.

    Raises:
        InputError: it cannot be read.
    """
    if is_member(case.path):
        return load_member(case.path)
    if is_part(case.path):
        return load_part(case.path)
    if files := series_files(case.path):
        from unremarkable.imaging.series import read_series

        return read_series(files)
    from unremarkable.imaging.read import read_image

    return read_image(case.path)


def stream(
    cases: Iterable[Case], preprocess: Preprocess, *, workers: int | None = None, loader: Loader = load_case
) -> Iterator[tuple[Case, Image | None, NDArray[np.float32] | InputError]]:
    """Each case with its image and its model input `(N, C, H, W)`, in order, decoded ahead in threads.

    A case that cannot be used comes with the InputError that says why, in place of the input, and the rest goes on;
    its image is None where it could not even be read. Few images are held at once: about two per worker.
    """

    def prepare(case: Case) -> tuple[Case, Image | None, NDArray[np.float32] | InputError]:
        image = None
        try:
            image = loader(case)
            return case, image, preprocess(image)
        except InputError as error:
            return case, image, error
        except Exception as error:  # one strange file must not end a run over ten thousand
            failure = InputError(case.path, f"unexpected {type(error).__name__}: {error}")
            failure.__cause__ = error
            return case, image, failure

    return map_in_order(prepare, cases, workers)


def digest(case: Case) -> str:
    """The sha256 of the bytes behind a case, in hexadecimal; names and folders do not enter it.

    A series is digested over the sorted digests of its files; an image of a packed file, and a part of a file, over
    type, shape and values.

    Raises:
        InputError: a file cannot be read.
    """
    if is_member(case.path) or is_part(case.path):
        member = read_member(case.path) if is_member(case.path) else load_part(case.path).pixels
        header = f"{member.dtype.str} {member.shape}\0".encode()
        return hashlib.sha256(header + member.tobytes()).hexdigest()
    path = Path(case.path)
    try:
        files = series_files(case.path)
        if files is None and not path.is_dir():
            return _file_digest(path)
        files = files or tuple(file for file in path.iterdir() if file.is_file() and not is_ignored(file.name))
        return hashlib.sha256("".join(sorted(map(_file_digest, files))).encode()).hexdigest()
    except FileNotFoundError:
        raise InputError(path, "no such file or folder") from None
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})") from error


def is_member(path: str) -> bool:
    """Whether a case's path names one image of a packed file, and not a file whose own name looks so."""
    return split_member(path) is not None and not Path(path).exists()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
