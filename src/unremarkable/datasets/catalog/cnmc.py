"""C-NMC 2019: single cells of acute lymphoblastic leukaemia and healthy ones."""

from __future__ import annotations

import re
from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.catalog.base import Entry, Found
from unremarkable.datasets.catalog.files import by_name, table, with_images

_LABELS = {"hem": NORMAL, "all": ABNORMAL}
_KEY = "C-NMC_test_prelim_phase_data_labels.csv"


def _patient(name: str) -> str | None:
    """The subject in `UID_H12_8_1_hem.bmp`: cells of one subject lie in one fold."""
    match = re.match(r"UID_(H?\d+)_", name)
    return match[1] if match else None


def _read(root: Path) -> Found:
    cases = []
    for folder in sorted(root.glob("**/fold_[0-9]")):
        for finding, label in _LABELS.items():
            for name, path in by_name(folder / finding, (".bmp",)).items():
                cases.append(Case(str(path), label, finding, "train", _patient(name), extra={"fold": folder.name}))
    notes: tuple[str, ...] = ()
    for key in sorted(root.glob(f"**/{_KEY}"))[:1]:
        tested = [
            Case(row["new_names"], int(row["labels"]), "all" if row["labels"] == "1" else "hem", "test", patient)
            for row in table(key, ("Patient_ID", "new_names", "labels"))
            if (patient := _patient(row["Patient_ID"])) is not None and row["labels"] in ("0", "1")
        ]
        found = with_images(tested, by_name(key.parent / "C-NMC_test_prelim_phase_data", (".bmp",)), key)
        cases, notes = [*cases, *found.cases], found.notes
    return Found(tuple(cases), notes=notes)


ENTRIES = (
    Entry(
        name="cnmc-leukemia",
        title="C-NMC 2019: ALL challenge dataset of ISBI 2019",
        modality="light microscopy, single cells",
        licence="CC BY 3.0 (from memory)",
        citation="Gupta and Gupta, The Cancer Imaging Archive 2019, doi:10.7937/tcia.2019.dc64i46r",
        homepage="https://www.cancerimagingarchive.net/collection/c-nmc-2019/",
        access="free download from TCIA, or Kaggle andrewmvd/leukemia-classification with an account",
        splits="fold_0 to fold_2 train; the preliminary test set with its labels test, as in the GAN study; the final "
        "test set has no labels and is left out",
        normal="class hem; all (leukaemia) is abnormal",
        layout="fold_0, fold_1, fold_2 with all and hem in each, and " + _KEY + " beside its images",
        signs=("fold_0/all|*/fold_0/all", "fold_0/hem|*/fold_0/hem"),
        reader=_read,
        counts={
            "challenge": {
                ("train", "hem"): 3_389,
                ("train", "all"): 7_272,
                ("test", "hem"): 648,
                ("test", "all"): 1_219,
            }
        },
        counted="3,389, 648 and 1,219 as in the GAN study; 7,272 looked up",
    ),
)
