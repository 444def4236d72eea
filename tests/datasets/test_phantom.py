"""Simulated slices: deterministic, marked as simulated, and not told apart by trivial means."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unremarkable.datasets.audit import auroc
from unremarkable.datasets.find import find_dataset
from unremarkable.datasets.load import load_case
from unremarkable.datasets.phantom import make_phantom, make_phantom_dataset
from unremarkable.errors import UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom_dataset(
        tmp_path_factory.mktemp("phantom") / "heads", n_train=4, n_test_normal=3, n_test_abnormal=5, size=64
    )


def test_layout_is_recognised(folder: Path) -> None:
    found = find_dataset(folder)
    assert [len(found.select(split=s, label=lab)) for s, lab in (("train", 0), ("test", 0), ("test", 1))] == [4, 3, 5]
    assert all(len(case.masks) == (case.label == 1) for case in found)
    assert [Path(path).name for path, _ in found.skipped] == ["README.txt"]


def test_everything_says_simulated(folder: Path) -> None:
    assert "simulated" in (folder / "README.txt").read_text()
    for path in folder.rglob("*.png"):
        assert path.name.startswith("simulated_")
        with Image.open(path) as file:
            assert "simulated" in file.text["Description"]


def test_pixels_are_12_of_16_bits_and_masks_fit(folder: Path) -> None:
    for case in find_dataset(folder):
        image = load_case(case)
        assert (image.pixels.dtype, image.pixels.shape, image.bits) == (np.uint16, (64, 64), 12)
        assert 1500 < image.pixels.max() <= 4095
        if case.masks:
            mask = np.asarray(Image.open(case.masks[0])) > 0
            assert mask.shape == (64, 64)
            assert 4 < mask.sum() < 800


def test_same_seed_same_files(folder: Path, tmp_path: Path) -> None:
    again = make_phantom_dataset(tmp_path / "a", n_train=6, n_test_normal=0, n_test_abnormal=2, size=64)
    other = make_phantom_dataset(tmp_path / "b", n_train=1, n_test_normal=0, n_test_abnormal=0, size=64, seed=1)
    for name in ("train/normal/simulated_normal_0003.png", "test/lesion/simulated_lesion_0001.png"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    name = "train/normal/simulated_normal_0000.png"
    assert (other / name).read_bytes() != (folder / name).read_bytes()


def test_trivial_descriptors_do_not_give_lesions_away() -> None:
    slices = [make_phantom(np.random.default_rng((7, n)), 64, lesion=n >= 60).pixels for n in range(120)]
    labels = [int(n >= 60) for n in range(120)]
    for name, value in (("mean", np.mean), ("std", np.std), ("max", np.max), ("border", lambda p: p[:4].mean())):
        assert auroc([float(value(pixels)) for pixels in slices], labels) < 0.7, name


def test_a_lesion_changes_the_picture_in_its_mask() -> None:
    contrast = []
    for seed in range(12):
        phantom = make_phantom(np.random.default_rng(seed), 96, lesion=True)
        from scipy.ndimage import binary_dilation

        around = binary_dilation(phantom.mask, iterations=4) & ~binary_dilation(phantom.mask, iterations=1)
        contrast.append(abs(float(phantom.pixels[phantom.mask].mean()) - float(phantom.pixels[around].mean())))
    assert np.median(contrast) > 150


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        make_phantom_dataset(tmp_path, n_train=1)
    with pytest.raises(UsageError, match="cannot be written"):
        make_phantom_dataset(tmp_path / "thesis.doc" / "x", n_train=1)
