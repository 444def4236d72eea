"""Mini-MIAS mammograms, whole and as patches cut at the published coordinates."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.catalog.base import Entry, Found
from unremarkable.datasets.catalog.files import by_name, one
from unremarkable.datasets.load import load_case
from unremarkable.datasets.parallel import map_in_order
from unremarkable.datasets.parts import window_of
from unremarkable.errors import UsageError

SIDE = 1024  # every image is 1024 x 1024
PATCH = 120  # GAN study
_LINE = re.compile(
    r"(?P<name>mdb\d{3})\s+(?P<tissue>[FGD])\s+(?P<kind>CALC|CIRC|SPIC|MISC|ARCH|ASYM|NORM)"
    r"(?:\s+(?P<severity>[BM]))?(?:\s+(?P<x>\d+)\s+(?P<y>\d+)\s+(?P<radius>\d+))?"
)
_SEVERITY = {"B": "benign", "M": "malignant"}
_TISSUE = {"F": "fatty", "G": "fatty-glandular", "D": "dense-glandular"}


@dataclass(frozen=True)
class Mark:
    """One line of Info.txt; `centre` is (x, row) with rows counted from the top, None where none is published."""

    tissue: str
    kind: str
    severity: str | None
    centre: tuple[int, int] | None
    radius: int


def read_info(path: Path) -> dict[str, list[Mark]]:
    """The marks of each image. Info.txt counts y from the bottom edge: row = 1024 - y."""
    marks: dict[str, list[Mark]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := _LINE.match(line.strip()):
            centre = (int(match["x"]), SIDE - int(match["y"])) if match["x"] else None
            severity = _SEVERITY.get(match["severity"] or "")
            mark = Mark(_TISSUE[match["tissue"]], match["kind"], severity, centre, int(match["radius"] or 0))
            marks[match["name"]].append(mark)
    if not marks:
        raise UsageError(f"{path}: no line is of the form 'mdb001 G CIRC B 535 425 197'")
    return marks


def _cases(root: Path) -> tuple[list[tuple[Case, list[Mark]]], tuple[str, ...]]:
    """A case for each image with its marks; left and right breast, mdb002 and mdb001, are of one patient."""
    files = by_name(root, (".pgm",), stem=True)
    cases, missing = [], 0
    for name, marks in read_info(one(root, "Info.txt", "*/Info.txt")).items():
        if name not in files:
            missing += 1
            continue
        kinds = "|".join(dict.fromkeys(mark.kind for mark in marks))
        extra = {"tissue": marks[0].tissue}
        if severities := [mark.severity for mark in marks if mark.severity]:
            extra["severity"] = "malignant" if "malignant" in severities else "benign"
        label = NORMAL if kinds == "NORM" else ABNORMAL
        patient = str((int(name[3:]) + 1) // 2)
        cases.append((Case(str(files[name]), label, kinds, patient=patient, extra=extra), marks))
    return cases, (f"{missing} images of Info.txt are not there",) if missing else ()


def _box(centre: tuple[int, int], radius: int) -> tuple[float, float, float, float]:
    """The square around a circle, as far as it lies in the image."""
    x, y = (max(0, middle - radius) for middle in centre)
    right, bottom = (min(SIDE, middle + radius) for middle in centre)
    return float(x), float(y), float(right - x), float(bottom - y)


def _read_whole(root: Path) -> Found:
    cases, notes = _cases(root)
    boxed = [
        replace(case, boxes=tuple(_box(mark.centre, mark.radius) for mark in marks if mark.centre and mark.radius))
        for case, marks in cases
    ]
    return Found(tuple(boxed), notes=notes)


def breast_centre(pixels: NDArray[np.integer]) -> tuple[int, int]:
    """The centre of mass, (x, row), of the largest connected region brighter than Otsu's threshold."""
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    numbered, regions = ndimage.label(pixels > threshold_otsu(pixels)) if np.ptp(pixels) else (np.ones_like(pixels), 1)
    largest = int(np.bincount(numbered.ravel())[1:].argmax()) + 1 if regions else 0
    row, column = ndimage.center_of_mass(numbered == largest)
    return round(column), round(row)


def _corner(middle: int) -> int:
    return min(max(middle - PATCH // 2, 0), SIDE - PATCH)


def _read_patches(root: Path) -> Found:
    cases, notes = _cases(root)
    normals = [case for case, _ in cases if case.label == NORMAL]
    centres = dict(
        zip(
            (case.path for case in normals),
            map_in_order(lambda case: breast_centre(load_case(case).pixels), normals),
            strict=True,
        )
    )
    patches, unmarked = [], 0
    for case, marks in cases:
        if case.label == NORMAL:
            spots = [(case.finding, centres[case.path])]
        else:
            spots = [(mark.kind, mark.centre) for mark in marks if mark.centre]
            unmarked += not spots
        for finding, (x, row) in spots:
            path = window_of(case.path, _corner(x), _corner(row), PATCH, PATCH)
            patches.append(replace(case, path=path, finding=finding))
    left = (f"{unmarked} abnormal images have no published coordinates and give no patch",) if unmarked else ()
    return Found(tuple(patches), notes=(*notes, *left))


_WHOLE = Entry(
    name="mias",
    title="mini-MIAS mammograms",
    modality="mammograms",
    licence="CC BY 2.0 UK (from memory)",
    citation="Suckling et al., Mammographic Image Analysis Society database v1.21, Cambridge 2015",
    homepage="https://www.repository.cam.ac.uk/handle/1810/250394",
    access="free download (the 1024-pixel mini-MIAS: http://peipa.essex.ac.uk/info/mias.html)",
    splits="none published; the GAN study draws 167 normals for training and tests on 40 and all abnormal ones",
    normal="class NORM; benign and malignant are abnormal",
    layout="Info.txt and mdb001.pgm to mdb322.pgm",
    signs=("Info.txt|*/Info.txt", "mdb001.pgm|*/mdb001.pgm"),
    reader=_read_whole,
    counts={"published": {("", "normal"): 207, ("", "abnormal"): 115}},
    counted="GAN study",
    notes=(
        "A box is the square around the published circle; Info.txt counts y from the bottom, which is undone.",
        "Odd numbers are right breasts, the next even number is the left one of the same patient.",
    ),
)
_PATCHES = replace(
    _WHOLE,
    name="mias-patches",
    title="mini-MIAS, patches of 120 x 120 pixels",
    splits="none published; the GAN study draws 167 normal patches for training",
    normal="patches of NORM images",
    reader=_read_patches,
    counts={"GAN study": {("", "normal"): 207, ("", "abnormal"): 117}},
    notes=(
        "An abnormal patch is centred on each published centre, moved inwards at the image's edge.",
        "Nothing says where the GAN study cut its normal patches; here they are centred on the breast: the centre of "
        "mass of the largest region above Otsu's threshold.",
    ),
    costly=True,
)
ENTRIES = (_WHOLE, _PATCHES)
