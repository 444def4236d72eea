"""The NIfTI reader on real files, with nibabel as the oracle."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from unremarkable.imaging.nifti import read_nifti


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    return real_data / "nifti"


@pytest.mark.parametrize(
    ("name", "axes", "shape", "dtype"),
    [
        ("chris_t1", "DHW", (190, 256, 188), np.uint8),
        ("chris_PD", "DHW", (54, 256, 191), np.uint8),
        ("CT_pitch", "DHW", (58, 248, 175), np.uint8),
        ("MR_Gd", "DHW", (144, 188, 176), np.float32),
        ("pcasl", "TDHW", (10, 20, 68, 52), np.float32),
    ],
)
def test_values_and_places_are_nibabels(folder, name, axes, shape, dtype) -> None:
    path = folder / f"{name}.nii.gz"
    image, theirs = read_nifti(path), nib.load(path)
    assert (image.axes, image.pixels.shape, image.pixels.dtype) == (axes, shape, dtype)
    values = np.asanyarray(theirs.dataobj)
    values = values if values.ndim == 4 else values[..., None]
    ours = image.pixels if axes == "TDHW" else image.pixels[None]
    assert len(np.unique(ours)) == len(np.unique(values))
    rng = np.random.default_rng(0)
    index = np.stack([rng.integers(0, side, 2000) for side in shape[-3:]], axis=1)
    world = nib.affines.apply_affine(image.affine, index)
    voxel = np.rint(nib.affines.apply_affine(np.linalg.inv(theirs.affine), world)).astype(int)
    np.testing.assert_allclose(ours[:, *index.T].T, values[tuple(voxel.T)], rtol=1e-6)
    assert image.spacing == pytest.approx(theirs.header.get_zooms()[:3][::-1], rel=1e-4)


def test_gantry_pitch_stays_in_the_affine(folder) -> None:
    image = read_nifti(folder / "CT_pitch.nii.gz")
    assert image.affine is not None
    step = image.affine[:3, 0] / np.linalg.norm(image.affine[:3, 0])
    assert np.degrees(np.arcsin(step[1])) == pytest.approx(16.5, abs=0.2)
