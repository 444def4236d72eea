"""BMAD: six medical sets in one layout."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from unremarkable.datasets.catalog.base import Entry, Found
from unremarkable.datasets.find import find_dataset

_BRAIN = re.compile(r"(\d{5})_\d+\.png")  # BraTS 2021 case and slice


def _read(root: Path) -> Found:
    found = find_dataset(root, normal=["good"], abnormal=["Ungood"])
    cases = (replace(c, patient=match[1]) if (match := _BRAIN.search(c.path)) else c for c in found.cases)
    return Found(tuple(cases), found.skipped, found.notes)


def _counts(train: int, valid: tuple[int, int], test: tuple[int, int]) -> dict[tuple[str, str], int]:
    return {
        ("train", "normal"): train,
        ("val", "normal"): valid[0],
        ("val", "abnormal"): valid[1],
        ("test", "normal"): test[0],
        ("test", "abnormal"): test[1],
    }


ENTRIES = (
    Entry(
        name="bmad",
        title="BMAD (any of its six sets)",
        modality="brain MRI, liver CT, retinal OCT (two), chest radiographs, histopathology",
        licence=None,
        citation="Bao et al., CVPR workshops 2024, arXiv:2306.11876",
        homepage="https://github.com/DorisBao/BMAD",
        access="free download; each set keeps the terms of the set it was made of",
        splits="folders train, valid, test",
        normal="folder good",
        layout="train/good, valid/good, valid/Ungood, test/good, test/Ungood, with img and label below where there are "
        "masks",
        signs=("train/good", "test/good", "test/Ungood"),
        reader=_read,
        counts={
            "Brain": _counts(7_500, (39, 44), (640, 3_075)),
            "liver": _counts(1_542, (93, 73), (833, 660)),
            "RESC": _counts(4_297, (45, 70), (1_041, 764)),
            "OCT2017": _counts(26_315, (8, 24), (242, 726)),
            "RSNA": _counts(8_000, (70, 1_420), (781, 16_413)),
            "camelyon16": _counts(5_088, (100, 100), (1_120, 1_117)),
        },
        counted="from memory",
        notes=("In Brain, the file name begins with the BraTS 2021 case, which is taken for the patient.",),
    ),
)
