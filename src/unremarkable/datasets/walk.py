"""The image files below a folder, told by their first bytes, and one line each for what is none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from unremarkable.datasets.folders import Place, count_lines, image_stem, is_ignored, masked_stem, natural_key, place
from unremarkable.datasets.tables import SUFFIXES
from unremarkable.errors import InputError, UsageError
from unremarkable.imaging.read import image_kind, read_image


@dataclass(frozen=True)
class ImageFile:
    """One image or mask: what the folders above it say, its format, and its name without suffix and case."""

    path: Path
    place: Place
    kind: str
    stem: str

    @property
    def key(self) -> tuple[tuple[str, ...], str]:
        """What an image and its masks have in common: the folders that mean something, and the name."""
        return tuple(name.casefold() for name in (*self.place.before, *self.place.after)), self.stem

    @property
    def is_mask(self) -> bool:
        """Whether it lies in a mask folder, or is named like a mask."""
        return self.place.mask or masked_stem(self.stem) is not None


def image_files(root: Path, skipped: list[tuple[str, str]]) -> list[ImageFile]:
    """Every image below a folder, by its first bytes; what is none goes to `skipped`."""
    files: list[ImageFile] = []
    others: Counter[str] = Counter()
    for path in _walk(root, skipped):
        if path.suffix.lower() == ".img" and path.with_suffix(".hdr").exists():
            continue  # the values of the NIfTI or Analyze header beside it
        kind = image_kind(path)
        if kind is None:
            skipped.append((str(path), why_no_image(path) or "is not an image"))
            others[path.suffix.lower() or "without suffix"] += 1
        else:
            files.append(
                ImageFile(path, place(path.relative_to(root).parts[:-1]), kind, image_stem(path.name).casefold())
            )
    if not files:
        raise UsageError(_no_images(root, others))
    return files


def _walk(root: Path, skipped: list[tuple[str, str]]) -> list[Path]:
    """Every file below a folder, in natural order; links are followed, each folder is entered once."""

    def unreadable(error: OSError) -> None:
        skipped.append((str(error.filename), f"cannot be read ({error.strerror})"))

    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, onerror=unreadable, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        found.extend(Path(folder, name) for name in names if not is_ignored(name))
    return sorted(found, key=lambda path: natural_key(str(path)))


def why_no_image(path: Path) -> str | None:
    """Why a file is no image, by its first bytes; None where it is one."""
    if image_kind(path) is not None:
        return None
    if path.suffix.lower() in SUFFIXES:
        return "a table; give it by itself to use it as a manifest"
    try:
        read_image(path)
    except InputError as error:
        return error.reason
    return None


def no_such(path: Path) -> str:
    """One line for a path that does not exist, with the nearest name that does."""
    above = path
    while not above.parent.exists():
        above = above.parent
    siblings = [] if not above.parent.is_dir() else [entry.name for entry in above.parent.iterdir()]
    folded = {name.casefold(): name for name in siblings}
    near = get_close_matches(above.name.casefold(), folded, n=1, cutoff=0.5)
    hint = f"; did you mean {above.parent / folded[near[0]]}?" if near else ""
    return f"{path}: no such file or folder{hint}"


def _no_images(root: Path, others: Mapping[str, int]) -> str:
    if not others:
        return f"{root}: the folder is empty"
    inside = [entry.name for entry in sorted(root.iterdir()) if entry.suffix.lower() in SUFFIXES | {".npz"}]
    hint = f"; to use {inside[0]}, name it: {root / inside[0]}" if len(inside) == 1 else ""
    return f"{root}: the folder holds no images ({count_lines(others)}){hint}"
