"""BraTS: MR volumes of gliomas with masks; whole, and as slices with and without tumour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.catalog.base import Entry, Found
from unremarkable.datasets.parallel import map_in_order
from unremarkable.datasets.parts import slice_of
from unremarkable.errors import InputError
from unremarkable.imaging.read import read_image

#: the slices in which BMAD finds the brain large enough
SLICES = range(60, 101)
_FLAIR = ("_flair.nii.gz", "_flair.nii", "-t2f.nii.gz")
_MASK = ("_seg.nii.gz", "_seg.nii", "-seg.nii.gz")


def _named(folder: Path, endings: tuple[str, ...]) -> Path | None:
    return next((path for path in sorted(folder.iterdir()) if path.name.endswith(endings)), None)


def _volumes(root: Path) -> tuple[list[Case], list[tuple[str, str]]]:
    cases: list[Case] = []
    skipped: list[tuple[str, str]] = []
    for folder in sorted(path for path in root.glob("**/BraTS*") if path.is_dir()):
        image, mask = _named(folder, _FLAIR), _named(folder, _MASK)
        if image and mask:
            case = Case(str(image), ABNORMAL, "glioma", patient=folder.name, masks=(str(mask),))
            cases.append(case)
        elif image:
            skipped.append((str(folder), "has no segmentation"))
    return cases, skipped


def _read_volumes(root: Path) -> Found:
    cases, skipped = _volumes(root)
    return Found(tuple(cases), tuple(skipped))


def _tumour(case: Case) -> list[bool] | InputError:
    """For each slice, whether the mask marks anything in it."""
    try:
        mask = read_image(case.masks[0])
    except InputError as error:
        return error
    if mask.axes != "DHW":
        return InputError(mask.source, f"is no volume: axes {mask.axes}")
    return [bool(layer.any()) for layer in mask.pixels]


def _read_slices(root: Path) -> Found:
    volumes, skipped = _volumes(root)
    cases = []
    for volume, marked in zip(volumes, map_in_order(_tumour, volumes), strict=True):
        if isinstance(marked, InputError):
            skipped.append((marked.source, marked.reason))
            continue
        for index in SLICES:
            if index < len(marked):
                tumour = marked[index]
                masks = (slice_of(volume.masks[0], index),) if tumour else ()
                label, finding = (ABNORMAL, "tumour") if tumour else (NORMAL, "no tumour")
                path = slice_of(volume.path, index)
                cases.append(Case(path, label, finding, None, volume.patient, masks=masks, extra={"slice": index}))
    return Found(tuple(cases), tuple(skipped))


_VOLUMES = Entry(
    name="brats",
    title="BraTS (FLAIR volumes)",
    modality="FLAIR MR volumes, brain",
    licence=None,
    citation="Menze et al., IEEE TMI 34 (2015) 1993-2024; Baid et al., arXiv:2107.02314 (2021)",
    homepage="https://www.synapse.org/brats",
    access="Synapse account and the challenge's terms",
    splits="none: the labelled training cases; those without segmentation are left out",
    normal="none: every volume has a tumour; fit on another set, such as ixi",
    layout="a folder BraTS* a patient with its FLAIR volume (*_flair.nii.gz, *-t2f.nii.gz) and *seg.nii.gz",
    signs=("BraTS*/*seg.nii*",),
    reader=_read_volumes,
    counts={"2020": {("", "glioma"): 369}, "2021": {("", "glioma"): 1_251}},
    counted="from memory",
    notes=("Any positive value of the mask counts: the whole tumour.",),
)
_SLICES = replace(
    _VOLUMES,
    name="brats-slices",
    title="BraTS (FLAIR slices with and without tumour)",
    modality="FLAIR MR slices, brain",
    splits="none published; keep patients together",
    normal="slice in which the mask marks nothing; such a slice is of a patient with a tumour all the same",
    reader=_read_slices,
    counts={},
    counted="",
    notes=(
        "The detection-system paper compares slices with and without tumour and does not say which slices; here they "
        "are numbers 60 to 100 of 155, as in BMAD.",
    ),
    costly=True,
)
ENTRIES = (_VOLUMES, _SLICES)
