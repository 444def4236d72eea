"""Fetching the sets that their publishers give to anyone."""

from __future__ import annotations

from pathlib import Path

from unremarkable.datasets.catalog.base import Download, Entry
from unremarkable.datasets.download import Progress, fetch, file_digest
from unremarkable.errors import UsageError, unknown_name


def get(entry: Entry, folder: Path, file: str | None = None, progress: Progress | None = None) -> Path:
    """Download one file of a data set into a folder, checked against the published md5; what is there is not repeated.

    Args:
        entry: the data set.
        folder: where the file goes.
        file: which one, where there are several; the first unless named.
        progress: called with the bytes so far and in all.

    Raises:
        UsageError: the set cannot be downloaded without more ado (says what it takes), there is no such file, another
            file is in its place, or the download failed (what has come is kept, and the next call goes on from there).
    """
    if not entry.downloads:
        raise UsageError(
            f"{entry.name} cannot be fetched from here: {entry.access}; see {entry.homepage}, and then: "
            f"unremarkable data check FOLDER --as {entry.name}"
        )
    wanted = _choose(entry, file)
    path = folder / wanted.file
    if path.exists():
        if file_digest(path, "md5") != wanted.md5:
            raise UsageError(f"{path} is there already and is not the published file; move it away")
        return path
    return fetch(wanted.url, path, "md5", wanted.md5, progress)


def _choose(entry: Entry, file: str | None) -> Download:
    files = {download.file: download for download in entry.downloads}
    if file is None:
        return entry.downloads[0]
    if file not in files:
        raise unknown_name(f"file of {entry.name}", file, files)
    return files[file]
