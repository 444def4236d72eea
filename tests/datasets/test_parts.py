"""Slices of volumes and windows of pictures as cases of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unremarkable.datasets import parts
from unremarkable.datasets.audit import audit
from unremarkable.datasets.case import Case, Dataset
from unremarkable.datasets.find import find_dataset
from unremarkable.datasets.load import digest, load_case
from unremarkable.datasets.parts import is_part, load_part, slice_of, window_of
from unremarkable.errors import InputError


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    values = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30) * 100
    Image.fromarray(values).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    np.save(tmp_path / "v.npy", np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6))
    return tmp_path / "v.npy"


def test_a_window_is_exact(picture: Path) -> None:
    path = window_of(picture, 3, 4, 10, 5)
    image = load_part(path)
    np.testing.assert_array_equal(image.pixels, np.asarray(Image.open(picture))[4:9, 3:13])
    assert (image.axes, image.bits, image.source) == ("HW", 16, path)
    assert digest(Case(path)) != digest(Case(window_of(picture, 4, 4, 10, 5)))
    (case,) = find_dataset(path).cases
    np.testing.assert_array_equal(load_case(case).pixels, image.pixels)


def test_a_colour_window_keeps_its_colours(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "c.png")
    image = load_part(window_of(tmp_path / "c.png", 0, 0, 9, 2))
    assert image.axes == "HWC"
    np.testing.assert_array_equal(image.pixels, values[:2])


def test_a_slice(volume: Path) -> None:
    image = load_part(slice_of(volume, 2))
    np.testing.assert_array_equal(image.pixels, np.load(volume)[2])
    assert image.axes == "HW"


def test_neighbours_share_one_reading(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unremarkable.imaging import read

    times = []
    monkeypatch.setattr(read, "read_image", lambda path, real=read.read_image: times.append(path) or real(path))
    monkeypatch.setattr(parts, "_open", type(parts._open)())
    for index in range(4):
        load_part(slice_of(volume, index))
    assert len(times) == 1


@pytest.mark.parametrize("part", ["#slice/4", "#slice/99999", "#window/0,0,2,2"])
def test_a_part_that_is_not_there(volume: Path, part: str) -> None:
    with pytest.raises(InputError, match=r"no slice|not inside the file"):
        load_part(f"{volume}{part}")


@pytest.mark.parametrize("part", ["#window/25,0,10,10", "#window/0,15,10,10", "#window/0,0,0,5", "#slice/0"])
def test_a_window_must_lie_inside(picture: Path, part: str) -> None:
    with pytest.raises(InputError, match=r"no slice|not inside the file"):
        load_part(f"{picture}{part}")


def test_paths_that_are_no_parts(tmp_path: Path, picture: Path) -> None:
    odd = tmp_path / "scan#slice"
    odd.mkdir()
    (odd / "3").write_bytes(picture.read_bytes())
    assert not is_part(str(odd / "3"))  # a real file
    assert load_case(Case(str(odd / "3"))).pixels.shape == (20, 30)
    assert not is_part(f"{picture}#window/1,2,3")
    assert not is_part(str(picture))
    with pytest.raises(InputError, match="no such file"):
        load_part(slice_of(tmp_path / "gone.npy", 1))
    with pytest.raises(InputError, match="not of the form"):
        load_part(str(picture))


def test_an_audit_looks_at_parts(picture: Path) -> None:
    cases = tuple(Case(window_of(picture, x, 0, 10, 10), x // 10) for x in (0, 10))
    result = audit(Dataset("patches", picture.parent, cases, "catalogue"))
    assert result.unreadable == ()
    assert result.rows[0].file_types == {"PNG": 1}
    assert result.rows[0].sizes == {"10×10": 1}
