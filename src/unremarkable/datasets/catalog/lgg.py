"""LGG: brain MR slices of lower-grade gliomas with masks (Buda)."""

from __future__ import annotations

import re
from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.catalog.base import Entry, Found
from unremarkable.datasets.parallel import map_in_order
from unremarkable.errors import InputError
from unremarkable.imaging.read import read_image

_PATIENT = re.compile(r"TCGA_\w{2}_\w{4}")


def _marked(mask: Path) -> bool | InputError:
    try:
        return bool(read_image(mask).pixels.any())
    except InputError as error:
        return error


def _read(root: Path) -> Found:
    masks = sorted(root.glob("TCGA_*/*_mask.tif"))
    cases, skipped = [], []
    for mask, tumour in zip(masks, map_in_order(_marked, masks), strict=True):
        image = mask.with_name(mask.name.removesuffix("_mask.tif") + ".tif")
        match = _PATIENT.match(mask.name)
        if isinstance(tumour, InputError):
            skipped.append((str(mask), tumour.reason))
        elif not image.exists() or match is None:
            skipped.append((str(mask), "no image has its name"))
        else:
            label, finding = (ABNORMAL, "glioma") if tumour else (NORMAL, "no tumour")
            cases.append(Case(str(image), label, finding, patient=match[0], masks=(str(mask),) if tumour else ()))
    return Found(tuple(cases), tuple(skipped))


ENTRIES = (
    Entry(
        name="lgg",
        title="LGG segmentation dataset",
        modality="MR slices, brain; pre-contrast, FLAIR and post-contrast as three channels",
        licence="CC BY-NC-SA 4.0 (from memory)",
        citation="Buda et al., Computers in Biology and Medicine 109 (2019) 218-225",
        homepage="https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation",
        access="Kaggle account",
        splits="none published; keep patients together",
        normal="slice whose mask is empty; such a slice is of a patient with a tumour all the same",
        layout="kaggle_3m with a folder TCGA_* a patient, NAME.tif and NAME_mask.tif",
        signs=("TCGA_*/*_mask.tif",),
        reader=_read,
        counts={"Kaggle": {("", "no tumour"): 2_556, ("", "glioma"): 1_373}},
        counted="from memory; of 110 patients",
        costly=True,
    ),
)
