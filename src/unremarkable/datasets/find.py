"""find_dataset: whatever a person points at, as cases with labels."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from unremarkable.datasets.case import Case, Dataset
from unremarkable.datasets.folders import (
    Labeller,
    class_position,
    count_lines,
    is_normal_name,
    masked_stem,
    natural_key,
)
from unremarkable.datasets.load import is_member
from unremarkable.datasets.manifest import read_manifest
from unremarkable.datasets.npz import read_npz
from unremarkable.datasets.parts import is_part
from unremarkable.datasets.series import find_series
from unremarkable.datasets.tables import SUFFIXES
from unremarkable.datasets.walk import ImageFile, image_files, no_such, why_no_image
from unremarkable.errors import UsageError

Data = str | Path | Sequence[str | Path]
_VOLUMES = frozenset({"DICOM", "NIfTI"})


def find_dataset(
    data: Data,
    *,
    normal: Sequence[str] = (),
    abnormal: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    patient_pattern: str | None = None,
    need_labels: bool = True,
) -> Dataset:
    """The cases of a manifest, a packed NPZ, a folder, a file, or a list of these, in natural order of their paths.

    `NAME:FOLDER` reads a folder as the data set NAME of the catalogue: "nih-chestxray14:/data/nih".

    In a folder, splits, classes and masks are told by the names of the folders (`train/NORMAL`, `Testing/notumor`,
    `normal/images` with `normal/masks`, `test/good`, ...; see `unremarkable.datasets.folders`). A folder of images
    without class folders gives cases without labels, and so does one that itself is called normal. A DICOM series is
    one case, with the patient and study its header names; so is a NIfTI file.

    Args:
        data: what to look at; a list gives the cases of all of them together.
        normal, abnormal: class names, or patterns ("lung_*", "*"), that replace the recognised ones. With `abnormal`,
            classes that are neither are left out.
        columns: for a manifest, the column of a role where it is called otherwise: `{"path": "file"}`.
        patient_pattern: a regular expression, searched in each path below the folder; its first group (or the whole
            match) is the patient.
        need_labels: False reads a folder whose classes are not recognised as cases without labels, to be scored.

    Raises:
        UsageError: there is no such path, there are no images, or no class is recognised as normal.
    """
    labeller = Labeller(tuple(normal), tuple(abnormal))
    if not isinstance(data, str | Path):
        found = _several([Path(entry) for entry in data], labeller, columns, need_labels)
    else:
        found = _one(Path(data).expanduser(), labeller, columns, need_labels)
    return found if patient_pattern is None else _with_patients(found, patient_pattern)


def _one(path: Path, labeller: Labeller, columns: Mapping[str, str] | None, need_labels: bool) -> Dataset:
    if is_member(str(path)):
        return Dataset(path.name, path.parent, (Case(str(path)),), "npz")
    if is_part(str(path)):
        return Dataset(path.name, path.parent, (Case(str(path)),), "files")
    if not path.exists():
        from unremarkable.datasets.catalog.registry import read_named

        if (named := read_named(str(path), plain=labeller == Labeller() and not columns)) is not None:
            return named
        raise UsageError(no_such(path))
    if path.is_dir():
        return _folder(path, labeller, need_labels)
    if path.suffix.lower() in SUFFIXES:
        return read_manifest(path, labeller=labeller, columns=columns)
    if path.suffix.lower() == ".npz":
        return read_npz(path, labeller=labeller)
    if reason := why_no_image(path):
        raise UsageError(f"{path}: {reason}")
    return Dataset(path.name, path.parent, (Case(str(path)),), "files")


def _several(
    paths: Sequence[Path], labeller: Labeller, columns: Mapping[str, str] | None, need_labels: bool
) -> Dataset:
    if not paths:
        raise UsageError("no files or folders are given")
    if len(paths) == 1:
        return _one(paths[0].expanduser(), labeller, columns, need_labels)
    found, skipped = [], []
    for path in paths:
        if path.is_file() and (reason := why_no_image(path)) and path.suffix.lower() not in SUFFIXES | {".npz"}:
            skipped.append((str(path), reason))
        else:
            found.append(_one(path.expanduser(), labeller, columns, need_labels))
    cases = {case.path: case for part in found for case in part.cases}
    if not cases:
        raise UsageError(f"none of the {len(paths)} files is an image; {skipped[0][0]}: {skipped[0][1]}")
    return Dataset(
        name=f"{found[0].name} and {len(paths) - 1} more",
        root=found[0].root,
        cases=tuple(cases.values()),
        layout=found[0].layout if len({part.layout for part in found}) == 1 else "files",
        notes=tuple(note for part in found for note in part.notes),
        skipped=(*skipped, *(entry for part in found for entry in part.skipped)),
    )


def _folder(root: Path, labeller: Labeller, need_labels: bool) -> Dataset:
    skipped: list[tuple[str, str]] = []
    files = image_files(root, skipped)
    images, masks = _part_masks(files, skipped)
    position = class_position((image.place for image in images), labeller)
    names = {image.path: None if position is None else image.place.name_at(position) for image in images}
    labels = _class_labels(root, images, {name for name in names.values() if name is not None}, labeller, need_labels)
    cases: list[Case] = []
    dicom: dict[Path, list[ImageFile]] = defaultdict(list)
    for image in images:
        name = names[image.path]
        if labels and name is not None and labels[name] is None:
            skipped.append((str(image.path), f"class {name!r} is neither --normal nor --abnormal"))
        elif image.kind == "DICOM":
            dicom[image.path.parent].append(image)
        else:
            cases.append(_case(image, name, labels, masks.get(image.path, ())))
    for folder, members in dicom.items():
        series, left_out = find_series(folder, [member.path for member in members])
        skipped.extend(left_out)
        first = members[0]
        whole = _case(first, names[first.path], labels, ())
        cases.extend(replace(whole, path=one.path, patient=one.patient, study=one.study) for one in series)
    if not cases:
        reasons = count_lines(Counter(reason for _, reason in skipped), times=" × ")
        raise UsageError(f"{root}: holds no image that can be scored: {reasons}")
    cases.sort(key=lambda case: natural_key(case.path))
    loose = sum(case.label is None for case in cases) if labels else 0
    notes = (f"{loose} images lie in no class folder and have no label",) if loose else ()
    name = root.resolve().name
    return Dataset(name, root, tuple(cases), "folders" if labels else "files", notes, tuple(skipped))


def _part_masks(
    files: list[ImageFile], skipped: list[tuple[str, str]]
) -> tuple[list[ImageFile], dict[Path, tuple[str, ...]]]:
    """The images, and the masks of each."""
    images = [file for file in files if not file.is_mask]
    if not images:
        return files, {}
    by_key: dict[tuple[tuple[str, ...], str], list[ImageFile]] = defaultdict(list)
    for image in images:
        by_key[image.key].append(image)
    masks: dict[Path, tuple[str, ...]] = {}
    for file in files:
        if not file.is_mask:
            continue
        folders, stem = file.key
        owners = by_key.get((folders, stem)) or by_key.get((folders, masked_stem(stem) or stem)) or []
        same = [image for image in owners if file.place.split in (None, image.place.split)]
        if len(same) == 1:
            masks[same[0].path] = (*masks.get(same[0].path, ()), str(file.path))
        else:
            reason = "no image has its name" if not same else f"{len(same)} images have its name"
            skipped.append((str(file.path), f"looks like a mask, and {reason}"))
    return images, masks


def _class_labels(
    root: Path, images: Sequence[ImageFile], names: set[str], labeller: Labeller, need_labels: bool
) -> dict[str, int | None]:
    """The label of each class folder; empty where the folders are no classes."""
    if not names:
        if labeller.normal or labeller.abnormal:
            raise UsageError(f"{root}: --normal and --abnormal name class folders, and there are none")
        return {}
    if not labeller.normal and not labeller.abnormal and not labeller.any_normal(names):
        volumes = all(image.kind in _VOLUMES for image in images)
        # Folders of patients or series, then, and not of classes.
        if volumes or not need_labels or is_normal_name(root.resolve().name):
            return {}
    return labeller.labels(names, root)


def _case(image: ImageFile, name: str | None, labels: Mapping[str, int | None], masks: tuple[str, ...]) -> Case:
    label = labels.get(name) if name is not None else None
    return Case(str(image.path), label, name if labels else None, image.place.split, masks=masks)


def _with_patients(found: Dataset, pattern: str) -> Dataset:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"the patient pattern {pattern!r} is no regular expression: {error}") from error
    cases, unnamed = [], 0
    for case in found.cases:
        path = PurePath(case.path)
        below = path.relative_to(found.root) if path.is_relative_to(found.root) else path
        match = expression.search(below.as_posix())
        unnamed += match is None
        cases.append(replace(case, patient=(match[1] if expression.groups else match[0]) if match else case.patient))
    notes = (f"the patient pattern fits {len(cases) - unnamed} of {len(cases)} paths",) if unnamed else ()
    return replace(found, cases=tuple(cases), notes=(*found.notes, *notes))
