"""253 brain MR slices with and without tumour (Chakrabarty)."""

from __future__ import annotations

from unremarkable.datasets.case import ABNORMAL, NORMAL
from unremarkable.datasets.catalog.base import Entry
from unremarkable.datasets.catalog.files import class_folders

ENTRIES = (
    Entry(
        name="brain-mri-253",
        title="Brain MRI Images for Brain Tumor Detection",
        modality="2D MR slices, brain",
        licence=None,
        citation="Chakrabarty, Kaggle 2019",
        homepage="https://www.kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection",
        access="Kaggle account",
        splits="none published; the GAN study draws 80 normals for training and tests on 18 and all 155 tumours",
        normal="folder no",
        layout="folders no and yes",
        signs=("no", "yes"),
        reader=class_folders({"no": (None, NORMAL, "no"), "yes": (None, ABNORMAL, "yes")}),
        counts={"Kaggle": {("", "no"): 98, ("", "yes"): 155}},
        counted="GAN study",
        notes=("Kaggle's download holds everything twice; brain_tumor_dataset, the copy, is not looked at.",),
    ),
)
