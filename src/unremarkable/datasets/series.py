"""DICOM files of one folder as cases: one an image or volume, named so that it can be found again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unremarkable.datasets.folders import is_ignored, plain
from unremarkable.errors import InputError

if TYPE_CHECKING:
    from unremarkable.imaging.series import Group

#: What is written for a patient whose name was taken out; such patients are not one.
_NOBODY = frozenset({"", "0", "anon", "anonymous", "anonymized", "anonymised", "unknown", "none", "na", "n/a"})
_KEPT = 64  # folders whose grouping is remembered
_groups: OrderedDict[tuple[str, int], list[Group]] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True)
class Series:
    """One image or volume.

    `path` is its file; or its folder, where that holds nothing else to score; or `FOLDER#FILE` by its first file.
    """

    path: str
    patient: str | None
    study: str | None


def find_series(folder: Path, files: Sequence[Path]) -> tuple[list[Series], list[tuple[str, str]]]:
    """The images and volumes among the DICOM files of one folder, and what is left out, with the reason."""
    from unremarkable.imaging.series import group_series

    found, skipped = [], []
    groups = group_series(files)
    wanted = [group for group in groups if group.reason is None]
    for group in groups:
        if group.reason is None:
            first = group.paths[0]
            if len(group.paths) == 1:
                path = str(first)
            else:
                path = str(folder) if len(wanted) == 1 else f"{folder}#{first.name}"
            found.append(Series(path, *_identity(first)))
        elif group.damaged:  # an image that was meant to be read: it fails when it is, by name
            found += [Series(str(path), None, None) for path in group.paths]
        elif len(group.paths) == 1:
            skipped.append((str(group.paths[0]), group.reason))
        else:
            skipped.append((f"{folder}#{group.paths[0].name}", f"{len(group.paths)} files: {group.reason}"))
    return found, skipped


def series_files(path: str) -> tuple[Path, ...] | None:
    """The files of a series named `FOLDER#FILE`, or None where the path is not of that form.

    Raises:
        InputError: the folder no longer holds a series that begins with that file.
    """
    name, _, member = path.rpartition("#")
    folder = Path(name)
    if not name or not member or Path(path).exists() or not folder.is_dir():
        return None
    key = (name, folder.stat().st_mtime_ns)
    with _lock:
        if key not in _groups:
            from unremarkable.imaging.series import group_series

            files = [file for file in folder.iterdir() if file.is_file() and not is_ignored(file.name)]
            _groups[key] = group_series(files)
            while len(_groups) > _KEPT:
                _groups.popitem(last=False)
        groups = _groups[key]
    for group in groups:
        if group.paths[0].name == member and group.reason is None:
            return group.paths
    raise InputError(path, "the folder holds no series that begins with this file")


def _identity(path: Path) -> tuple[str | None, str | None]:
    """PatientID and StudyInstanceUID, which splits keep together; None where the file names nobody."""
    from unremarkable.imaging.dicom_file import one_line, open_dicom

    try:
        with one_line(path):
            header = open_dicom(path, header_only=True)
            patient, study = (str(header.get(key) or "").strip() for key in ("PatientID", "StudyInstanceUID"))
    except InputError:
        return None, None
    return (None if plain(patient) in _NOBODY else patient), study or None
