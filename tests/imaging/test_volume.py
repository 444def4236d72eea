"""Maps go back to the image's grid, and into NIfTI files that lie where the image lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from unremarkable.errors import UsageError
from unremarkable.imaging.image import Image
from unremarkable.imaging.preprocess import Preprocess
from unremarkable.imaging.volume import map_volume, restore, save_nifti

# An oblique, sheared geometry: nothing in it may be swapped unseen.
AFFINE = np.array([[0.5, 0.1, -0.9, 10], [0.2, -1.1, 0.3, -20], [3.0, 0.4, 0.2, 30], [0, 0, 0, 1]])


def image_of(axes: str, *shape: int, **about: Any) -> Image:
    pixels = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return Image(pixels, axes, "scan.dcm", **about)  # type: ignore[arg-type]


def smooth(height: int, width: int) -> NDArray[np.float32]:
    rows, columns = np.mgrid[:height, :width]
    return np.sin(rows / height * 3 + 1).astype(np.float32) * np.cos(columns / width * 2).astype(np.float32)


@pytest.mark.parametrize("fit", ["resize", "pad"])
@pytest.mark.parametrize(
    ("axes", "shape"),
    [("HW", (40, 60)), ("HWC", (60, 40, 3)), ("DHW", (5, 40, 60)), ("TDHW", (2, 3, 33, 20)), ("DHWC", (4, 30, 50, 3))],
)
def test_maps_return_to_the_grid_of_the_image(axes: str, shape: tuple[int, ...], fit: str) -> None:
    image = image_of(axes, *shape)
    preprocess = Preprocess(size=(32, 48), fit=fit)
    maps = preprocess(image)[:, 0]
    restored = restore(maps, image, preprocess)
    assert restored.shape == (shape[:-1] if axes.endswith("C") else shape)
    assert restored.dtype == np.float32
    for level in (0.0, 3.5):
        np.testing.assert_allclose(restore(np.full_like(maps, level), image, preprocess), level)


def test_maps_of_the_images_own_size_are_kept_as_they_are() -> None:
    image = image_of("DHW", 3, 32, 32)
    maps = image.pixels.copy()
    np.testing.assert_array_equal(restore(maps, image, Preprocess(size=(32, 32))), maps)


@pytest.mark.parametrize("fit", ["resize", "pad"])
@pytest.mark.parametrize("spacing", [None, (2.0, 1.0)])
@pytest.mark.parametrize("coarser", [1, 4])
def test_what_preprocess_did_is_undone(fit: str, spacing: tuple[float, float] | None, coarser: int) -> None:
    picture = (smooth(120, 200) + 1) / 2
    image = Image(picture, "HW", "a", spacing=spacing)
    preprocess = Preprocess(size=(128, 128), intensity="dtype", fit=fit)
    maps = preprocess(image)[:, 0]
    maps = maps.reshape(1, 128 // coarser, coarser, 128 // coarser, coarser).mean(axis=(2, 4))
    restored = restore(maps, image, preprocess)
    edge = 0 if coarser == 1 else 10  # coarse maps mix the padding into their outermost cells
    inner = slice(edge, -edge or None)
    np.testing.assert_allclose(restored[inner, inner], picture[inner, inner], atol=0.01)


def test_padding_does_not_bleed_into_the_map() -> None:
    image = image_of("HW", 20, 40)
    preprocess = Preprocess(size=(32, 32), fit="pad")
    top, left, height, width = preprocess.box(image)
    maps = np.full((1, 32, 32), -99, np.float32)
    maps[0, top : top + height, left : left + width] = 1
    np.testing.assert_allclose(restore(maps, image, preprocess), 1)


def test_a_peak_stays_where_it_is() -> None:
    image = image_of("HW", 100, 300)
    for fit in ("resize", "pad"):
        preprocess = Preprocess(size=(64, 64), intensity="dtype", fit=fit)
        spot = np.zeros((100, 300), np.float32)
        spot[60:68, 200:220] = 1
        maps = preprocess(Image(spot, "HW", "a"))[:, 0]
        place = np.unravel_index(restore(maps, image, preprocess).argmax(), spot.shape)
        assert 58 <= place[0] <= 69
        assert 196 <= place[1] <= 223


def test_maps_of_another_count_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="3 slices"):
        restore(np.zeros((2, 8, 8), np.float32), image_of("DHW", 3, 8, 8), Preprocess(size=(8, 8)))
    with pytest.raises(ValueError, match="shape"):
        map_volume(np.zeros((2, 8, 8), np.float32), image_of("DHW", 3, 8, 8))


def test_a_map_has_the_geometry_of_its_image() -> None:
    image = image_of("DHWC", 4, 8, 6, 3, spacing=(3.0, 1.0, 2.0), affine=AFFINE, unit="HU")
    anomaly_map = map_volume(np.zeros((4, 8, 6), np.float32), image)
    assert (anomaly_map.axes, anomaly_map.spacing, anomaly_map.unit) == ("DHW", image.spacing, None)
    np.testing.assert_array_equal(anomaly_map.affine, AFFINE)


@pytest.mark.parametrize("name", ["map.nii", "map.nii.gz"])
@pytest.mark.parametrize(("axes", "shape"), [("DHW", (4, 5, 6)), ("TDHW", (3, 4, 5, 6)), ("HW", (5, 6))])
def test_every_voxel_lies_where_the_affine_says(tmp_path: Path, name: str, axes: str, shape: tuple[int, ...]) -> None:
    image = image_of(axes, *shape, affine=AFFINE)
    save_nifti(image, tmp_path / name)
    stored = nibabel.load(tmp_path / name)
    assert stored.get_data_dtype() == np.float32
    values = np.asarray(stored.dataobj)
    pixels = image.pixels[None] if axes == "HW" else image.pixels
    for index in np.ndindex(pixels.shape[-3:]):
        k, j, i = index
        np.testing.assert_array_equal(values[i, j, k], pixels[..., k, j, i])
        np.testing.assert_allclose(stored.affine @ (i, j, k, 1), AFFINE @ (k, j, i, 1), atol=1e-4)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_without_an_affine_the_spacing_is_kept(tmp_path: Path) -> None:
    save_nifti(image_of("DHW", 4, 5, 6, spacing=(3.0, 1.0, 2.0)), tmp_path / "a.nii")
    stored = nibabel.load(tmp_path / "a.nii")
    assert stored.header.get_zooms() == (2.0, 1.0, 3.0)
    assert (int(stored.header["sform_code"]), int(stored.header["qform_code"])) == (0, 0)
    save_nifti(image_of("TDHW", 2, 4, 5, 6, spacing=(3.0, 1.0, 2.0)), tmp_path / "a.nii")
    assert nibabel.load(tmp_path / "a.nii").header.get_zooms() == (2.0, 1.0, 3.0, 1.0)
    save_nifti(image_of("HW", 5, 6, spacing=(1.0, 2.0)), tmp_path / "a.nii")
    assert nibabel.load(tmp_path / "a.nii").header.get_zooms() == (2.0, 1.0, 1.0)


def test_our_own_reader_finds_it_in_the_same_place(tmp_path: Path) -> None:
    from unremarkable.imaging.read import read_image

    image = image_of("DHW", 4, 5, 6, affine=AFFINE)
    save_nifti(image, tmp_path / "a.nii.gz")
    back = read_image(tmp_path / "a.nii.gz")
    assert back.affine is not None
    # The reader may order the axes anew; each of its voxels must be the one that lies at the same place here.
    for index in np.ndindex(back.pixels.shape):
        place = back.affine @ (*index, 1)
        here = np.round(np.linalg.solve(AFFINE, place)[:3]).astype(int)
        assert back.pixels[index] == image.pixels[tuple(here)]


def test_same_map_same_bytes(tmp_path: Path) -> None:
    image = image_of("DHW", 4, 5, 6, affine=AFFINE)
    save_nifti(image, tmp_path / "a.nii.gz")
    first = (tmp_path / "a.nii.gz").read_bytes()
    save_nifti(image, tmp_path / "a.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == first


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    image = image_of("DHW", 4, 5, 6)
    with pytest.raises(UsageError, match=r"\.nii or \.nii\.gz"):
        save_nifti(image, tmp_path / "a.img")
    with pytest.raises(UsageError, match="colour"):
        save_nifti(image_of("HWC", 4, 5, 3), tmp_path / "a.nii")
    with pytest.raises(UsageError, match="cannot be written"):
        save_nifti(image, tmp_path / "absent" / "a.nii")
