"""GRAZPEDWRI-DX: paediatric wrist radiographs with boxes."""

from __future__ import annotations

from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.catalog.base import ANY, Entry, Found
from unremarkable.datasets.catalog.files import by_name, table
from unremarkable.errors import UsageError

#: the order of folder_structure/yolov5/meta.yaml
CLASSES = (
    "boneanomaly", "bonelesion", "foreignbody", "fracture", "metal",
    "periostealreaction", "pronatorsign", "softtissue", "text",
)  # fmt: skip
#: columns of dataset.csv that are findings, with or without a box
_FLAGS = {"cast": "cast", "osteopenia": "osteopenia", "fracture_visible": "fracture", "metal": "metal"}
_EXTRA = ("age", "gender", "laterality", "projection")


def _boxes(path: Path, size: tuple[int, int]) -> list[tuple[str, tuple[float, float, float, float]]]:
    """YOLO's `class x y width height`, centre and shares of the image, as pixels from the left upper corner."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                kind, *shares = line.split()
                name, (x, y, width, height) = CLASSES[int(kind)], map(float, shares)
            except (ValueError, IndexError) as error:
                raise UsageError(f"{path}: line {number} is not a class and four shares of the image") from error
            w, h = width * size[0], height * size[1]
            found.append((name, (x * size[0] - w / 2, y * size[1] - h / 2, w, h)))
    return found


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image as Pillow

    with Pillow.open(path) as file:  # reads the header alone
        return file.size


def _read(root: Path) -> Found:
    images, labels = by_name(root, (".png",), stem=True), by_name(root, (".txt",), stem=True)
    cases, missing = [], 0
    for row in table(root / "dataset.csv", ("filestem", "patient_id", "study_number", *_FLAGS)):
        stem = row["filestem"]
        if stem not in images:
            missing += 1
            continue
        drawn = _boxes(labels[stem], _size(images[stem])) if stem in labels else []
        boxes = [(name, box) for name, box in drawn if name != "text"]
        flags = [name for column, name in _FLAGS.items() if row[column] in ("1", "1.0")]
        findings = list(dict.fromkeys([name for name, _ in boxes] + flags))
        cases.append(
            Case(
                str(images[stem]),
                ABNORMAL if findings else NORMAL,
                "|".join(findings) or "normal",
                patient=row["patient_id"],
                study=f"{row['patient_id']}/{row['study_number']}",
                boxes=tuple(box for _, box in boxes),
                extra={name: row[name] for name in _EXTRA if row.get(name)},
            )
        )
    notes = (f"{missing} images of dataset.csv are not there",) if missing else ()
    return Found(tuple(cases), notes=notes)


ENTRIES = (
    Entry(
        name="grazpedwri-dx",
        title="GRAZPEDWRI-DX",
        modality="wrist radiographs of children (16-bit)",
        licence="CC BY 4.0 (from memory)",
        citation="Nagy et al., Scientific Data 9 (2022) 222, doi:10.1038/s41597-022-01328-z",
        homepage="https://doi.org/10.6084/m9.figshare.14825193",
        access="free download",
        splits="none published; keep patients together",
        normal="no box but 'text', and none of cast, osteopenia, fracture_visible, metal in dataset.csv; several "
        "findings are joined by |",
        layout="dataset.csv, images_part1 to 4 with PNG files, folder_structure/yolov5/labels with TXT files",
        signs=("dataset.csv", "yolov5/labels|*/yolov5/labels"),
        reader=_read,
        counts={"published": {(ANY, ANY): 20_327}},
        counted="looked up; of 6,091 patients in 10,643 studies",
    ),
)
