"""A folder of results that is seen whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unremarkable.errors import UsageError


def check_folder(folder: Path, mark: str, *, overwrite: bool = False) -> None:
    """Refuse a folder that may not be written, before any work is done for it; `mark` is a file that ours hold.

    Raises:
        UsageError: the folder holds something already, and may not be replaced or is not ours.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not overwrite:
        raise UsageError(f"{folder} exists already; give another -o, or --overwrite to replace it")
    if not (folder / mark).is_file():
        raise UsageError(f"{folder} holds no {mark}: something else wrote it, and it is left alone; give another -o")


@contextmanager
def whole_folder(folder: Path, mark: str, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder` when the block ends without an error.

    Raises:
        UsageError: as `check_folder`.
    """
    check_folder(folder, mark, overwrite=overwrite)
    work = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    work.mkdir(parents=True)
    try:
        yield work
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
