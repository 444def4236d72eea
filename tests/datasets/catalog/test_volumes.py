"""BraTS and IXI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unremarkable.datasets.catalog.registry import find_entry
from unremarkable.datasets.load import digest, load_case
from unremarkable.datasets.manifest import read_manifest, write_manifest
from unremarkable.datasets.masks import load_mask

DEPTH = 64


@pytest.fixture
def brats(tree: Any) -> Path:
    """Two patients of 64 slices; the first has a tumour in slices 61 and 62 (and 3, which is not looked at)."""
    rng = np.random.default_rng(0)
    seg = np.zeros((10, 8, DEPTH), np.uint8)
    seg[2:5, 1:3, 61:63] = 4
    seg[0, 0, 3] = 1
    files: dict[str, Any] = {}
    for name, mask in (("BraTS2021_00000", seg), ("BraTS2021_00002", np.zeros_like(seg))):
        files[f"data/{name}/{name}_flair.nii.gz"] = rng.integers(0, 900, seg.shape).astype(np.int16)
        files[f"data/{name}/{name}_t1.nii.gz"] = np.zeros(seg.shape, np.int16)
        files[f"data/{name}/{name}_seg.nii.gz"] = mask
    files["data/BraTS2021_00009/BraTS2021_00009_flair.nii.gz"] = np.zeros(seg.shape, np.int16)
    return Path(tree(files))


def test_brats_volumes(brats: Path) -> None:
    dataset = find_entry("brats").read(brats)
    assert [(case.label, case.patient, len(case.masks)) for case in dataset] == [
        (1, "BraTS2021_00000", 1),
        (1, "BraTS2021_00002", 1),
    ]
    assert all(case.path.endswith("_flair.nii.gz") for case in dataset)
    assert [reason for _, reason in dataset.skipped] == ["has no segmentation"]


def test_brats_slices_are_those_of_the_volume(brats: Path, tmp_path: Path) -> None:
    dataset = find_entry("brats-slices").read(brats)
    first = [case for case in dataset if case.patient == "BraTS2021_00000"]
    assert [(case.extra["slice"], case.label) for case in first] == [(60, 0), (61, 1), (62, 1), (63, 0)]
    assert all(case.label == 0 for case in dataset if case.patient == "BraTS2021_00002")
    volume = load_case(find_entry("brats").read(brats).cases[0])
    image = load_case(first[1])
    np.testing.assert_array_equal(image.pixels, volume.pixels[61])
    assert (image.axes, image.spacing) == ("HW", (1.0, 1.0))
    mask = load_mask(first[1], image)
    assert mask is not None
    assert mask.sum() == 3 * 2
    assert len({digest(case) for case in first}) == 4

    write_manifest(dataset, tmp_path / "slices.csv")
    again = read_manifest(tmp_path / "slices.csv")
    assert [(case.path, case.masks, case.label) for case in again] == [(c.path, c.masks, c.label) for c in dataset]


def test_a_broken_segmentation_is_left_out(brats: Path) -> None:
    path = brats / "data/BraTS2021_00002/BraTS2021_00002_seg.nii.gz"
    path.write_bytes(path.read_bytes()[:40])
    dataset = find_entry("brats-slices").read(brats)
    assert {case.patient for case in dataset} == {"BraTS2021_00000"}
    assert any(str(path) in where for where, _ in dataset.skipped)


def test_brats_2023_names(tree: Any, read: Any) -> None:
    name = "BraTS-GLI-00000-000"
    tree({f"{name}/{name}-{kind}.nii.gz": np.zeros((4, 4, 3), np.uint8) for kind in ("t2f", "t1c", "seg")})
    (case,) = read("brats").values()
    assert case.path.endswith("-t2f.nii.gz")
    assert case.masks[0].endswith("-seg.nii.gz")


def test_ixi_takes_t1(tree: Any, tmp_path: Path) -> None:
    volume = np.zeros((4, 4, 3), np.uint8)
    names = ["IXI002-Guys-0828-T1", "IXI012-HH-1211-T1", "IXI012-HH-1211-T2"]
    tree({f"IXI-T1/{name}.nii.gz": volume for name in names})
    dataset = find_entry("ixi").read(tmp_path)
    assert [(case.patient, case.label, case.extra) for case in dataset] == [
        ("IXI002", 0, {"site": "Guys"}),
        ("IXI012", 0, {"site": "HH"}),
    ]
    assert dataset.notes == ("1 volumes of other sequences than T1 are left out",)
