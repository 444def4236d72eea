"""The public sets, recognised without flags, with the counts that their README gives."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from unremarkable.datasets.audit import audit
from unremarkable.datasets.cache import pack
from unremarkable.datasets.case import Dataset
from unremarkable.datasets.duplicates import exact_groups
from unremarkable.datasets.find import find_dataset
from unremarkable.datasets.load import digest, load_case
from unremarkable.errors import UsageError
from unremarkable.imaging.preprocess import Preprocess


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("brain-tumor-mri", {("train", 0): 1595, ("train", 1): 4117, ("test", 0): 405, ("test", 1): 906}),
        ("chest-xray-pneumonia", {("train", 0): 1341, ("train", 1): 3875, ("test", 0): 234, ("test", 1): 390}),
        ("covid19-xray", {("train", 0): 70, ("train", 1): 181, ("test", 0): 20, ("test", 1): 46}),
        ("busi", {(None, 0): 133, (None, 1): 647}),
        (
            "pneumoniamnist_28.npz",
            {("train", 0): 1214, ("train", 1): 3494, ("val", 0): 135}
            | {("val", 1): 389, ("test", 0): 234, ("test", 1): 390},
        ),
    ],
)  # fmt: skip
def test_recognised(real_data: Path, name: str, counts: dict[tuple[str | None, int], int]) -> None:
    found = find_dataset(real_data / name)
    assert Counter((case.split, case.label) for case in found) == counts
    assert found.skipped == ()


def test_every_busi_image_has_its_masks(real_data: Path) -> None:
    found = find_dataset(real_data / "busi")
    assert all(case.masks for case in found)
    assert sum(len(case.masks) for case in found) == 133 + 454 + 211
    for case in found.cases[::97]:
        stem = Path(case.path).stem
        assert all(Path(mask).stem.startswith(f"{stem}_mask") for mask in case.masks)


def test_volumes_are_cases(real_data: Path) -> None:
    (head,) = find_dataset(real_data / "dicom" / "ct-head-ge").cases
    assert Path(head.path).name == "ct-head-ge"
    assert load_case(head).pixels.shape[0] == 28
    assert len(find_dataset(real_data / "nifti")) == 5
    with pytest.raises(UsageError, match="holds no image that can be scored") as error:
        find_dataset(real_data / "dicom" / "not-a-volume")
    assert "\n" not in str(error.value)


def test_audit_finds_the_known_faults_of_the_brain_set(real_data: Path) -> None:
    """All byte-identical files take hashing alone; the images themselves are looked at in the test split."""
    found = find_dataset(real_data / "brain-tumor-mri")
    groups = exact_groups(found.cases, [digest(case) for case in found])
    assert (len(groups), sum(group.across_splits for group in groups)) == (300, 189)

    tested = audit(Dataset("test split", found.root, found.select(split="test"), found.layout))
    assert tested.shortcuts["colour"] == pytest.approx(0.85, abs=0.02)
    assert any("shortcuts separate normal from abnormal" in line for line in tested.warnings)


def test_pack_of_a_packed_set(real_data: Path, tmp_path: Path) -> None:
    cases = find_dataset(real_data / "pneumoniamnist_28.npz").select(split="val")
    packed = pack(cases, Preprocess(size=(28, 28), intensity="dtype"), folder=tmp_path)
    with np.load(real_data / "pneumoniamnist_28.npz") as arrays:
        np.testing.assert_allclose(packed.images[:, 0], arrays["val_images"] / np.float32(255), atol=1e-6)
