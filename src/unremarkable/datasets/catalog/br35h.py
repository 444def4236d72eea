"""Br35H: 3,000 brain MR slices with and without tumour (Hamada)."""

from __future__ import annotations

from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL
from unremarkable.datasets.catalog.base import Entry, Found
from unremarkable.datasets.catalog.files import by_name, class_folders

_CLASSES = class_folders({"no": (None, NORMAL, "no"), "yes": (None, ABNORMAL, "yes")})


def _read(root: Path) -> Found:
    found = _CLASSES(root)
    unlabelled = len(by_name(root / "pred", (".jpg", ".jpeg", ".png")))
    notes = (f"{unlabelled} images in pred have no label and are left out",) if unlabelled else ()
    return Found(found.cases, found.skipped, notes)


ENTRIES = (
    Entry(
        name="br35h",
        title="Br35H :: Brain Tumor Detection 2020",
        modality="2D MR slices, brain",
        licence=None,
        citation="Hamada, Kaggle 2020",
        homepage="https://www.kaggle.com/datasets/ahmedhamada0/brain-tumor-detection",
        access="Kaggle account",
        splits="none published; the GAN study draws 1,200 normals for training and tests on 300 and all 1,500 tumours",
        normal="folder no",
        layout="folders no, yes and pred",
        signs=("no", "yes", "pred"),
        reader=_read,
        counts={"Kaggle": {("", "no"): 1_500, ("", "yes"): 1_500}},
        counted="GAN study",
        notes=("Many images are flipped or rescaled copies of others: a drawn split leaks.",),
    ),
)
