"""MURA: musculoskeletal radiographs, labelled by study."""

from __future__ import annotations

import re
from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.catalog.base import Entry, Found
from unremarkable.errors import UsageError

_STUDY = re.compile(r"(?P<part>XR_\w+)/(?P<patient>patient\d+)/(?P<study>study\d+)_(?P<verdict>positive|negative)/")


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


def _read(root: Path) -> Found:
    cases, missing = [], 0
    for file, split in (("train_image_paths.csv", "train"), ("valid_image_paths.csv", "val")):
        for number, line in enumerate(_lines(root / file) if (root / file).exists() else [], start=1):
            match = _STUDY.search(line)
            if match is None:
                raise UsageError(f"{root / file}: row {number}: {line!r} names no study")
            path = root / line.split("/", 1)[1]  # the lists begin with the folder's own name
            if not path.exists():
                missing += 1
                continue
            label = ABNORMAL if match["verdict"] == "positive" else NORMAL
            study = f"{match['part']}/{match['patient']}/{match['study']}"
            extra = {"body part": match["part"].removeprefix("XR_").lower()}
            cases.append(Case(str(path), label, match["verdict"], split, match["patient"], study, extra=extra))
    notes = (f"{missing} listed images are not there",) if missing else ()
    return Found(tuple(cases), notes=notes)


ENTRIES = (
    Entry(
        name="mura",
        title="MURA v1.1",
        modality="radiographs of the upper limb",
        licence=None,
        citation="Rajpurkar et al., MIDL 2018, arXiv:1712.06957",
        homepage="https://stanfordmlgroup.github.io/competitions/mura/",
        access="registration and Stanford's research use agreement",
        splits="train_image_paths.csv (train) and valid_image_paths.csv (val); the test set was never published",
        normal="study labelled negative; the label is the study's, and every image of it bears it",
        layout="train_image_paths.csv, valid_image_paths.csv, train and valid",
        signs=("train_image_paths.csv", "train"),
        reader=_read,
        counts={
            "v1.1": {
                ("train", "negative"): 21_935,
                ("train", "positive"): 14_873,
                ("val", "negative"): 1_667,
                ("val", "positive"): 1_530,
            }
        },
        counted="40,561 images of 14,863 studies with the hidden test set, looked up; by class from memory: with the "
        "556 hidden images they sum to that",
    ),
)
