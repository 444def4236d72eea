"""The whole path on real images: radiographs, a DICOM volume, a NIfTI volume, and files that are no volumes."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from unremarkable import Detector, UsageError
from unremarkable.datasets.find import find_dataset
from unremarkable.evaluation.evaluation import evaluate
from unremarkable.imaging.read import read_image


@pytest.fixture(scope="module")
def covid(real_data: Path) -> Detector:
    return Detector("knn", size=128).fit(real_data / "covid19-xray")


def test_radiographs(covid: Detector, real_data: Path) -> None:
    """A tenth of the published images at half the size: enough to tell a broken path from a working one."""
    cases = find_dataset(real_data / "covid19-xray").select(split="test")
    rows = list(covid.stream(cases))
    assert len(rows) == 66
    found = evaluate([row.score for row in rows], [row.case.label for row in rows], replicates=0)
    assert found.metrics["auroc"].value > 0.9


def test_a_tilted_ct_series_is_one_case_and_its_map_has_its_geometry(
    covid: Detector, real_data: Path, tmp_path: Path
) -> None:
    folder = real_data / "dicom" / "ct-head-ge"
    scores = covid.score(folder)
    assert [len(row.slice_scores) for row in scores] == [28]
    scores.save(tmp_path / "out")
    written = nibabel.load(next((tmp_path / "out" / "maps").glob("*.nii.gz")))
    original = read_image(folder)
    assert written.shape == original.pixels.shape[::-1]
    corner = original.affine @ [27, 511, 511, 1]
    np.testing.assert_allclose(written.affine @ [511, 511, 27, 1], corner, atol=1e-3)


def test_a_nifti_volume_keeps_its_own_grid(covid: Detector, real_data: Path, tmp_path: Path) -> None:
    file = real_data / "nifti" / "chris_PD.nii.gz"
    scores = covid.score(file)
    assert len(scores) == 1, scores.failures
    scores.save(tmp_path / "out")
    written, original = nibabel.load(next((tmp_path / "out" / "maps").glob("*.nii.gz"))), nibabel.load(file)
    assert written.shape == original.shape
    np.testing.assert_allclose(written.affine, original.affine, atol=1e-4)


def test_what_is_no_volume_is_left_out_with_the_reason(real_data: Path) -> None:
    assert len(find_dataset(real_data / "dicom" / "ct-head-ge")) == 1
    with pytest.raises(UsageError, match="not-a-volume"):
        find_dataset(real_data / "dicom" / "not-a-volume")
