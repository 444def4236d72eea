"""A folder or list of DICOM files → one volume, whole and in order, or one line that says why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import InputError, UsageError
from unremarkable.imaging.dicom import read_dicom
from unremarkable.imaging.guards import check_declared
from unremarkable.imaging.image import Image
from unremarkable.imaging.series_groups import Group, group_series, scan_folder

__all__ = ["Group", "group_series", "read_series", "scan_folder"]

# Of one slice, and so not of the volume.
_OF_A_SLICE = ("sop_uid", "instance_number", "spacing_source", "frame_numbers")


def read_series(where: str | Path | Sequence[str | Path]) -> Image:
    """The one image that a folder (not those below it) or a list of DICOM files holds.

    Slices become `(D, H, W)` in order of their position along the slice normal, each after its own modality LUT, in one
    type that holds all exactly; positions taken several times become `(T, D, H, W)`; a single file is read as
    `read_dicom` does. `spacing[0]` is the mean distance between neighbours and the affine carries a tilted gantry's
    shear; `metadata` has `slice_positions`, `spacing_uniform`, `gantry_tilt_degrees`, `sop_uids` in slice order, and
    what of the folder was `left_out`, as `[name, reason]`.

    Raises InputError, with its own reason for each: no DICOM images, several series, localisers, missing slices,
    duplicates, an incomplete time series, mixed orientation, size or spacing, and any file that cannot be read. From a
    list, every file must take part; in a folder, files that are no part of a volume (dose reports, localisers) are
    left out.
    """
    listed = not isinstance(where, str | Path)
    paths = _files(Path(where)) if isinstance(where, str | Path) else list(map(Path, where))
    source = Path(where) if isinstance(where, str | Path) else _parent(paths)
    groups = group_series(paths)
    wanted = [group for group in groups if group.reason is None]
    others = [group for group in groups if group.reason is not None]
    if blocked := next((group for group in others if group.damaged or listed), None):
        raise InputError(blocked.paths[0] if len(blocked.paths) == 1 else source, str(blocked.reason))
    if len(wanted) != 1:
        raise InputError(source, _why_not_one(wanted, others))
    image = _read_group(wanted[0], source)
    left = [[path.name, group.reason] for group in others if group.headers for path in group.paths]
    return replace(image, metadata=image.metadata | {"left_out": left}) if left else image


def _parent(paths: list[Path]) -> Path:
    if not paths:
        raise UsageError("a series needs one DICOM file or more; the list is empty")
    return paths[0] if len(paths) == 1 else paths[0].parent


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(folder, "not a folder" if folder.exists() else "no such folder")
    return [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]


def _why_not_one(wanted: list[Group], others: list[Group]) -> str:
    if wanted:
        named = ", ".join(group.description for group in wanted[:4]) + (", ..." if len(wanted) > 4 else "")
        return f"holds {len(wanted)} series ({named}); give the files of one"
    reasons = list(dict.fromkeys(group.reason for group in others if group.headers)) or list(
        dict.fromkeys(group.reason for group in others if group.reason != "not a DICOM file")
    )
    return (
        "; ".join(str(reason) for reason in reasons[:3])
        or "holds no DICOM images; give the folder that holds the files of one series"
    )


def _read_group(group: Group, source: object) -> Image:
    if len(group.paths) == 1:
        return replace(read_dicom(group.paths[0]), source=str(source))
    assert group.stack is not None  # a group of several files without a reason has its order
    order = group.stack.order
    check_declared(source, (order.size, *group.headers[0].size), 2)
    images = [read_dicom(group.paths[i]) for i in order.ravel()]
    first = images[0]
    for image in images:
        if (image.pixels.shape, image.axes) != (first.pixels.shape, first.axes):
            raise InputError(image.source, f"is {_shape(image)} where the first slice is {_shape(first)}")
    values = np.stack([image.pixels for image in images]).astype(
        np.result_type(*(i.pixels for i in images)), copy=False
    )
    padding = _together([image.padding for image in images], first)
    metadata = {key: value for key, value in first.metadata.items() if key not in _OF_A_SLICE}
    spacing: tuple[float, ...] | None = group.stack.spacing
    affine = group.stack.affine
    if first.is_volume:
        # Siemens mosaics: each file is a whole volume, and the volumes a time series.
        if len(order) != len(images) or first.axes != "DHW":
            raise InputError(source, f"{len(images)} files that are volumes each, at {order.shape[1]} positions")
        axes, spacing, affine = "TDHW", first.spacing, first.affine
        metadata["repeated_by"] = group.stack.metadata.get("repeated_by")
        metadata["sop_uids"] = [image.metadata.get("sop_uid") for image in images]
    else:
        metadata |= group.stack.metadata
        uids = [image.metadata.get("sop_uid") for image in images]
        axes, depth = "D" + first.axes, order.shape[1]
        metadata["sop_uids"] = uids if len(order) == 1 else [uids[i : i + depth] for i in range(0, len(uids), depth)]
        if len(order) > 1:
            if first.axes != "HW":
                raise InputError(source, f"{len(order)} colour volumes at the same positions are not supported")
            axes, values = "TDHW", values.reshape(*order.shape, *first.pixels.shape)
            padding = None if padding is None else padding.reshape(values.shape)
    units, bits = {image.unit for image in images}, [image.bits for image in images]
    return Image(
        pixels=values,
        axes=axes,  # type: ignore[arg-type]
        source=str(source),
        spacing=spacing,
        affine=affine,
        modality=first.modality,
        unit=first.unit if len(units) == 1 else None,
        bits=None if None in bits else max(b for b in bits if b is not None),
        padding=padding,
        metadata=metadata,
    )


def _together(masks: list[NDArray[np.bool_] | None], first: Image) -> NDArray[np.bool_] | None:
    if all(mask is None for mask in masks):
        return None
    spatial = first.pixels.shape[:-1] if first.axes.endswith("C") else first.pixels.shape
    return np.stack([np.zeros(spatial, bool) if mask is None else mask for mask in masks])


def _shape(image: Image) -> str:
    return " × ".join(map(str, image.pixels.shape))
