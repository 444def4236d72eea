"""Which DICOM files belong together as one volume, and why others are left out, from their headers alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unremarkable.errors import InputError
from unremarkable.imaging.dicom_file import no_image_reason, number, one_line, open_dicom
from unremarkable.imaging.dicom_frames import FunctionalGroups
from unremarkable.imaging.dicom_geometry import Plane, Stack, stack
from unremarkable.imaging.dicom_mosaic import is_mosaic

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LOCALISER_WORDS = ("LOCALIZER", "LOCALISER", "SCOUT", "SURVIEW", "TOPOGRAM")
CROSS_SECTIONAL = ("CT", "MR", "PT", "NM")
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
RESULTS = {"SEG": "a segmentation", "RTDOSE": "a dose distribution"}


@dataclass(frozen=True, eq=False)
class Header:
    """What grouping needs of one file."""

    path: Path
    series_uid: str
    sop_uid: str
    modality: str
    description: str
    size: tuple[int, int]
    frames: int
    image_type: tuple[str, ...]
    secondary_capture: bool
    mosaic: bool
    echo_time: float | None
    temporal_position: float | None
    acquisition: float | None
    instance: int | None
    plane: Plane | None


@dataclass(frozen=True, eq=False)
class Group:
    """Files that make one image, or that are left out together.

    Attributes:
        paths: the files, by name.
        reason: why they are left out; None where they make an image.
        description: modality, series description and number of files, for messages.
        damaged: the file is DICOM and cannot be read, so that a volume beside it may lack it.
        headers: of `paths`; stack: their order, for several slices.
    """

    paths: tuple[Path, ...]
    reason: str | None = None
    description: str = ""
    damaged: bool = False
    headers: tuple[Header, ...] = field(default=(), repr=False)
    stack: Stack | None = field(default=None, repr=False)


def group_series(paths: Iterable[str | Path]) -> list[Group]:
    """Files grouped into series, one group an image or volume, in the order of their first file's name.

    Files are one series by SeriesInstanceUID; magnitude and phase, or several echoes, taken at the same positions are
    groups of their own; so is every multi-frame object and every projection. Files that are no DICOM images,
    localisers, dose pages and results come out as groups with a reason, and so do slices that make no volume.
    """
    groups, series = [], defaultdict(list)
    for path in sorted(Path(p) for p in paths):
        try:
            with one_line(path):
                header = _header(path, open_dicom(path, header_only=True))
        except InputError as error:
            strange = error.reason in ("not a DICOM file", "empty file") or error.reason.startswith("holds no image")
            damaged = not strange and "DICOMDIR" not in error.reason
            groups.append(Group((path,), error.reason, path.name, damaged))
            continue
        if reason := _left_out(header):
            groups.append(_group([header], reason))
        else:
            series[header.series_uid or str(path)].append(header)
    for headers in series.values():
        groups.extend(_group_one_series(headers))
    return sorted(groups, key=lambda group: group.paths[0])


def scan_folder(folder: str | Path) -> list[Group]:
    """Every series in a folder and the folders below it, each either an image or left out with its reason.

    Files of one series in two folders are two groups: copies of a study must not be taken for one another's slices.
    """
    folders = defaultdict(list)
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            folders[path.parent].append(path)
    return [group for paths in folders.values() for group in group_series(paths)]


def _header(path: Path, dataset: Dataset) -> Header:
    if not dataset.get("Rows"):
        raise InputError(path, no_image_reason(dataset))
    count = int(dataset.get("NumberOfFrames") or 1)
    planes = FunctionalGroups(dataset, 1).planes() if count == 1 else None
    instance = number(dataset.get("InstanceNumber"))
    return Header(
        path=path,
        series_uid=str(dataset.get("SeriesInstanceUID") or ""),
        sop_uid=str(dataset.get("SOPInstanceUID") or ""),
        modality=str(dataset.get("Modality") or ""),
        description=str(dataset.get("SeriesDescription") or "").strip(),
        size=(int(dataset.Rows), int(dataset.get("Columns") or 0)),
        frames=count,
        image_type=tuple(str(v).upper() for v in dataset.get("ImageType") or ()),
        secondary_capture=str(dataset.get("SOPClassUID") or "").startswith(SECONDARY_CAPTURE),
        mosaic=is_mosaic(dataset),
        echo_time=number(dataset.get("EchoTime")),
        temporal_position=number(dataset.get("TemporalPositionIdentifier")),
        acquisition=number(dataset.get("AcquisitionNumber")),
        instance=None if instance is None else int(instance),
        plane=planes[0] if planes else None,
    )


def _left_out(header: Header) -> str | None:
    """Why this file can be no part of a volume and no image to score; None where it can."""
    kind = "\\".join(header.image_type)
    if any(word in part for part in header.image_type for word in LOCALISER_WORDS):
        return f"a localiser (ImageType {kind})"
    if header.modality in RESULTS:
        return f"{RESULTS[header.modality]}, which is a result and no image"
    if header.secondary_capture and header.modality in CROSS_SECTIONAL and header.plane is None and header.frames == 1:
        return f"a page of text or figures: a secondary capture without a position (ImageType {kind or 'empty'})"
    return None


def _group(headers: Sequence[Header], reason: str | None = None, ordered: Stack | None = None) -> Group:
    first = headers[0]
    words = [first.modality, repr(first.description) if first.description else "", f"{len(headers)} files"]
    return Group(
        tuple(h.path for h in headers), reason, " ".join(filter(None, words)), headers=tuple(headers), stack=ordered
    )


def _group_one_series(headers: list[Header]) -> list[Group]:
    whole = [h for h in headers if h.frames > 1 or (h.plane is None and h.modality not in CROSS_SECTIONAL)]
    mosaics = [h for h in headers if h.mosaic and h.frames == 1]
    slices = [h for h in headers if h not in whole and h not in mosaics]
    groups = [_group([header]) for header in whole]
    if mosaics:
        groups.append(_volume(mosaics))
    groups.extend(_volume(part) for part in _parts(slices))
    return groups


def _parts(slices: list[Header]) -> list[list[Header]]:
    """Slices parted where kinds of picture (magnitude, phase, echoes) repeat the same positions."""
    if not slices or any(h.plane is None for h in slices):
        return [slices] if slices else []
    for attribute in ("image_type", "echo_time"):
        parts: dict[Any, list[Header]] = defaultdict(list)
        for header in slices:
            parts[getattr(header, attribute)].append(header)
        places = [{_place(h) for h in part} for part in parts.values()]
        if len(parts) > 1 and all(place == places[0] for place in places):
            return [finer for part in parts.values() for finer in _parts(part)]
    return [slices]


def _place(header: Header) -> tuple[float, ...]:
    assert header.plane is not None
    return tuple(float(v) for v in header.plane.position.round(3))


def _volume(headers: list[Header]) -> Group:
    """The group of slices that should make one volume, with its order, or with the reason why they make none."""
    if len(headers) == 1:
        return _group(headers)
    try:
        return _group(headers, None, _ordered(headers))
    except InputError as error:
        return _group(headers, error.reason)


def _ordered(headers: list[Header]) -> Stack:
    source = headers[0].path.parent
    seen: dict[str, Header] = {}
    for header in headers:
        if header.sop_uid and header.sop_uid in seen:
            twice = seen[header.sop_uid].path.name
            raise InputError(source, f"duplicate slices: {twice} and {header.path.name} are the same instance")
        seen[header.sop_uid] = header
    sizes: dict[tuple[int, int], int] = defaultdict(int)
    for header in headers:
        sizes[header.size] += 1
    if len(sizes) > 1:
        mix = ", ".join(f"{count} of {rows} × {columns}" for (rows, columns), count in sizes.items())
        raise InputError(source, f"mixed sizes: {mix}")
    planes = [header.plane for header in headers if header.plane is not None]
    if len(planes) < len(headers):
        raise InputError(
            source, f"{len(headers) - len(planes)} of {len(headers)} slices without position or orientation"
        )

    def values(get: Callable[[Header], Any]) -> list[Any]:
        return [get(header) for header in headers]

    keys = {
        "TemporalPositionIdentifier": values(lambda h: h.temporal_position),
        "AcquisitionNumber": values(lambda h: h.acquisition),
        "InstanceNumber": values(lambda h: h.instance),
    }
    return stack(source, planes, values(lambda h: h.path.name), keys, values(lambda h: h.instance))
