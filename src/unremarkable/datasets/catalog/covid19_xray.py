"""COVID-19 chest radiographs in three classes, as used by the Hetero-AE paper."""

from __future__ import annotations

from unremarkable.datasets.case import ABNORMAL, NORMAL
from unremarkable.datasets.catalog.base import Entry
from unremarkable.datasets.catalog.files import class_folders

_CLASSES = {"Normal": NORMAL, "Covid": ABNORMAL, "Viral Pneumonia": ABNORMAL}

ENTRIES = (
    Entry(
        name="covid19-xray",
        title="Covid-19 Image Dataset",
        modality="chest radiographs",
        licence="CC BY-SA 4.0",
        citation="Raikote, Kaggle 2020; images of Cohen et al., arXiv:2006.11988, and others",
        homepage="https://www.kaggle.com/datasets/pranavraikokte/covid19-image-dataset",
        access="Kaggle account",
        splits="folders train and test",
        normal="class Normal",
        layout="train and test with Normal, Covid, Viral Pneumonia in each",
        signs=("train/Normal", "train/Covid", "test/Covid"),
        reader=class_folders(
            {f"{split}/{name}": (split, label, name) for split in ("train", "test") for name, label in _CLASSES.items()}
        ),
        counts={
            "Kaggle": {
                ("train", "Normal"): 70,
                ("train", "Covid"): 111,
                ("train", "Viral Pneumonia"): 70,
                ("test", "Normal"): 20,
                ("test", "Covid"): 26,
                ("test", "Viral Pneumonia"): 20,
            }
        },
        counted="251 and 66 images as in the Hetero-AE paper; classes counted in a copy",
    ),
)
