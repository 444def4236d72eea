"""RSNA Pneumonia Detection Challenge."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.catalog.base import Entry, Found
from unremarkable.datasets.catalog.files import by_name, table, with_images
from unremarkable.errors import UsageError

_BOX = ("x", "y", "width", "height")


def _read(root: Path) -> Found:
    labels = root / "stage_2_train_labels.csv"
    boxes: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    for number, row in enumerate(table(labels, ("patientId", *_BOX)), start=1):
        if row["x"]:
            try:
                x, y, width, height = (float(row[name]) for name in _BOX)
            except ValueError as error:
                raise UsageError(f"{labels}: row {number}: the box is not four numbers") from error
            boxes[row["patientId"]].append((x, y, width, height))
    classes = {
        row["patientId"]: row["class"]
        for row in table(root / "stage_2_detailed_class_info.csv", ("patientId", "class"))
    }
    cases = [
        Case(name, NORMAL if finding == "Normal" else ABNORMAL, finding, patient=name, boxes=tuple(boxes.get(name, ())))
        for name, finding in classes.items()
    ]
    return with_images(cases, by_name(root / "stage_2_train_images", (".dcm",), stem=True), labels)


ENTRIES = (
    Entry(
        name="rsna-pneumonia",
        title="RSNA Pneumonia Detection Challenge, stage 2",
        modality="chest radiographs (DICOM)",
        licence=None,
        citation="Shih et al., Radiology: Artificial Intelligence 1 (2019) e180041",
        homepage="https://www.kaggle.com/c/rsna-pneumonia-detection-challenge",
        access="Kaggle account and the competition's rules",
        splits="none published for the labelled images; the stage 2 test images have no labels and are left out",
        normal="class 'Normal'; 'Lung Opacity' (with boxes) and 'No Lung Opacity / Not Normal' are abnormal",
        layout="stage_2_train_labels.csv, stage_2_detailed_class_info.csv, stage_2_train_images",
        signs=("stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"),
        reader=_read,
        counts={
            "stage 2": {
                ("", "Normal"): 8_851,
                ("", "Lung Opacity"): 6_012,
                ("", "No Lung Opacity / Not Normal"): 11_821,
            }
        },
        counted="from memory; they sum to the published 26,684 images",
        notes=(
            "patientId names an image: images of one patient, taken over from ChestX-ray14, cannot be told here.",
            "The reversed auto-encoder paper compares Normal with Lung Opacity alone.",
        ),
    ),
)
