"""VinDr-CXR: chest radiographs with radiologists' boxes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.catalog.base import ANY, Entry, Found
from unremarkable.datasets.catalog.files import by_name, table
from unremarkable.errors import UsageError

_NONE = "No finding"
_CORNERS = ("x_min", "y_min", "x_max", "y_max")
#: split, boxes, labels of the whole image: PhysioNet's tables, and Kaggle's single one
_TABLES = (
    ("train", "annotations/annotations_train.csv", "annotations/image_labels_train.csv"),
    ("test", "annotations/annotations_test.csv", "annotations/image_labels_test.csv"),
    ("train", "train.csv", None),
)


def _split(root: Path, split: str, boxes: Path, whole: Path | None) -> list[Case]:
    findings: dict[str, set[str]] = defaultdict(set)
    drawn: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    for number, row in enumerate(table(boxes, ("image_id", "class_name", *_CORNERS)), start=1):
        findings[row["image_id"]] |= {row["class_name"]} - {_NONE}
        if row["x_min"] and row["class_name"] != _NONE:
            try:
                left, top, right, bottom = (float(row[name]) for name in _CORNERS)
            except ValueError as error:
                raise UsageError(f"{boxes}: row {number}: the box is not four numbers") from error
            drawn[row["image_id"]].append((left, top, right - left, bottom - top))
    if whole is not None and whole.exists():
        for row in table(whole, ("image_id", _NONE)):
            named = {name for name, cell in row.items() if cell in ("1", "1.0") and name not in (_NONE, "rad_id")}
            findings[row["image_id"]] |= named
    return [
        Case(name, ABNORMAL if found else NORMAL, "|".join(sorted(found)) or _NONE, split, boxes=tuple(drawn[name]))
        for name, found in findings.items()
    ]


def _read(root: Path) -> Found:
    cases: list[Case] = []
    missing = 0
    for split, boxes, whole in _TABLES:
        if (root / boxes).exists():
            files = by_name(root / split, (".dicom", ".dcm"), stem=True)
            for case in _split(root, split, root / boxes, root / whole if whole else None):
                if case.path in files:
                    cases.append(replace(case, path=str(files[case.path])))
                else:
                    missing += 1
    notes = (f"{missing} annotated images are not there",) if missing else ()
    return Found(tuple(cases), notes=notes)


ENTRIES = (
    Entry(
        name="vindr-cxr",
        title="VinDr-CXR",
        modality="chest radiographs (DICOM)",
        licence="PhysioNet Credentialed Health Data License 1.5.0 (from memory)",
        citation="Nguyen et al., Scientific Data 9 (2022) 429, doi:10.1038/s41597-022-01498-w",
        homepage="https://physionet.org/content/vindr-cxr/1.0.0/",
        access="PhysioNet account with training and data use agreement; Kaggle's competition has the training part",
        splits="folders train and test",
        normal="'No finding': none of the radiologists (three in train, their consensus in test) names a finding",
        layout="train and test with IMAGE.dicom, annotations with annotations_*.csv and image_labels_*.csv; or "
        "Kaggle's train.csv and train",
        signs=("train", "annotations/annotations_train.csv|train.csv"),
        reader=_read,
        counts={"PhysioNet": {("train", ANY): 15_000, ("test", ANY): 3_000, ("train", "normal"): 10_606}},
        counted="15,000 and 3,000 looked up; 10,606 from memory",
        notes=(
            "All radiologists' boxes are kept, also where several mark one lesion.",
            "Patients are not identified.",
        ),
    ),
)
