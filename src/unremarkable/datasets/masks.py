"""What is marked as abnormal in a case: masks and boxes, on the image's own pixel grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unremarkable.datasets.case import NORMAL, Case
from unremarkable.datasets.parts import is_part, load_part
from unremarkable.errors import InputError
from unremarkable.imaging.image import Image
from unremarkable.imaging.read import image_kind, read_image


@dataclass(frozen=True, eq=False)
class Lesion:
    """One marked region: where it lies in the image's grid (a slice per axis), and which pixels in there it takes."""

    place: tuple[slice, ...]
    inside: NDArray[np.bool_]

    @property
    def pixels(self) -> int:
        """Its size."""
        return int(np.count_nonzero(self.inside))


@dataclass(frozen=True, eq=False)
class Truth:
    """The ground truth of one case.

    `mask` is True where anything is marked, of the grid's shape: `(H, W)`, `(D, H, W)` or `(T, D, H, W)`. `lesions`
    are the connected components (diagonal neighbours included) of each mask file, and each box; they may overlap.
    """

    mask: NDArray[np.bool_]
    lesions: tuple[Lesion, ...]


def load_mask(case: Case, image: Image) -> NDArray[np.bool_] | None:
    """The union of a case's masks and boxes, as in `load_truth`."""
    truth = load_truth(case, image)
    return None if truth is None else truth.mask


def load_truth(case: Case, image: Image) -> Truth | None:
    """What is marked in `case`, on the grid of `image` (its pixel values are not looked at).

    A pixel of a mask counts where it is greater than 0 in any channel; in a JPEG, whose edges ring, where it is
    greater than half of the range. A pixel is in a box where its centre is; a box has one pixel at least. A case
    labelled normal has nothing marked. None where a case that is not labelled normal has nothing marked either: where
    its lesions are is then unknown.

    Raises:
        InputError: a mask cannot be read, has another size or place than the image, or marks pixels of a case
            labelled normal; or a box lies outside the image, or is given for a volume.
    """
    shape = image.pixels.shape[:-1] if image.axes.endswith("C") else image.pixels.shape
    lesions: list[Lesion] = []
    for path in case.masks:
        lesions += _components(_read(path, image, shape))
    if case.boxes and len(shape) > 2:
        raise InputError(case.path, f"boxes mark flat images, and this one has the axes {image.axes}; use a mask")
    lesions += [_box(case, box, shape) for box in case.boxes]
    if not lesions:
        return Truth(np.zeros(shape, bool), ()) if case.label == NORMAL else None
    if case.label == NORMAL:
        raise InputError(case.path, f"is labelled normal and has {len(lesions)} marked lesions; one of both is wrong")
    mask = np.zeros(shape, bool)
    for lesion in lesions:
        mask[lesion.place] |= lesion.inside
    return Truth(mask, tuple(lesions))


def _read(path: str, image: Image, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    found = load_part(path) if is_part(path) else read_image(path)
    values = found.pixels
    inside: NDArray[np.bool_] = values > (127 if image_kind(path) == "JPEG" else 0)
    if found.axes.endswith("C"):
        inside = np.any(inside, axis=-1)
    # A flat image may be a volume of one slice in one of the two files.
    if [side for side in inside.shape if side > 1] != [side for side in shape if side > 1]:
        raise InputError(
            path, f"a mask of {_size(inside.shape)} for an image of {_size(shape)} pixels; both must have one grid"
        )
    if not _same_place(found, image):
        raise InputError(path, f"the mask lies elsewhere in space than {image.source}; resample it to the image's grid")
    return inside.reshape(shape)


def _same_place(mask: Image, image: Image) -> bool:
    """Whether the corners of both grids lie within half a voxel of each other, where both say where they lie."""
    if mask.affine is None or image.affine is None or mask.axes != image.axes:
        return True
    spatial = image.pixels.shape[image.axes.index("D") :][:3] if "D" in image.axes else (1, *image.pixels.shape[:2])
    corners = np.array([[*np.array(corner) * (np.array(spatial) - 1), 1] for corner in np.ndindex(2, 2, 2)])
    apart = np.linalg.norm(corners @ (mask.affine - image.affine)[:3].T, axis=1)
    return bool(apart.max() <= np.linalg.norm(image.affine[:3, :3], axis=0).min() / 2)


def _components(inside: NDArray[np.bool_]) -> list[Lesion]:
    from scipy import ndimage

    numbered, _ = ndimage.label(inside, ndimage.generate_binary_structure(inside.ndim, inside.ndim))
    places = ndimage.find_objects(numbered)
    return [Lesion(place, numbered[place] == number) for number, place in enumerate(places, start=1)]


def _box(case: Case, box: tuple[float, float, float, float], shape: tuple[int, ...]) -> Lesion:
    x, y, width, height = box
    rows, columns = _span(y, height, shape[0]), _span(x, width, shape[1])
    if rows is None or columns is None:
        raise InputError(case.path, f"the box {list(box)} lies outside the image of {_size(shape)} pixels")
    return Lesion((rows, columns), np.ones((rows.stop - rows.start, columns.stop - columns.start), bool))


def _span(start: float, length: float, side: int) -> slice | None:
    """The pixels whose centres lie in [start, start + length), at least one; None outside of the image."""
    if start >= side or start + length <= 0:
        return None
    first = max(0, math.ceil(start - 0.5))
    last = min(side, math.ceil(start + length - 0.5))
    if first >= last:
        first = min(side - 1, max(0, math.floor(start + length / 2)))
        last = first + 1
    return slice(first, last)


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
