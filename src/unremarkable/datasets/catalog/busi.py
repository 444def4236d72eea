"""BUSI: breast ultrasound images with lesion masks."""

from __future__ import annotations

from pathlib import Path

from unremarkable.datasets.catalog.base import Entry, Found
from unremarkable.datasets.find import find_dataset


def _read(root: Path) -> Found:
    found = find_dataset(root, normal=["normal"], abnormal=["benign", "malignant"])
    return Found(found.cases, found.skipped, found.notes)


ENTRIES = (
    Entry(
        name="busi",
        title="Breast Ultrasound Images dataset",
        modality="ultrasound, breast",
        licence="CC BY 4.0",
        citation="Al-Dhabyani et al., Data in Brief 28 (2020) 104863",
        homepage="https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        access="free download, or Kaggle aryashah2k/breast-ultrasound-images-dataset with an account",
        splits="none published",
        normal="class normal",
        layout="normal, benign, malignant with NAME.png and NAME_mask.png",
        signs=("normal", "benign", "malignant"),
        reader=_read,
        counts={"published": {("", "normal"): 133, ("", "benign"): 437, ("", "malignant"): 210}},
        counted="counted in a copy",
        notes=("Some images carry callipers and text, and some are near copies of others.",),
    ),
)
