"""What folder names mean: the split, the class, lesion masks. Names only; no file is opened here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import zip_longest

from unremarkable.datasets.case import ABNORMAL, NORMAL
from unremarkable.errors import UsageError


def _words(names: str) -> frozenset[str]:
    return frozenset(names.split())


_SPLITS = {
    "train": "train tr training trainset trainingset",
    "val": "val valid vals validation validationset valset dev",
    "test": "test ts te testing tests testset testingset",
}
SPLIT_NAMES = {name: split for split, names in _SPLITS.items() for name in _words(names)}

#: Compared without case, spaces, hyphens, underscores or dots.
NORMAL_NAMES = _words(
    "normal normals good healthy control controls negative neg notumor notumour nofinding nofindings nolesion "
    "nolesions nodisease noabnormality noanomaly nondiseased noncancer nopneumonia unremarkable"
)
#: Say "abnormal" and nothing more.
ABNORMAL_NAMES = _words("abnormal abnormals anomaly anomalies anomalous ungood")
#: Say "normal" only beside their opposite.
_OPPOSITES = {"no": {"yes", "y"}, "n": {"y", "yes"}, "0": {str(digit) for digit in range(1, 100)}, "false": {"true"}}

MASK_NAMES = _words(
    "mask masks groundtruth gt label labels segmentation segmentations seg segs annotation annotations "
    "lesionmask lesionmasks"
)
#: Folders that only hold the images of the class above them.
CONTAINER_NAMES = _words("image images img imgs scan scans slices png jpg jpeg dicom dcm nifti")

_MASK_STEM = re.compile(r"^(?P<image>.+)_(?:mask|masks|seg|segmentation|gt)(?:_?\d+)?$", re.IGNORECASE)
_IGNORED = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
_DOUBLE_SUFFIXES = (".nii.gz", ".ome.tif", ".ome.tiff", ".dcm.gz")


def plain(name: str) -> str:
    """A name without case and separators: "No_Tumor" and "no tumor" are both "notumor"."""
    return re.sub(r"[\s_\-.]+", "", name).casefold()


def split_of(name: str) -> str | None:
    """The split ("train", "val", "test") that a folder, array or cell names, or None."""
    return SPLIT_NAMES.get(plain(name))


def natural_key(path: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts "slice 2" before "slice 10", whatever the case of the letters."""
    parts = re.split(r"([0-9]+)", path)
    folded = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts)
    return (*folded, (2, 0, path))


def is_ignored(name: str) -> bool:
    """Whether an entry is hidden or left by an operating system, and not worth a word."""
    return name.startswith(".") or name.casefold() in _IGNORED


def image_stem(name: str) -> str:
    """A file name without its suffix, double suffixes of the field (`.nii.gz`) included."""
    for suffix in _DOUBLE_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name.rpartition(".")[0] or name


def masked_stem(stem: str) -> str | None:
    """The stem of the image that a file named like a mask belongs to ("a_mask_1" → "a"), or None."""
    match = _MASK_STEM.match(stem)
    return match["image"] if match else None


