"""The folder of a benchmark: one folder a cell, each whole or absent, and what else the tables need to know.

`benchmark.json` marks the folder and lists the rows and columns; `cells/NAME-KEY/` is a finished or failed cell;
`work/KEY/` is one under way, from which a run that was cut off goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unremarkable.errors import UsageError
from unremarkable.files import whole_file

FORMAT = 1
MARK = "benchmark.json"
RESULT, SCORES, ERROR = "cell.json", "scores.csv", "error.txt"
DONE, FAILED = "done", "failed"
#: a row and column that has no cell, and why
ABSENT, UNBUILT = "data absent", "method not built yet"


@dataclass(frozen=True)
class Blank:
    """A place of the table that no cell can fill: `reason` is `ABSENT` or `UNBUILT`."""

    row: str
    column: str
    reason: str


class Store:
    """Reads and writes one benchmark folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cells_folder = folder / "cells"
        self.work_folder = folder / "work"

    @classmethod
    def open(cls, folder: Path, *, create: bool = False) -> Store:
        """The benchmark in `folder`; with `create`, a new one where the folder is empty or missing.

        Raises:
            UsageError: the folder is something else, or was written by a newer version.
        """
        mark = folder / MARK
        if not mark.is_file():
            if not create:
                raise UsageError(f"{folder} is not a benchmark: it has no {MARK}")
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise UsageError(f"{folder} is not a benchmark and not empty; name a new folder, or a benchmark")
            folder.mkdir(parents=True, exist_ok=True)
            _write(mark, {"format": FORMAT, "blanks": []})
        try:
            written = json.loads(mark.read_text(encoding="utf-8"))["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{mark} is damaged; remove it if the folder is a benchmark's") from error
        if written > FORMAT:
            raise UsageError(f"{folder} was written by a newer version of unremarkable; update with: pip install -U")
        return cls(folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else runs cells of this benchmark meanwhile; the lock dies with the process.

        Raises:
            UsageError: another process does.
        """
        with (self.folder / ".lock").open("w") as file:
            if not lock(file.fileno(), wait=False):
                raise UsageError(f"another process is running the benchmark in {self.folder}; wait for it, or end it")
            yield

    def find(self, key: str) -> dict[str, Any] | None:
        """What came of a cell, or None."""
        return next((self._read(folder) for folder in self.cells_folder.glob(f"*-{key}")), None)

    def results(self) -> list[dict[str, Any]]:
        """What came of every cell, by name of its folder; each with its `folder`."""
        folders = sorted(self.cells_folder.iterdir()) if self.cells_folder.is_dir() else []
        return [self._read(folder) for folder in folders if folder.is_dir()]

    def work(self, key: str) -> Path:
        """Where a cell is worked on."""
        folder = self.work_folder / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def publish(self, made: Path, slug: str, key: str) -> None:
        """Take a whole cell out of its work folder, and forget the rest of that."""
        self.cells_folder.mkdir(exist_ok=True)
        self.remove(key)
        made.rename(self.cells_folder / slug)
        shutil.rmtree(self.work_folder / key, ignore_errors=True)

    def remove(self, key: str) -> None:
        """Forget a cell."""
        for folder in self.cells_folder.glob(f"*-{key}"):
            shutil.rmtree(folder)

    @property
    def blanks(self) -> list[Blank]:
        """The places that no cell can fill, as the last run over them found."""
        return [Blank(**one) for one in json.loads((self.folder / MARK).read_text(encoding="utf-8"))["blanks"]]

    def note(self, blanks: Sequence[Blank]) -> None:
        """Remember these, beside those of other rows and columns."""
        places = {(one.row, one.column): one for one in (*self.blanks, *blanks)}
        _write(self.folder / MARK, {"format": FORMAT, "blanks": [vars(one) for one in places.values()]})

    def _read(self, folder: Path) -> dict[str, Any]:
        try:
            result: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{folder} is damaged: {error}; remove it, and it is run again") from error
        return result | {"folder": folder}


def lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file for this process alone, until it is closed; False where another process has it."""
    try:
        import fcntl
    except ImportError:  # Windows: two runs at once into one folder are the user's to avoid
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(path: Path, values: Any) -> None:
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(values, indent=1), encoding="utf-8")
