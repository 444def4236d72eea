"""One DICOM file → Image: exact values after the modality LUT, frames in order of position, geometry in RAS+."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import InputError
from unremarkable.imaging.dicom_file import number, one_line, open_dicom, syntax_name, transfer_syntax
from unremarkable.imaging.dicom_frames import FunctionalGroups, positive_pair
from unremarkable.imaging.dicom_geometry import Plane, stack
from unremarkable.imaging.dicom_mosaic import is_mosaic, mosaic_tiles, split_tiles, tile_planes
from unremarkable.imaging.dicom_pixels import Stored, decode
from unremarkable.imaging.dicom_values import apply_transforms, look_up_palette, padding_mask, transform_in
from unremarkable.imaging.image import Image

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# What a reader may ask for, by the name it has in Image.metadata.
_TEXTS = {
    "patient_id": ("PatientID",),
    "study_uid": ("StudyInstanceUID",),
    "series_uid": ("SeriesInstanceUID",),
    "sop_uid": ("SOPInstanceUID",),
    "sop_class_uid": ("SOPClassUID",),
    "series_description": ("SeriesDescription",),
    "body_part": ("BodyPartExamined",),
    "laterality": ("ImageLaterality", "FrameLaterality", "Laterality"),
    "view": ("ViewPosition",),
    "manufacturer": ("Manufacturer",),
    "model": ("ManufacturerModelName",),
}


def read_dicom(path: str | Path) -> Image:
    """The image in one DICOM file.

    - Values are those after the modality LUT (per frame in enhanced objects), never the VOI LUT, in the narrowest exact
      type: whole-number rescaling stays integer.
    - Larger is brighter: MONOCHROME1 is mirrored within the range of its stored bits, before a linear modality LUT and
      after a tabulated one (the two agree); then `unit` is None, and `metadata["inverted"]` is True.
    - Colour is RGB, `(…, H, W, 3)`, palettes looked up.
    - Several frames are `(D, H, W)`: sorted by position along the normal where every frame has one
      (`metadata["frame_numbers"]` says how), `(T, D, H, W)` where each position was taken several times, and in file
      order without positions (cine). A Siemens mosaic becomes the volume it holds.
    - `padding` is where stored values are PixelPaddingValue or in its range.

    Raises InputError for a file that is no DICOM, holds no image, is truncated, damaged or hostile, is stored in a way
    that no installed decoder reads, or whose frames make no volume (see `dicom_geometry.stack`).
    """
    path = Path(path)
    with one_line(path):
        return image_of(open_dicom(path), path)


def image_of(dataset: Dataset, source: object) -> Image:
    """The image of a parsed data set; see `read_dicom`. Call it inside `one_line`."""
    stored = decode(dataset, source)
    groups = FunctionalGroups(dataset, len(stored.frames))
    values, bits, padding, unit, extra = _values(dataset, stored, groups, source)
    metadata = _metadata(dataset, groups) | {"photometric": stored.photometric} | extra
    planes = groups.planes()
    if is_mosaic(dataset) and values.shape[0] == 1 and values.ndim == 3:
        values, padding, planes = _unmosaic(dataset, values, padding, planes, source)
    axes = "HWC" if stored.photometric in ("RGB", "PALETTE COLOR") else "HW"
    spacing: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None
    if len(values) == 1 and not is_mosaic(dataset):
        values, padding = values[0], None if padding is None else padding[0]
        spacing, metadata["spacing_source"] = _pixel_spacing(dataset, planes)
        affine = planes[0].affine(planes[0].normal * (planes[0].thickness or 1.0)) if planes else None
    else:
        axes = "D" + axes
        if planes:
            ordered = stack(
                source,
                planes,
                [f"frame {i + 1}" for i in range(len(planes))],
                groups.time_keys() if groups.frames else {},
            )
            axes, values, padding = _in_order(ordered.order, axes, values, padding, source)
            spacing, affine = ordered.spacing, ordered.affine
            metadata |= ordered.metadata | {"frame_numbers": (ordered.order + 1).tolist()}
        elif pair := _pixel_spacing(dataset, None)[0]:
            metadata["pixel_spacing"] = list(pair)
    return Image(
        pixels=np.ascontiguousarray(values),
        axes=axes,  # type: ignore[arg-type]
        source=str(source),
        spacing=spacing,
        affine=affine,
        modality=str(dataset.get("Modality") or "") or None,
        unit=unit,
        bits=bits,
        padding=padding,
        metadata={key: value for key, value in metadata.items() if value is not None},
    )


def _values(
    dataset: Dataset, stored: Stored, groups: FunctionalGroups, source: object
) -> tuple[NDArray[Any], int | None, NDArray[np.bool_] | None, str | None, dict[str, Any]]:
    """Values, bits in use, padding, unit, and metadata of the frames."""
    if stored.photometric == "RGB":
        return stored.frames, stored.bits, None, None, {}
    if stored.photometric == "PALETTE COLOR":
        colours, palette_bits = look_up_palette(dataset, stored.frames, source)
        return colours, palette_bits, None, None, {}
    signed = stored.frames.dtype.kind == "i"
    items = [groups.group(i, "PixelValueTransformationSequence") for i in range(groups.count)]
    if groups.frames:
        transforms = [transform_in(item or dataset, source, signed=signed) for item in items]
    else:
        transforms = [transform_in(items[0] or dataset, source, signed=signed)] * groups.count
    inverted = stored.photometric == "MONOCHROME1"
    values = apply_transforms(stored.frames, transforms, stored.bits, invert=inverted)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(source, "its floating-point pixels hold NaN or infinity")
    kinds = {t.kind for t in transforms}
    # A CT rescale without a type is in Hounsfield units by the standard; a dose page of modality CT has no rescale.
    hounsfield = kinds <= {None, "HU"} and all(t.given for t in transforms) and dataset.get("Modality") == "CT"
    kind = transforms[0].kind
    extra: dict[str, Any] = {"inverted": True} if inverted else {}
    extra |= {"rescale_type": kind} if len(kinds) == 1 and kind else {}
    bits = (transforms[0].table_bits or stored.bits) if values.dtype.kind in "iu" else None
    return values, bits, padding_mask(dataset, stored.frames), "HU" if hounsfield and not inverted else None, extra


def _unmosaic(
    dataset: Dataset,
    values: NDArray[Any],
    padding: NDArray[np.bool_] | None,
    planes: list[Plane] | None,
    source: object,
) -> tuple[NDArray[Any], NDArray[np.bool_] | None, list[Plane] | None]:
    count, direction = mosaic_tiles(dataset, source)
    tiles = split_tiles(values[0], count, source)
    hidden = None if padding is None else split_tiles(padding[0], count, source)
    height, width = values.shape[1:]
    return tiles, hidden, tile_planes(planes[0], (height, width), count, direction) if planes else None


def _in_order(
    order: NDArray[np.intp], axes: str, values: NDArray[Any], padding: NDArray[np.bool_] | None, source: object
) -> tuple[str, NDArray[Any], NDArray[np.bool_] | None]:
    if len(order) == 1:
        return axes, values[order[0]], None if padding is None else padding[order[0]]
    if axes != "DHW":
        raise InputError(source, f"{len(order)} colour volumes at the same positions are not supported")
    return "TDHW", values[order], None if padding is None else padding[order]


def _pixel_spacing(dataset: Dataset, planes: list[Plane] | None) -> tuple[tuple[float, float] | None, str | None]:
    """Millimetres between rows and between columns, and the attribute they come from.

    For projections, PixelSpacing is calibrated to the patient and ImagerPixelSpacing lies at the detector.
    """
    if planes and planes[0].spacing:
        return planes[0].spacing, "PixelSpacing"
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if pair := positive_pair(dataset.get(keyword)):
            return pair, keyword
    return None, None


def _metadata(dataset: Dataset, groups: FunctionalGroups) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: next((text for key in keys if (text := str(dataset.get(key) or "").strip())), None)
        for name, keys in _TEXTS.items()
    }
    found["transfer_syntax"] = syntax_name(transfer_syntax(dataset))
    found["image_type"] = [str(v) for v in dataset.get("ImageType") or ()] or None
    found["instance_number"] = _whole(dataset.get("InstanceNumber"))
    found["gantry_tilt_tag"] = number(dataset.get("GantryDetectorTilt"))
    found["window"] = _windows(groups.group(0, "FrameVOILUTSequence") or dataset)
    return found


def _windows(item: Dataset) -> list[list[float]] | None:
    """Display windows as given, each `[centre, width]`."""
    ends = []
    for keyword in ("WindowCenter", "WindowWidth"):
        value = item.get(keyword)
        values = value if hasattr(value, "__len__") and not isinstance(value, str) else [value]
        ends.append([number(v) for v in values])
    return [[c, w] for c, w in zip(*ends, strict=False) if c is not None and w is not None] or None


def _whole(value: Any) -> int | None:
    found = number(value)
    return None if found is None else int(found)
