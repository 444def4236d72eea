"""NIH ChestX-ray14."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.catalog.base import ANY, Entry, Found
from unremarkable.datasets.catalog.files import by_name, one, table, with_images
from unremarkable.errors import UsageError

_BOX = ("Bbox [x", "y", "w", "h]")


def _boxes(path: Path) -> dict[str, list[tuple[float, float, float, float]]]:
    found: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    for number, row in enumerate(table(path, ("Image Index", *_BOX)), start=1):
        try:
            x, y, w, h = (float(row[name]) for name in _BOX)
        except ValueError as error:
            raise UsageError(f"{path}: row {number}: the box is not four numbers") from error
        found[row["Image Index"]].append((x, y, w, h))
    return found


def _split(root: Path) -> dict[str, str]:
    names = {}
    for file, split in (("train_val_list.txt", "train"), ("test_list.txt", "test")):
        if (path := root / file).exists():
            names.update(dict.fromkeys(path.read_text().split(), split))
    return names


def _read(root: Path) -> Found:
    entries = one(root, "Data_Entry_2017*.csv")
    splits, boxes = _split(root), {}
    for path in root.glob("BBox_List_2017*.csv"):
        boxes = _boxes(path)
    cases = []
    for row in table(entries, ("Image Index", "Finding Labels", "Patient ID")):
        name, finding = row["Image Index"], row["Finding Labels"]
        normal = finding == "No Finding"
        extra = {
            key: row[column]
            for key, column in (("sex", "Patient Gender"), ("age", "Patient Age"), ("view", "View Position"))
            if row.get(column)
        }
        cases.append(
            Case(
                name,
                NORMAL if normal else ABNORMAL,
                finding,
                splits.get(name),
                row["Patient ID"],
                boxes=() if normal else tuple(boxes.get(name, ())),
                extra=extra,
            )
        )
    found = with_images(cases, by_name(root, (".png",)), entries)
    lost = () if splits else ("no train_val_list.txt and test_list.txt: the cases have no published split",)
    return Found(found.cases, notes=(*found.notes, *lost))


ENTRIES = (
    Entry(
        name="nih-chestxray14",
        title="NIH Chest X-ray dataset (ChestX-ray14)",
        modality="chest radiographs",
        licence=None,
        citation="Wang et al., CVPR 2017, arXiv:1705.02315",
        homepage="https://nihcc.app.box.com/v/ChestXray-NIHCC",
        access="free download; also Kaggle nih-chest-xrays/data with an account",
        splits="train_val_list.txt (train) and test_list.txt (test), by patient",
        normal="'No Finding' (mined from reports); any of the 14 findings is abnormal, several joined by |",
        layout="Data_Entry_2017*.csv, train_val_list.txt, test_list.txt, BBox_List_2017.csv, images below",
        signs=("Data_Entry_2017*.csv",),
        reader=_read,
        counts={
            "published": {("train", ANY): 86_524, ("test", ANY): 25_596, (ANY, "normal"): 60_361},
        },
        counted="112,120 images as published; the split and the 60,361 of No Finding from memory, not looked up",
        notes=("Boxes are in pixels of the original 1024 x 1024 images; few abnormal images have one.",),
    ),
)
