"""PadChest: chest radiographs with 174 findings from reports."""

from __future__ import annotations

import ast
from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.catalog.base import ANY, Entry, Found
from unremarkable.datasets.catalog.files import by_name, one, table, with_images

#: labels that say neither normal nor abnormal
UNASSESSED = frozenset({"", "unchanged", "exclude", "suboptimal study"})
_EXTRA = {"projection": "Projection", "sex": "PatientSex_DICOM", "method": "MethodLabel"}


def listed(cell: str) -> list[str]:
    """The labels of a cell such as `['cardiomegaly', ' normal']`, each once, in their order."""
    try:
        names = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        return []
    return list(dict.fromkeys(str(name).strip() for name in names)) if isinstance(names, list) else []


def label_of(names: list[str]) -> int | None:
    """Normal where "normal" stands alone; unknown where nothing was assessed."""
    if set(names) - UNASSESSED - {"normal"}:
        return ABNORMAL
    return NORMAL if names == ["normal"] else None


def _read(root: Path) -> Found:
    labels = one(root, "PADCHEST_chest_x_ray_images_labels_160K*.csv")
    cases = []
    for row in table(labels, ("ImageID", "StudyID", "PatientID", "Labels")):
        names = listed(row["Labels"])
        extra = {key: row[column] for key, column in _EXTRA.items() if row.get(column)}
        finding = "|".join(filter(None, names)) or None
        cases.append(
            Case(row["ImageID"], label_of(names), finding, None, row["PatientID"], row["StudyID"], extra=extra)
        )
    return with_images(cases, by_name(root, (".png",)), labels)


ENTRIES = (
    Entry(
        name="padchest",
        title="PadChest",
        modality="chest radiographs (16-bit)",
        licence=None,
        citation="Bustos et al., Medical Image Analysis 66 (2020) 101797",
        homepage="https://bimcv.cipf.es/bimcv-projects/padchest/",
        access="free download after accepting the publisher's research use agreement",
        splits="none published; keep patients together",
        normal="label list exactly ['normal']; lists of nothing but 'unchanged', 'exclude' or 'suboptimal study' are "
        "unlabelled; all others are abnormal",
        layout="PADCHEST_chest_x_ray_images_labels_160K_*.csv and the images below",
        signs=("PADCHEST_chest_x_ray_images_labels_160K*.csv",),
        reader=_read,
        counts={"published": {(ANY, ANY): 160_868}},
        counted="looked up",
        notes=("Frontal and lateral images are mixed; extra's projection tells them apart.",),
    ),
)
