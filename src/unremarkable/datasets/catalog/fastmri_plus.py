"""fastMRI+: boxes by radiologists on fastMRI's brain MR."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.catalog.base import Entry, Found
from unremarkable.datasets.catalog.files import by_name, one, table
from unremarkable.errors import UsageError

_NORMAL = "Normal for age"
_SLICE = re.compile(r"(?P<file>file_brain_(?P<sequence>AX[A-Z0-9]+)_.+)_(?P<slice>\d{3})\.dcm")
_BOX = ("x", "y", "width", "height")
Marked = dict[int, list[tuple[str, tuple[float, float, float, float]]]]


def _annotations(path: Path) -> tuple[dict[str, Marked], dict[str, set[str]]]:
    """Boxes by file and slice, and findings of whole studies by file."""
    boxes: dict[str, Marked] = defaultdict(lambda: defaultdict(list))
    whole: dict[str, set[str]] = defaultdict(set)
    for number, row in enumerate(table(path, ("file", "slice", "study_level", *_BOX, "label")), start=1):
        if row["study_level"] == "Yes":
            whole[row["file"]].add(row["label"])
            continue
        try:
            x, y, width, height = (float(row[name]) for name in _BOX)
            boxes[row["file"]][int(row["slice"])].append((row["label"], (x, y, width, height)))
        except ValueError as error:
            raise UsageError(f"{path}: row {number}: the slice and box are not five numbers") from error
    return boxes, whole


def _read(root: Path) -> Found:
    boxes, whole = _annotations(one(root, "brain.csv", "*/brain.csv"))
    reviewed = {
        line.strip() for line in one(root, "brain_file_list.csv", "*/brain_file_list.csv").read_text().splitlines()
    }
    cases, unseen = [], 0
    for name, path in by_name(root, (".dcm",)).items():
        match = _SLICE.fullmatch(name)
        if match is None or match["file"] not in reviewed | set(boxes) | set(whole):
            unseen += 1
            continue
        file, found = match["file"], boxes.get(match["file"], {})
        here = found.get(int(match["slice"]), [])
        studies = whole.get(file, set()) - {_NORMAL}
        clean = not found and not studies
        cases.append(
            Case(
                str(path),
                ABNORMAL if here else NORMAL if clean else None,
                "|".join(dict.fromkeys(label for label, _ in here)) or (_NORMAL if clean else None),
                patient=file,
                boxes=tuple(box for _, box in here),
                extra={"sequence": match["sequence"], "slice": int(match["slice"])}
                | ({"study findings": "|".join(sorted(studies))} if studies else {}),
            )
        )
    notes = (f"{unseen} DICOM files are none that the radiologists reviewed, and are left out",) if unseen else ()
    return Found(tuple(cases), notes=notes)


ENTRIES = (
    Entry(
        name="fastmri-plus-brain",
        title="fastMRI+ (brain)",
        modality="MR slices, brain",
        licence=None,
        citation="Zhao et al., Scientific Data 9 (2022) 152, arXiv:2109.03812",
        homepage="https://github.com/microsoft/fastmri-plus",
        access="boxes by git clone; images from fastmri.org after its data sharing agreement",
        splits="none for brains; keep files together",
        normal="slices of reviewed files without any finding; slices without a box in a file that has findings "
        "elsewhere are unlabelled",
        layout="brain.csv, brain_file_list.csv, and FILE_000.dcm, FILE_001.dcm, ... made of each fastMRI FILE.h5 by "
        "the publisher's fastmri_to_dicom.py",
        signs=("brain.csv|*/brain.csv", "brain_file_list.csv|*/brain_file_list.csv"),
        reader=_read,
        notes=(
            "Boxes were drawn on the DICOM images of fastmri_to_dicom.py, flipped up-down against the HDF5 files; "
            "HDF5 is not read.",
            "The sequence (AXT1, AXFLAIR, ...) is in extra; the reversed auto-encoder paper uses mid-axial T1 slices.",
        ),
    ),
)
