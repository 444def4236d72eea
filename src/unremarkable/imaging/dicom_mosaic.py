"""Siemens mosaics: one large picture that holds all slices of a volume as tiles, row by row."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import InputError
from unremarkable.imaging.dicom_geometry import Plane
from unremarkable.imaging.quiet import quiet

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def is_mosaic(dataset: Dataset) -> bool:
    """Whether the pixels are a Siemens mosaic."""
    maker = str(dataset.get("Manufacturer") or "").upper()
    return "SIEMENS" in maker and "MOSAIC" in (dataset.get("ImageType") or ())


def mosaic_tiles(dataset: Dataset, source: object) -> tuple[int, NDArray[np.float64]]:
    """Number of tiles, and the direction (LPS) from one tile to the next, out of the CSA header.

    Raises InputError where the header lacks them, as it does after most de-identification.
    """
    with quiet():
        from nibabel.nicom import csareader

        header = csareader.get_csa_header(dataset, "image")
        count = None if header is None else csareader.get_n_mosaic(header)
        direction = None if header is None else csareader.get_slice_normal(header)
    if not count or direction is None:
        raise InputError(source, "a Siemens mosaic without the private header that says how to take it apart")
    return int(count), np.asarray(direction, float)


def split_tiles(mosaic: NDArray[Any], count: int, source: object) -> NDArray[Any]:
    """`(count, h, w)` slices of an `(H, W)` mosaic, which is a square number of tiles with the last ones empty."""
    side = math.isqrt(count - 1) + 1 if count > 0 else 0
    rows, columns = mosaic.shape
    if not side or rows % side or columns % side:
        raise InputError(source, f"a Siemens mosaic of {count} tiles does not divide {rows} × {columns} pixels")
    tiles = mosaic.reshape(side, rows // side, side, columns // side).swapaxes(1, 2)
    return tiles.reshape(side * side, rows // side, columns // side)[:count].copy()


def tile_planes(plane: Plane, mosaic: tuple[int, int], count: int, direction: NDArray[np.float64]) -> list[Plane]:
    """Where each tile lies.

    The header gives the position that the whole mosaic would have as one slice with the tiles' centre: the first pixel
    of a tile lies half the difference of the sizes further in.
    """
    if plane.spacing is None or plane.thickness is None:
        return []
    side = math.isqrt(count - 1) + 1
    rows, columns = ((n - n // side) / 2 for n in mosaic)
    corner = (
        plane.position + rows * plane.spacing[0] * plane.along_column + columns * plane.spacing[1] * plane.along_row
    )
    return [
        Plane(
            corner + i * plane.thickness * direction,
            plane.along_row,
            plane.along_column,
            plane.spacing,
            plane.thickness,
        )
        for i in range(count)
    ]
