"""From a method's maps back to the image: its own grid, its own geometry, and a NIfTI file that viewers lay over it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import UsageError
from unremarkable.files import whole_file
from unremarkable.imaging.image import Image
from unremarkable.imaging.preprocess import Preprocess, resize

# NIfTI indexes voxels (column, row, slice), an Image (slice, row, column).
_REVERSED_AXES = np.eye(4)[[2, 1, 0, 3]]


def restore(maps: NDArray[Any], image: Image, preprocess: Preprocess) -> NDArray[np.float32]:
    """Bring maps `(N, h, w)`, one per model input of `image`, back to its own grid by bilinear interpolation.

    Gives `(H, W)`, `(D, H, W)` or `(T, D, H, W)`: the resizing and padding of `preprocess` are undone. The maps may be
    coarser than its size. Raises ValueError where N is not the number of slices.
    """
    shape = image.pixels.shape[:-1] if image.axes.endswith("C") else image.pixels.shape
    *slices, height, width = shape
    if maps.ndim != 3 or len(maps) != int(np.prod(slices)):
        raise ValueError(f"maps of shape {maps.shape} for an image of {int(np.prod(slices))} slices")
    top, left, box_height, box_width = preprocess.box(image)
    down, across = maps.shape[1] / preprocess.size[0], maps.shape[2] / preprocess.size[1]
    box = (left * across, top * down, (left + box_width) * across, (top + box_height) * down)
    restored = np.empty((len(maps), height, width), np.float32)
    for index, values in enumerate(maps):
        restored[index] = resize(values.astype(np.float32, copy=False), (height, width), box)
    return restored.reshape(shape)


def map_volume(restored: NDArray[np.float32], image: Image) -> Image:
    """An anomaly map that `restore` gave, as an Image with the geometry of the `image` it belongs to.

    Raises ValueError where it does not have the image's grid.
    """
    axes = image.axes.removesuffix("C")
    shape = image.pixels.shape[: len(axes)]
    if restored.shape != shape:
        raise ValueError(f"a map of shape {restored.shape} for an image of {shape}")
    return Image(
        restored,
        axes,  # type: ignore[arg-type]  # every name of axes without its C is one, too
        image.source,
        spacing=image.spacing,
        affine=image.affine,
        metadata={"content": "anomaly map", **_stored_orientation(image)},
    )


def save_nifti(image: Image, path: str | os.PathLike[str]) -> None:
    """Write a grey image or volume as float32 NIfTI-1 (`.nii` or `.nii.gz`), whole or not at all.

    What came from a NIfTI file is written with its axes as they were there, so that voxels match one by one; all else
    with column, row and slice. Without an affine the file has spacing only, and says that its orientation is unknown.
    Raises UsageError for colour, another suffix, or a folder that cannot be written to.
    """
    import nibabel

    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise UsageError(f"a NIfTI file ends in .nii or .nii.gz, not {path.name!r}")
    if image.axes.endswith("C"):
        raise UsageError(f"{image.source}: colour is not written as NIfTI")
    voxels = image.pixels.astype(np.float32, copy=False)
    voxels = voxels[None] if image.axes == "HW" else voxels
    # (T, D, H, W) and (D, H, W) alike are reversed as a whole: NIfTI wants (column, row, slice, time).
    affine = None if image.affine is None else image.affine @ _REVERSED_AXES
    nifti = nibabel.Nifti1Image(voxels.T, affine)
    if stored := image.metadata.get("stored_orientation"):
        from nibabel import orientations

        now, wanted = orientations.io_orientation(nifti.affine), orientations.axcodes2ornt(tuple(stored))
        nifti = nifti.as_reoriented(orientations.ornt_transform(now, wanted))
    if affine is None and image.spacing is not None:
        # In-plane spacing alone, of a flat image, leaves the one slice 1 mm thick.
        zooms = (*image.spacing[::-1], 1.0)[:3]
        nifti.header.set_zooms(zooms if voxels.ndim == 3 else (*zooms, 1.0))
    nifti.header.set_xyzt_units("mm")
    try:
        with whole_file(path) as unfinished:
            nibabel.save(nifti, unfinished)  # compressed or not, as the suffix says
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from None


def _stored_orientation(image: Image) -> dict[str, str]:
    stored = image.metadata.get("stored_orientation")
    return {} if image.affine is None or stored in (None, "unknown") else {"stored_orientation": stored}