@dataclass(frozen=True)
class Labeller:
    """Which class names are normal: the ones given, else the names that people use for it.

    `normal` and `abnormal` are names as on disk or patterns ("lung_*", "*"), compared without case. With `abnormal`
    given, a class that is neither is left out.
    """

    normal: tuple[str, ...] = ()
    abnormal: tuple[str, ...] = ()

    def labels(self, names: Iterable[str], where: object) -> dict[str, int | None]:
        """A label for each class name, None for a class that is left out.

        Raises:
            UsageError: a given name matches no class, or no class is recognised as normal.
        """
        classes = sorted(set(names), key=natural_key)
        for flag, patterns in (("normal", self.normal), ("abnormal", self.abnormal)):
            for pattern in patterns:
                if not any(_matches(name, (pattern,)) for name in classes):
                    raise UsageError(f"{where}: no class matches --{flag} {pattern!r}; classes: {', '.join(classes)}")
        found = {name: self._label(name, classes) for name in classes}
        if NORMAL not in found.values() and not {plain(name) for name in classes} <= ABNORMAL_NAMES:
            shown = ", ".join(classes[:12]) + (f", and {len(classes) - 12} more" if len(classes) > 12 else "")
            raise UsageError(f"{where}: none of the classes is recognised as normal ({shown}); name it: --normal NAME")
        return found

    def any_normal(self, names: Iterable[str]) -> bool:
        """Whether one of the class names is normal."""
        classes = list(names)
        return any(self._label(name, classes) == NORMAL for name in classes)

    def _label(self, name: str, classes: list[str]) -> int | None:
        if self.normal:
            normal = _matches(name, self.normal)
        else:
            normal = is_normal_name(name, classes) and not _matches(name, self.abnormal)
        if normal:
            return NORMAL
        return ABNORMAL if not self.abnormal or _matches(name, self.abnormal) else None


def is_normal_name(name: str, siblings: Iterable[str] = ()) -> bool:
    """Whether a class name says "normal"; "no" and "0" do so only beside "yes" and another number."""
    short = plain(name)
    if short in NORMAL_NAMES:
        return True
    return bool(_OPPOSITES.get(short, set()) & {plain(other) for other in siblings})


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name.casefold(), p.casefold()) or plain(name) == plain(p) for p in patterns)


@dataclass(frozen=True)
class Place:
    """What the folders between the root of a data set and one file say of the file.

    Splits, mask folders and mere containers are read and dropped; the other names are kept, those `before` and `after`
    the innermost split apart. Without a split, all are `after`.
    """

    split: str | None
    mask: bool
    before: tuple[str, ...]
    after: tuple[str, ...]

    def name_at(self, position: Position) -> str | None:
        """The folder name at one position, or None where there is none."""
        names = self.after if position >= 0 else self.before
        return names[position] if -len(names) <= position < len(names) else None


#: Where a class name stands: 0, 1, ... after the innermost split (or the root), -1, -2, ... before it.
Position = int


def place(folders: tuple[str, ...]) -> Place:
    """Read the folder names above one file, outermost first."""
    split: str | None = None
    mask = False
    before: list[str] = []
    after: list[str] = []
    for name in folders:
        short = plain(name)
        if short in SPLIT_NAMES:
            split = SPLIT_NAMES[short]
            before, after = before + after, []
        elif short in MASK_NAMES:
            mask = True
        elif short not in CONTAINER_NAMES:
            after.append(name)
    return Place(split, mask, tuple(before), tuple(after))


def class_position(places: Iterable[Place], labeller: Labeller) -> Position | None:
    """Where the class names stand: the first position, from the split outwards, at which some folder is normal.

    So `train/NORMAL/p1/x.png`, `normal/images/x.png`, `normal/train/p1/x.png` and `hospital/normal/x.png` are all
    understood. Where no folder is normal, the first position that has names at all; None where there are none.
    """
    seen = set(places)
    deep, high = max((len(p.after) for p in seen), default=0), max((len(p.before) for p in seen), default=0)
    pairs = zip_longest(range(deep), range(-1, -high - 1, -1))
    named = {
        position: {name for p in seen if (name := p.name_at(position)) is not None}
        for position in (position for pair in pairs for position in pair if position is not None)
    }
    for position, names in named.items():
        if labeller.any_normal(names):
            return position
    return next(iter(named), None)


def count_lines(counts: Mapping[str, int], times: str = " ", most: int = 6) -> str:
    """`{".csv": 1, ".txt": 2}` as "2 .txt, 1 .csv": most frequent first, and `most` of them at most."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{number}{times}{name}" for name, number in ranked[:most]]
    return ", ".join(shown + ([f"and {len(ranked) - most} more kinds"] if len(ranked) > most else []))
