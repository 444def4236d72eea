"""Masks and boxes as ground truth on the image's own grid."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case
from unremarkable.datasets.masks import load_mask, load_truth
from unremarkable.errors import InputError
from unremarkable.imaging.image import Image
from unremarkable.imaging.read import read_image

FLAT = Image(np.zeros((6, 8), np.uint8), "HW", "image.png")


def saved(path: Path, mask: np.ndarray) -> str:
    picture = Picture.fromarray(mask)
    picture.save(path)
    return str(path)


def two_lesions() -> np.ndarray:
    mask = np.zeros((6, 8), np.uint8)
    mask[1:3, 1:3] = 1  # a value that an 8-bit viewer shows as black
    mask[3, 3] = 200  # touches the first by a corner only
    mask[5, 7] = 255
    return mask


@pytest.mark.parametrize("kind", ["png8", "png1", "png16", "rgb", "tif", "npy", "bmp"])
def test_every_value_above_zero_is_marked_whatever_the_file(tmp_path: Path, kind: str) -> None:
    mask = two_lesions()
    if kind == "png8":
        path = saved(tmp_path / "m.png", mask)
    elif kind == "png1":
        path = saved(tmp_path / "m.png", mask > 0)
    elif kind == "png16":
        path = saved(tmp_path / "m.png", mask.astype(np.uint16))
    elif kind == "rgb":
        path = saved(tmp_path / "m.png", np.stack([0 * mask, mask, 0 * mask], axis=-1))
    elif kind == "bmp":
        path = saved(tmp_path / "m.bmp", mask)
    elif kind == "tif":
        path = str(tmp_path / "m.tif")
        tifffile.imwrite(path, mask.astype(np.uint16) * 257)
    else:
        path = str(tmp_path / "m.npy")
        np.save(path, mask.astype(np.float32) / 255)
    truth = load_truth(Case("image.png", ABNORMAL, masks=(path,)), FLAT)
    assert truth is not None
    np.testing.assert_array_equal(truth.mask, mask > 0)
    assert [lesion.pixels for lesion in truth.lesions] == [5, 1]


def test_the_ringing_of_a_jpeg_mask_is_not_marked(tmp_path: Path) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[9:20, 11:23] = 255
    Picture.fromarray(mask).save(tmp_path / "m.jpg", quality=60)
    stored = read_image(tmp_path / "m.jpg").pixels
    assert ((stored > 0) & (mask == 0)).any()  # there is some ringing to ignore
    found = load_mask(
        Case("x", ABNORMAL, masks=(str(tmp_path / "m.jpg"),)), Image(np.zeros((32, 32), np.uint8), "HW", "x")
    )
    np.testing.assert_array_equal(found, mask > 0)


def test_masks_and_boxes_are_united_and_lesions_stay_apart(tmp_path: Path) -> None:
    first = np.zeros((6, 8), np.uint8)
    first[0:2, 0:2] = 255
    second = np.zeros((6, 8), np.uint8)
    second[1:3, 1:3] = 255  # overlaps the first: two readers' lesions, not one
    masks = (saved(tmp_path / "a.png", first), saved(tmp_path / "b.png", second))
    truth = load_truth(Case("x", ABNORMAL, masks=masks, boxes=((4, 3, 2, 2),)), FLAT)
    assert truth is not None
    expected = (first > 0) | (second > 0)
    expected[3:5, 4:6] = True
    np.testing.assert_array_equal(truth.mask, expected)
    assert [lesion.pixels for lesion in truth.lesions] == [4, 4, 4]


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((2, 1, 3, 2), slice(1, 3), slice(2, 5)),  # x, y, width, height
        ((1.6, 0.4, 1.0, 1.0), slice(0, 1), slice(2, 3)),  # pixels whose centres lie inside
        ((3.6, 2.7, 0.2, 0.1), slice(2, 3), slice(3, 4)),  # smaller than a pixel: the one it lies in
        ((-2, -1, 4, 3), slice(0, 2), slice(0, 2)),  # reaches out of the image
        ((7.4, 5.9, 9, 9), slice(5, 6), slice(7, 8)),
    ],
)
def test_boxes(box: tuple[float, float, float, float], rows: slice, columns: slice) -> None:
    expected = np.zeros((6, 8), bool)
    expected[rows, columns] = True
    np.testing.assert_array_equal(load_mask(Case("x", ABNORMAL, boxes=(box,)), FLAT), expected)


def test_a_colour_image_has_a_flat_grid() -> None:
    colour = Image(np.zeros((6, 8, 3), np.uint8), "HWC", "x")
    assert load_mask(Case("x", ABNORMAL, boxes=((0, 0, 1, 1),)), colour).shape == (6, 8)


def test_normal_cases_have_nothing_marked_and_unmarked_abnormal_ones_are_unknown(tmp_path: Path) -> None:
    empty = saved(tmp_path / "empty.png", np.zeros((6, 8), np.uint8))
    for masks in ((), (empty,)):
        truth = load_truth(Case("x", NORMAL, masks=masks), FLAT)
        assert truth is not None
        assert not truth.mask.any()
        assert truth.mask.shape == (6, 8)
        assert truth.lesions == ()
        assert load_truth(Case("x", ABNORMAL, masks=masks), FLAT) is None
        assert load_mask(Case("x", None, masks=masks), FLAT) is None
    marked = saved(tmp_path / "marked.png", two_lesions())
    with pytest.raises(InputError, match="labelled normal"):
        load_truth(Case("x", NORMAL, masks=(marked,)), FLAT)
    assert load_mask(Case("x", None, masks=(marked,)), FLAT).sum() == 6


def test_a_mask_on_another_grid_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.png", np.ones((8, 6), np.uint8))
    with pytest.raises(InputError, match="8 × 6 for an image of 6 × 8"):
        load_truth(Case("x", ABNORMAL, masks=(path,)), FLAT)
    np.save(tmp_path / "nan.npy", np.full((6, 8), np.nan))
    with pytest.raises(InputError, match="NaN"):
        load_truth(Case("x", ABNORMAL, masks=(str(tmp_path / "nan.npy"),)), FLAT)
    with pytest.raises(InputError, match="no such file"):
        load_truth(Case("x", ABNORMAL, masks=(str(tmp_path / "gone.png"),)), FLAT)
    with pytest.raises(InputError, match="outside the image"):
        load_truth(Case("x", ABNORMAL, boxes=((8, 0, 2, 2),)), FLAT)


def test_a_volume_and_its_mask(tmp_path: Path) -> None:
    values = np.zeros((5, 6, 7), np.int16)
    marked = np.zeros((5, 6, 7), np.uint8)
    marked[1:3, 2, 3] = 4
    marked[3, 3, 4] = 1  # meets the first by a corner across slices
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "v.nii.gz")
    nibabel.save(nibabel.Nifti1Image(marked, affine), tmp_path / "m.nii.gz")
    image = read_image(tmp_path / "v.nii.gz")
    truth = load_truth(Case("v", ABNORMAL, masks=(str(tmp_path / "m.nii.gz"),)), image)
    assert truth is not None
    assert truth.mask.shape == image.pixels.shape
    assert [lesion.pixels for lesion in truth.lesions] == [3]
    with pytest.raises(InputError, match="boxes mark flat images"):
        load_truth(Case("v", ABNORMAL, boxes=((0, 0, 1, 1),)), image)


def test_a_mask_stored_in_another_orientation_falls_in_the_same_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values, affine = rng.integers(0, 99, (5, 6, 7)).astype(np.int16), np.diag([2.0, 2.0, 3.0, 1.0])
    flipped = affine @ np.array([[-1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "v.nii")
    nibabel.save(nibabel.Nifti1Image((values > 50)[::-1].astype(np.uint8), flipped), tmp_path / "m.nii")
    image = read_image(tmp_path / "v.nii")
    mask = load_mask(Case("v", ABNORMAL, masks=(str(tmp_path / "m.nii"),)), image)
    np.testing.assert_array_equal(mask, image.pixels > 50)
    affine[:3, 3] = 5  # the same voxels, 5 mm away
    nibabel.save(nibabel.Nifti1Image((values > 50).astype(np.uint8), affine), tmp_path / "away.nii")
    with pytest.raises(InputError, match="elsewhere in space"):
        load_mask(Case("v", ABNORMAL, masks=(str(tmp_path / "away.nii"),)), image)
