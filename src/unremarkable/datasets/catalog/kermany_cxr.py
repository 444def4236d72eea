"""Paediatric chest radiographs of Kermany et al. 2018: pneumonia or normal."""

from __future__ import annotations

import re
from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL
from unremarkable.datasets.catalog.base import Entry
from unremarkable.datasets.catalog.files import class_folders

_CLASSES = {"NORMAL": NORMAL, "PNEUMONIA": ABNORMAL}
_TEST = {("test", "NORMAL"): 234, ("test", "PNEUMONIA"): 390}


def _patient(path: Path) -> str | None:
    """The person of `person12_bacteria_46.jpeg`, the examination of `IM-0115-0001.jpeg`, within its split and class."""
    match = re.match(r"(person\d+|(?:NORMAL2-)?IM-\d+)[_-]", path.stem)
    return f"{path.parts[-3]}/{match[1]}" if match else None


ENTRIES = (
    Entry(
        name="kermany-chest-xray",
        title="Chest X-ray images (pneumonia)",
        modality="chest radiographs of children",
        licence="CC BY 4.0",
        citation="Kermany et al., Cell 172 (2018) 1122-1131; doi:10.17632/rscbjbr9sj",
        homepage="https://data.mendeley.com/datasets/rscbjbr9sj",
        access="free download from Mendeley Data, or Kaggle paultimothymooney/chest-xray-pneumonia with an account",
        splits="folders train, test and, in Kaggle's copy, val",
        normal="class NORMAL",
        layout="train and test with NORMAL and PNEUMONIA in each",
        signs=("train/NORMAL", "train/PNEUMONIA", "test/PNEUMONIA"),
        reader=class_folders(
            {
                f"{split}/{name}": (split, label, name)
                for split in ("train", "val", "test")
                for name, label in _CLASSES.items()
            },
            _patient,
        ),
        counts={
            "Kaggle": {
                ("train", "NORMAL"): 1_341,
                ("train", "PNEUMONIA"): 3_875,
                ("val", "NORMAL"): 8,
                ("val", "PNEUMONIA"): 8,
                **_TEST,
            },
            "Mendeley": {("train", "NORMAL"): 1_349, ("train", "PNEUMONIA"): 3_883, **_TEST},
        },
        counted="5,856 images, of them 5,232 for training and 234 + 390 for testing, as in the Hetero-AE paper; 1,349 "
        "and 3,883 from memory, their sum agrees",
        notes=(
            "Kaggle's copy has moved 8 training images of each class to val.",
            "Patients are told by file name within a split; whether person12 of train is person12 of test is not said.",
        ),
    ),
)
