"""Brain tumour MRI in four classes, as collected by Nickparvar."""

from __future__ import annotations

from unremarkable.datasets.case import ABNORMAL, NORMAL
from unremarkable.datasets.catalog.base import Entry
from unremarkable.datasets.catalog.files import class_folders

_CLASSES = {"notumor": NORMAL, "glioma": ABNORMAL, "meningioma": ABNORMAL, "pituitary": ABNORMAL}

ENTRIES = (
    Entry(
        name="brain-tumor-mri",
        title="Brain Tumor MRI Dataset",
        modality="2D MR slices, brain",
        licence="CC0 1.0",
        citation="Nickparvar, Kaggle 2021, doi:10.34740/kaggle/dsv/2645886; tumours of Cheng, "
        "doi:10.6084/m9.figshare.1512427",
        homepage="https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset",
        access="Kaggle account",
        splits="folders Training and Testing",
        normal="class notumor",
        layout="Training and Testing with notumor, glioma, meningioma, pituitary in each",
        signs=("Training/notumor", "Training/pituitary", "Testing/notumor"),
        reader=class_folders(
            {
                f"{folder}/{name}": (split, label, name)
                for folder, split in (("Training", "train"), ("Testing", "test"))
                for name, label in _CLASSES.items()
            }
        ),
        counts={
            "7,023 images": {
                ("train", "notumor"): 1_595,
                ("train", "glioma"): 1_321,
                ("train", "meningioma"): 1_339,
                ("train", "pituitary"): 1_457,
                ("test", "notumor"): 405,
                ("test", "glioma"): 300,
                ("test", "meningioma"): 306,
                ("test", "pituitary"): 300,
            }
        },
        counted="counted in a copy; the Hetero-AE paper says 7,022 images",
        notes=(
            "300 groups of files are byte-identical, and 189 of them span Training and Testing.",
            "The normal class comes from another source than the tumours: colour mode and file size alone go far in "
            "separating them.",
        ),
    ),
)
