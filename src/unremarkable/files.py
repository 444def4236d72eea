"""Files and folders that are seen whole or not at all, and JSON that every reader takes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unremarkable.errors import UsageError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside `path`, of the same suffix, which takes its place when the block ends without an error."""
    beside = path.with_name(f".unfinished-{os.getpid()}-{path.name}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


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
    work = folder.with_name(f".unfinished-{os.getpid()}-{folder.name}")
    work.mkdir(parents=True)
    try:
        yield work
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def to_json(value: Any) -> str:
    """One JSON document: numbers that JSON has no word for become null, what is no plain value becomes its text."""
    return json.dumps(_plain(value), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)
