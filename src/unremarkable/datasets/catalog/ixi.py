"""IXI: MR volumes of healthy brains."""

from __future__ import annotations

import re
from pathlib import Path

from unremarkable.datasets.case import NORMAL, Case
from unremarkable.datasets.catalog.base import Entry, Found
from unremarkable.datasets.catalog.files import by_name

_NAME = re.compile(r"(?P<patient>IXI\d+)-(?P<site>\w+)-\d+-T1\.nii")


def _read(root: Path) -> Found:
    cases, others = [], 0
    for name, path in by_name(root, (".nii", ".nii.gz")).items():
        if match := _NAME.match(name):
            cases.append(Case(str(path), NORMAL, "healthy", patient=match["patient"], extra={"site": match["site"]}))
        else:
            others += 1
    notes = (f"{others} volumes of other sequences than T1 are left out",) if others else ()
    return Found(tuple(cases), notes=notes)


ENTRIES = (
    Entry(
        name="ixi",
        title="IXI dataset, T1",
        modality="T1-weighted MR volumes, brain",
        licence="CC BY-SA 3.0 (from memory)",
        citation="IXI project, brain-development.org",
        homepage="https://brain-development.org/ixi-dataset/",
        access="free download",
        splits="none published",
        normal="every volume: healthy volunteers",
        layout="IXI*-T1.nii.gz in one folder",
        signs=("IXI*-T1.nii*",),
        reader=_read,
        counts={"T1": {("", "healthy"): 581}},
        counted="reversed auto-encoder paper, which trains on 581 T1-weighted volumes",
        notes=("Site (Guys, HH, IOP) is in extra: the three scanners differ.",),
    ),
)
