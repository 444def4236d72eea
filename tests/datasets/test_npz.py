"""Packed sets in the MedMNIST form."""

from pathlib import Path

import numpy as np
import pytest

from unremarkable.datasets import npz
from unremarkable.datasets.case import Case
from unremarkable.datasets.find import find_dataset
from unremarkable.datasets.folders import Labeller
from unremarkable.datasets.load import digest, load_case
from unremarkable.datasets.npz import read_npz
from unremarkable.errors import InputError, UsageError


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez_compressed(
        tmp_path / "set.npz",
        train_images=rng.integers(0, 255, (3, 8, 6), np.uint8),
        train_labels=np.array([[0], [1], [2]]),
        test_images=rng.integers(0, 255, (2, 8, 6, 3), np.uint8),
        test_labels=np.array([1, 0]),
    )
    return tmp_path / "set.npz"


def test_cases_labels_and_pixels(packed: Path) -> None:
    found = find_dataset(packed)
    assert [(case.split, case.label, case.finding) for case in found] == [
        ("train", 0, "0"), ("train", 1, "1"), ("train", 1, "2"), ("test", 1, "1"), ("test", 0, "0"),
    ]  # fmt: skip
    with np.load(packed) as arrays:
        image = load_case(found.cases[1])
        np.testing.assert_array_equal(image.pixels, arrays["train_images"][1])
        assert (image.axes, image.bits, load_case(found.cases[3]).axes) == ("HW", 8, "HWC")
    assert len({digest(case) for case in found}) == 5


def test_flags(packed: Path) -> None:
    assert [case.label for case in read_npz(packed, labeller=Labeller(normal=("1",)))] == [1, 0, 1, 0, 1]
    found = read_npz(packed, labeller=Labeller(abnormal=("2",)))
    assert [case.label for case in found] == [0, 1, 0]
    assert "2 images" in found.notes[0]


def test_several_findings_and_volumes(tmp_path: Path) -> None:
    labels = np.array([[0, 0, 0], [1, 0, 1]])
    np.savez(tmp_path / "multi.npz", images=np.zeros((2, 5, 8, 8), np.uint16), labels=labels)
    found = read_npz(tmp_path / "multi.npz")
    assert [(case.label, case.finding, case.split) for case in found] == [
        (0, "normal", None),
        (1, "findings 0+2", None),
    ]
    assert load_case(found.cases[0]).axes == "DHW"


def test_only_normals_and_no_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train_images=np.zeros((2, 4, 4)), train_labels=np.zeros((2, 1), int))
    np.savez(tmp_path / "b.npz", train_images=np.zeros((2, 4, 4)))
    assert [case.label for case in read_npz(tmp_path / "a.npz")] == [0, 0]
    assert [case.label for case in read_npz(tmp_path / "b.npz")] == [None, None]


def test_the_array_is_read_once(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    whole = npz.npy.read_array
    monkeypatch.setattr(npz.npy, "read_array", lambda *a, **k: (reads.append(1), whole(*a, **k))[1])
    for index in range(3):
        load_case(Case(f"{packed}#train_images/{index}"))
    assert len(reads) == 1


def test_faults(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, reason in (("#train_images/9", "3 images"), ("#val_images/0", "no array 'val_images'")):
        with pytest.raises(InputError, match=reason):
            load_case(Case(f"{packed}{path}"))
    (tmp_path / "broken.npz").write_bytes(packed.read_bytes()[:200])
    with pytest.raises(UsageError, match="cannot be read as NPZ"):
        read_npz(tmp_path / "broken.npz")
    np.savez(tmp_path / "other.npz", pictures=np.zeros(3))
    with pytest.raises(UsageError, match="arrays: pictures"):
        read_npz(tmp_path / "other.npz")
    np.savez(tmp_path / "short.npz", train_images=np.zeros((3, 4, 4)), train_labels=np.zeros(2, int))
    with pytest.raises(UsageError, match="not class numbers of the 3"):
        read_npz(tmp_path / "short.npz")
    np.savez(tmp_path / "pickle.npz", train_images=np.array([{"a": 1}], object))
    with pytest.raises(UsageError, match="Python objects"):
        read_npz(tmp_path / "pickle.npz")
    monkeypatch.setattr(npz, "MEMORY_SHARE", 1e-12)
    with pytest.raises(InputError, match="does not fit in half"):
        load_case(Case(f"{packed}#test_images/0"))


def test_a_header_that_lies_is_refused_before_allocating(tmp_path: Path) -> None:
    import zipfile

    from numpy.lib import format as npy

    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive, archive.open("train_images.npy", "w") as stream:
        npy.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**4, 10**4)})
        stream.write(b"\0" * 100)
    with pytest.raises(UsageError, match=r"declares shape .* but has 100 bytes"):
        read_npz(tmp_path / "bomb.npz")
