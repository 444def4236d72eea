"""Head CT slices with and without haemorrhage (Kitamura)."""

from __future__ import annotations

from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.catalog.base import Entry, Found
from unremarkable.datasets.catalog.files import by_name, table, with_images
from unremarkable.errors import UsageError


def _read(root: Path) -> Found:
    labels = root / "labels.csv"
    cases = []
    for number, row in enumerate(table(labels, ("id", "hemorrhage")), start=1):
        if row["hemorrhage"] not in ("0", "1") or not row["id"].isdecimal():
            raise UsageError(f"{labels}: row {number}: expected a number and 0 or 1, not {list(row.values())}")
        bleeding = row["hemorrhage"] == "1"
        name, finding = f"{int(row['id']):03d}.png", "hemorrhage" if bleeding else "normal"
        cases.append(Case(name, ABNORMAL if bleeding else NORMAL, finding, patient=row["id"]))
    return with_images(cases, by_name(root / "head_ct", (".png",)), labels)


ENTRIES = (
    Entry(
        name="head-ct",
        title="Head CT - hemorrhage",
        modality="2D CT slices, head",
        licence=None,
        citation="Kitamura, Kaggle 2018",
        homepage="https://www.kaggle.com/datasets/felipekitamura/head-ct-hemorrhage",
        access="Kaggle account",
        splits="none published; the GAN study draws 80 normals for training and tests on 20 and all 100 haemorrhages",
        normal="hemorrhage 0 in labels.csv",
        layout="labels.csv and head_ct with 000.png to 199.png",
        signs=("labels.csv", "head_ct"),
        reader=_read,
        counts={"Kaggle": {("", "normal"): 100, ("", "hemorrhage"): 100}},
        counted="GAN study",
        notes=("Each slice is of another patient.",),
    ),
)
