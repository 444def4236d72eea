"""Entry: one public data set, and what reading it as its publisher ships it comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case, Dataset
from unremarkable.datasets.folders import is_ignored, natural_key
from unremarkable.errors import UsageError

#: in a key of counts, any split or any class
ANY = "*"
#: cases by (split, class); a class is a finding, or "normal" and "abnormal"; "" is no split
Counts = Mapping[tuple[str, str], int]

_LABELS = {NORMAL: "normal", ABNORMAL: "abnormal", None: "unlabelled"}
_DEPTH = 3  # archives and Kaggle's downloads wrap a set in up to that many folders


@dataclass(frozen=True)
class Found:
    """What a reader made of a folder: cases, `(path, reason)` of what is left out, and lines for the user."""

    cases: tuple[Case, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Download:
    """One file that its publisher gives to anyone: where, and the md5 that is published beside it."""

    file: str
    url: str
    md5: str


@dataclass(frozen=True)
class Entry:
    """One public data set.

    Attributes:
        name: what the user types; title: what its publisher calls it.
        modality: and body part.
        licence: as the publisher says; None where that is not known for certain.
        citation: the paper or page to cite.
        homepage: where to get it; access: what that takes.
        splits: how they are defined.
        normal: what counts as normal.
        layout: the publisher's folder, in a line.
        signs: paths or patterns below the set's folder, alternatives with "|" between; where all are there, it looks
            like this set.
        reader: from that folder to the cases.
        counts: published numbers of cases, by edition; several where the set was published in several.
        counted: where the counts are from, and whether that was looked up.
        downloads: files that anyone may fetch, the default first.
        notes: what a user should know.
        costly: reading it opens many files whole, so that it is not done merely to recognise a folder.
    """

    name: str
    title: str
    modality: str
    licence: str | None
    citation: str
    homepage: str
    access: str
    splits: str
    normal: str
    layout: str
    signs: tuple[str, ...]
    reader: Callable[[Path], Found] = field(repr=False)
    counts: Mapping[str, Counts] = field(default_factory=dict)
    counted: str = ""
    downloads: tuple[Download, ...] = ()
    notes: tuple[str, ...] = ()
    costly: bool = False

    def locate(self, folder: str | Path) -> Path | None:
        """The folder of the set at or below `folder`, the uppermost where there are several; None where it is none."""
        level = [Path(folder)]
        for _ in range(_DEPTH):
            for place in level:
                if self.is_at(place):
                    return place
            level = [inside for place in level for inside in _folders(place)]
        return None

    def is_at(self, place: Path) -> bool:
        """Whether a folder, or a packed file, is laid out as this set."""
        if place.is_file():
            return any(place.match(sign) for sign in self.signs)
        return place.is_dir() and all(any(any(place.glob(one)) for one in sign.split("|")) for sign in self.signs)

    def read(self, folder: str | Path) -> Dataset:
        """The cases of the set, in natural order of their paths.

        Raises:
            UsageError: the folder is not laid out as the publisher ships the set, or holds none of its images.
        """
        folder = Path(folder).expanduser()
        if not folder.exists():
            raise UsageError(f"{folder}: no such folder; {self.name} is at {self.homepage}")
        root = self.locate(folder)
        if root is None:
            raise UsageError(f"{folder}: not laid out as {self.name}: expected {self.layout}")
        found = self.reader(root)
        if not found.cases:
            left = f"; {found.skipped[0][0]}: {found.skipped[0][1]}" if found.skipped else ""
            raise UsageError(f"{root}: laid out as {self.name}, but none of its images are there{left}")
        cases = tuple(sorted(found.cases, key=lambda case: natural_key(case.path)))
        return Dataset(self.name, root, cases, "catalogue", found.notes, found.skipped)


def class_of(case: Case) -> str:
    """The class by which a case is counted: its finding, else "normal", "abnormal" or "unlabelled"."""
    return case.finding or _LABELS[case.label]


def count(cases: Iterable[Case], split: str, name: str) -> int:
    """How many cases a key of counts stands for."""
    return sum(
        split in (ANY, case.split or "") and name in (ANY, class_of(case), _LABELS[case.label]) for case in cases
    )


def _folders(place: Path) -> list[Path]:
    """The folders in a folder, unless they are so many that they are its content and not its wrapping."""
    try:
        inside = [path for path in place.iterdir() if not is_ignored(path.name) and path.is_dir()]
    except OSError:
        return []
    return sorted(inside) if len(inside) <= 20 else []
