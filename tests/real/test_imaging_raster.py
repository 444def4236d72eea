"""Raster readers, Preprocess and the way back of maps, on published images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from unremarkable.imaging.preprocess import Preprocess
from unremarkable.imaging.read import image_kind, read_image
from unremarkable.imaging.volume import map_volume, restore, save_nifti

SETS = ("brain-tumor-mri", "busi", "chest-xray-pneumonia", "covid19-xray")


def sample(folder: Path, count: int = 60) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return files[:: max(1, len(files) // count)]


@pytest.mark.parametrize("name", SETS)
def test_values_are_those_of_pillow(real_data: Path, name: str) -> None:
    for path in sample(real_data / name):
        image = read_image(path)
        with Picture.open(path) as picture:
            np.testing.assert_array_equal(image.pixels, np.asarray(picture))
        assert image.bits == (1 if "_mask" in path.name else 8)


@pytest.mark.parametrize("name", SETS)
def test_they_are_planned_as_grey_8_bit_and_become_input(real_data: Path, name: str) -> None:
    images = [read_image(path) for path in sample(real_data / name) if "_mask" not in path.name]
    preprocess, _ = Preprocess.plan(images, size=(96, 80), fit="pad")
    assert (preprocess.intensity, preprocess.channels) == ("dtype", 1)
    for image in images:
        inputs = preprocess(image)
        assert inputs.shape == (1, 1, 96, 80)
        assert 0 <= inputs.min() < inputs.max() <= 1
        assert restore(inputs[:, 0], image, preprocess).shape == image.pixels.shape[:2]


def test_grey_and_colour_files_of_one_scan_give_one_input(real_data: Path) -> None:
    """Half of the brain set is stored as colour with equal channels; the input must not tell."""
    preprocess = Preprocess(size=(64, 64))
    for path in sample(real_data / "brain-tumor-mri"):
        image = read_image(path)
        if image.axes == "HWC":
            with Picture.open(path) as picture:
                grey = np.asarray(picture)[..., 0]
            colour = preprocess(image)
            as_grey = preprocess(type(image)(grey, "HW", image.source, bits=8))
            np.testing.assert_allclose(colour, as_grey, atol=0.02)


def test_dicom_and_nifti_are_known_without_their_names(real_data: Path) -> None:
    for folder, kind in (("dicom", "DICOM"), ("nifti", "NIfTI")):
        kinds = {path: image_kind(path) for path in (real_data / folder).rglob("*") if path.is_file()}
        others = [path.name for path, found in kinds.items() if found != kind and path.suffix not in (".txt", ".md")]
        assert kinds
        assert not others


@pytest.mark.parametrize("name", ["dicom/ct-head-ge", "nifti/MR_Gd.nii.gz", "nifti/pcasl.nii.gz"])
def test_a_map_lies_on_the_volume_it_came_from(real_data: Path, tmp_path: Path, name: str) -> None:
    if not (real_data / name).exists():
        pytest.skip(f"no {name} among the real images")
    volume = read_image(real_data / name)
    preprocess, _ = Preprocess.plan([volume], size=(96, 96), fit="pad")
    anomaly_map = map_volume(restore(preprocess(volume)[:, 0], volume, preprocess), volume)
    save_nifti(anomaly_map, tmp_path / "map.nii.gz")
    back = read_image(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(back.pixels, anomaly_map.pixels)
    assert back.affine is not None
    assert volume.affine is not None
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-3)
