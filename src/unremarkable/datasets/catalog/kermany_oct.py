"""Retinal OCT of Kermany et al. 2018, four classes."""

from __future__ import annotations

import re
from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL
from unremarkable.datasets.catalog.base import Entry
from unremarkable.datasets.catalog.files import class_folders

_CLASSES = {"NORMAL": NORMAL, "CNV": ABNORMAL, "DME": ABNORMAL, "DRUSEN": ABNORMAL}
_TRAIN = {("train", "CNV"): 37_205, ("train", "DME"): 11_348, ("train", "DRUSEN"): 8_616}


def _patient(path: Path) -> str | None:
    """The randomised patient number of `CNV-1016042-1.jpeg`."""
    match = re.match(r"[A-Z]+-(\d+)-\d+$", path.stem)
    return match[1] if match else None


def _each(split: str, cases: int) -> dict[tuple[str, str], int]:
    return {(split, name): cases for name in _CLASSES}


ENTRIES = (
    Entry(
        name="kermany-oct",
        title="Retinal OCT images (OCT2017)",
        modality="optical coherence tomography, retina",
        licence="CC BY 4.0",
        citation="Kermany et al., Cell 172 (2018) 1122-1131; doi:10.17632/rscbjbr9sj",
        homepage="https://data.mendeley.com/datasets/rscbjbr9sj",
        access="free download from Mendeley Data, or Kaggle paultimothymooney/kermany2018 with an account",
        splits="folders train, test and, in Kaggle's copy, val",
        normal="class NORMAL; CNV, DME and DRUSEN are abnormal",
        layout="train and test with NORMAL, CNV, DME, DRUSEN in each",
        signs=("train/NORMAL", "train/CNV", "train/DME", "train/DRUSEN"),
        reader=class_folders(
            {
                f"{split}/{name}": (split, label, name)
                for split in ("train", "val", "test")
                for name, label in _CLASSES.items()
            },
            _patient,
        ),
        counts={
            "Mendeley, version 2": {("train", "NORMAL"): 26_315, **_TRAIN, **_each("test", 250)},
            "Kaggle": {("train", "NORMAL"): 26_315, **_TRAIN, **_each("val", 8), **_each("test", 242)},
            "Mendeley, version 3": {("train", "NORMAL"): 51_140, **_TRAIN, **_each("test", 250)},
        },
        counted="26,315 training normals with 250 or 242 test images a class as in the Hetero-AE paper and the GAN "
        "study; the other training classes and the normals of version 3 from memory: their sum agrees with OCTMNIST's "
        "108,309",
        notes=("A file's name holds the patient: data check tells whether patients span the splits.",),
    ),
)
