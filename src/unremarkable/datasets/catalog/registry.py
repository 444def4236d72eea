"""Entries by name, and which of them a folder looks like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unremarkable.datasets.case import Dataset
from unremarkable.datasets.catalog import (
    bimcv_covid19,
    bmad,
    br35h,
    brain_mri_253,
    brain_tumor_mri,
    brats,
    busi,
    cnmc,
    covid19_xray,
    covid_chestxray,
    fastmri_plus,
    grazpedwri,
    head_ct,
    ixi,
    kermany_cxr,
    kermany_oct,
    lgg,
    medmnist,
    mias,
    mura,
    nih_chestxray14,
    padchest,
    rsna_pneumonia,
    vindr_cxr,
)
from unremarkable.datasets.catalog.base import Entry
from unremarkable.datasets.catalog.check import compare
from unremarkable.datasets.folders import is_ignored
from unremarkable.errors import UsageError, unknown_name

_MODULES = (
    kermany_oct, kermany_cxr, brain_tumor_mri, covid19_xray, covid_chestxray, bimcv_covid19, head_ct, brain_mri_253,
    br35h, mias, cnmc, nih_chestxray14, brats, mura, fastmri_plus, ixi, grazpedwri, rsna_pneumonia, padchest, vindr_cxr,
    busi, lgg, bmad, medmnist,
)  # fmt: skip
#: every data set, by name
ENTRIES: dict[str, Entry] = {entry.name: entry for module in _MODULES for entry in module.ENTRIES}


@dataclass(frozen=True)
class Likeness:
    """One entry that a folder is laid out as; `gap` is the share of published cases that are missing or too many."""

    entry: Entry
    gap: float | None


def find_entry(name: str) -> Entry:
    """The entry of a name. Raises UsageError, with the nearest name, where there is none."""
    if name not in ENTRIES:
        raise unknown_name("data set", name, ENTRIES)
    return ENTRIES[name]


def read_named(data: str, *, plain: bool = True) -> Dataset | None:
    """The cases of `NAME:FOLDER`, or None where `data` is not of that form.

    Args:
        data: what the user typed.
        plain: False where the user also says what is normal, or which column is what.

    Raises:
        UsageError: there is no data set of that name, its folder is not there or laid out otherwise, or not `plain`.
    """
    name, colon, folder = data.partition(":")
    if not colon or (name not in ENTRIES and not (folder and Path(folder).expanduser().exists())):
        return None
    entry = find_entry(name)
    if not folder:
        raise UsageError(f"{data} names no folder; write {name}:FOLDER")
    if not plain:
        raise UsageError(f"{data}: {name} says itself what is normal; leave out --normal, --abnormal and --column")
    return entry.read(folder)


def recognise(folder: str | Path) -> list[Likeness]:
    """The entries that a folder, or a packed file, is laid out as; those whose counts fit best first.

    Wrapping folders are looked through. Entries that are costly to read, or have no published counts, have no gap and
    come after the others.
    """
    place = _unwrapped(Path(folder).expanduser())
    found = []
    for entry in ENTRIES.values():
        at = next((inside for inside in place if entry.is_at(inside)), None)
        if at is None:
            continue
        try:
            gap = None if entry.costly or not entry.counts else compare(entry, entry.read(at)).gap
        except UsageError:
            continue  # the layout is another one after all
        found.append(Likeness(entry, gap))
    return sorted(found, key=lambda likeness: (likeness.gap is None, likeness.gap or 0.0))


def _unwrapped(folder: Path) -> list[Path]:
    """A folder, and the folders below it as long as there is nothing beside them."""
    chain = [folder]
    while chain[-1].is_dir() and len(chain) < 4:
        inside = [path for path in chain[-1].iterdir() if not is_ignored(path.name)]
        if len(inside) != 1 or not inside[0].is_dir():
            break
        chain.append(inside[0])
    return chain
