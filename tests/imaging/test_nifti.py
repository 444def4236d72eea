from __future__ import annotations

import gzip
import itertools
import random
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from unremarkable.errors import InputError
from unremarkable.imaging.nifti import read_nifti


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = None, kind=nib.Nifti1Image, **header) -> Path:
    image = kind(values, np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_nifti(path)
    assert "\n" not in caught.value.reason
    return caught.value.reason


def ramp(shape: tuple[int, ...] = (3, 4, 5), dtype: type = np.int16) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def same_places(path: Path) -> None:
    """Every voxel of our array has the value that nibabel has at the same point of the patient."""
    ours, theirs = read_nifti(path), nib.load(path)
    values = np.asanyarray(theirs.dataobj)
    index = np.stack(np.meshgrid(*map(np.arange, ours.pixels.shape), indexing="ij"), -1).reshape(-1, 3)
    world = nib.affines.apply_affine(ours.affine, index)
    voxel = np.rint(nib.affines.apply_affine(np.linalg.inv(theirs.affine), world)).astype(int)
    np.testing.assert_array_equal(ours.pixels[tuple(index.T)], values[tuple(voxel.T)])


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASR", "PIR", "SRA", "IPL"])
def test_every_orientation_is_turned_upright_and_stays_in_place(tmp_path, codes) -> None:
    turn = nib.orientations.axcodes2ornt(tuple(codes))
    affine = np.diag([2.0, 3.0, 4.0, 1.0]) @ nib.orientations.inv_ornt_aff(turn, (3, 4, 5))
    rotation = nib.eulerangles.euler2mat(0.1, 0.05, -0.1)
    affine[:3, :3] = rotation @ affine[:3, :3]
    affine[:3, 3] = (-20, 7, 3)
    path = save(tmp_path / "a.nii.gz", ramp(), affine)
    same_places(path)
    image = read_nifti(path)
    stored = "".join(nib.aff2axcodes(affine))
    assert image.metadata["stored_orientation"] == stored
    expected = {"S": "SPL", "I": "SPL", "A": "PIL", "P": "PIL", "R": "RIP", "L": "RIP"}[stored[2]]
    assert "".join(nib.aff2axcodes(image.affine)) == image.metadata["orientation"] == expected
    assert image.pixels.shape[0] == 5


def test_all_48_axis_orders_stay_in_place(tmp_path) -> None:
    for axes, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[list(axes)] * signs
        same_places(save(tmp_path / "a.nii", ramp((2, 3, 4)), affine))


def test_spacing_follows_the_axes(tmp_path) -> None:
    image = read_nifti(save(tmp_path / "a.nii", ramp()))
    assert image.spacing == (4.0, 3.0, 2.0)
    assert (image.axes, image.bits, image.pixels.dtype) == ("DHW", 16, np.dtype(np.int16))


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"), [(1, 0, np.int16), (2, -100, np.int16), (1, 40000, np.uint16)]
)
def test_whole_number_scaling_stays_integer(tmp_path, slope, intercept, dtype) -> None:
    path = save(tmp_path / "a.nii", ramp())
    patched = bytearray(path.read_bytes())
    patched[112:120] = np.array([slope, intercept], "<f4").tobytes()
    path.write_bytes(patched)
    image = read_nifti(path)
    assert image.pixels.dtype == dtype
    np.testing.assert_array_equal(np.sort(image.pixels.ravel()), np.arange(60) * slope + intercept)


def test_fractional_scaling_agrees_with_nibabel(tmp_path) -> None:
    path = save(tmp_path / "a.nii", ramp((20, 30, 40)))
    patched = bytearray(path.read_bytes())
    patched[112:120] = np.array([0.37, -5.5], "<f4").tobytes()
    path.write_bytes(patched)
    image = read_nifti(path)
    assert image.pixels.dtype == np.float32
    assert len(np.unique(image.pixels)) == 24000
    theirs = nib.load(path).get_fdata()
    np.testing.assert_allclose(np.sort(image.pixels.ravel()), np.sort(theirs.ravel()), rtol=1e-6)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image, nib.Nifti1Pair])
def test_versions_pairs_and_byte_orders(tmp_path, kind) -> None:
    path = save(tmp_path / ("a.img" if kind is nib.Nifti1Pair else "a.nii"), ramp(), kind=kind)
    same_places(path)
    swapped = kind(ramp(), np.eye(4), kind.header_class(endianness=">"))
    nib.save(swapped, path)
    same_places(path)
    assert read_nifti(path).pixels.dtype.isnative


def test_either_file_of_a_pair_may_be_given(tmp_path) -> None:
    save(tmp_path / "a.img", ramp(), kind=nib.Nifti1Pair)
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.hdr").pixels, read_nifti(tmp_path / "a.img").pixels)
    (tmp_path / "a.img").unlink()
    assert "whose .img file is missing" in refusal(tmp_path / "a.hdr")


def test_four_axes_are_time_points(tmp_path) -> None:
    values = ramp((3, 4, 5, 2))
    image = read_nifti(save(tmp_path / "a.nii", values))
    assert image.axes == "TDHW"
    alone = read_nifti(save(tmp_path / "b.nii", values[..., 1]))
    np.testing.assert_array_equal(image.pixels[1], alone.pixels)
    single = read_nifti(save(tmp_path / "c.nii", values[..., 1:]))
    assert single.axes == "DHW"
    np.testing.assert_array_equal(single.pixels, alone.pixels)


def test_one_slice_is_a_picture(tmp_path) -> None:
    image = read_nifti(save(tmp_path / "a.nii", ramp((3, 4, 1))))
    assert (image.axes, image.pixels.shape, image.spacing) == ("HW", (4, 3), (3.0, 2.0))


def test_rgb_voxels(tmp_path) -> None:
    colour = np.zeros((3, 4, 5), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    colour["R"], colour["B"] = ramp(dtype=np.uint8), 255
    image = read_nifti(save(tmp_path / "a.nii", colour))
    assert image.axes == "DHWC"
    grey = read_nifti(save(tmp_path / "b.nii", ramp(dtype=np.uint8)))
    np.testing.assert_array_equal(image.pixels[..., 0], grey.pixels)
    assert image.pixels[..., 2].min() == 255


def test_nan_becomes_padding(tmp_path) -> None:
    values = ramp(dtype=np.float32)
    values[0, 0, 0] = np.nan
    image = read_nifti(save(tmp_path / "a.nii", values))
    assert image.padding is not None
    assert image.padding.sum() == 1
    assert image.pixels[image.padding].tolist() == [0]
    assert image.bits is None


@pytest.mark.parametrize(("fill", "said"), [(np.nan, "all voxels are NaN"), (np.inf, "60 voxels are infinite")])
def test_no_finite_values(tmp_path, fill, said) -> None:
    assert refusal(save(tmp_path / "a.nii", np.full((3, 4, 5), fill, np.float32))) == said


def test_units_other_than_millimetres(tmp_path) -> None:
    path = save(tmp_path / "a.nii", ramp(), xyzt_units=3)
    image = read_nifti(path)
    assert image.spacing == pytest.approx((0.004, 0.003, 0.002))


def test_unknown_orientation_gives_no_affine(tmp_path) -> None:
    path = save(tmp_path / "a.nii", ramp())
    patched = bytearray(path.read_bytes())
    patched[252:256] = bytes(4)
    path.write_bytes(patched)
    image = read_nifti(path)
    assert image.affine is None
    assert image.spacing is not None
    assert image.metadata["orientation"] == "unknown"


@pytest.mark.parametrize(("values", "said"), [
    (np.zeros((3, 4, 5), np.complex64), "values of type complex64 are not supported"),
    (np.zeros((3, 4, 5, 1, 3), np.float32), "NIfTI of 5 axes"),
])  # fmt: skip
def test_what_has_no_single_reading(tmp_path, values, said) -> None:
    assert said in refusal(save(tmp_path / "a.nii", values))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated_files(tmp_path, suffix) -> None:
    path = save(tmp_path / f"a{suffix}", np.random.default_rng(0).normal(size=(10, 10, 10)).astype(np.float32))
    whole = path.read_bytes()
    for length in (0, 10, 200, 348, 352, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:length])
        assert refusal(path)


def test_a_huge_declared_size_is_refused_before_inflating(tmp_path) -> None:
    path = save(tmp_path / "a.nii", ramp())
    header = bytearray(path.read_bytes())
    header[40:56] = np.array([3, 30000, 30000, 30000, 1, 1, 1, 1], "<i2").tobytes()
    bomb = tmp_path / "b.nii.gz"
    bomb.write_bytes(gzip.compress(bytes(header) + bytes(20_000_000)))
    tracemalloc.start()
    assert "the limit is" in refusal(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_what_lies_behind_the_voxels_is_not_inflated(tmp_path) -> None:
    path = save(tmp_path / "a.nii", ramp())
    bomb = tmp_path / "b.nii.gz"
    bomb.write_bytes(gzip.compress(path.read_bytes() + bytes(30_000_000)))
    tracemalloc.start()
    np.testing.assert_array_equal(read_nifti(bomb).pixels, read_nifti(path).pixels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_damaged_headers_give_one_line(tmp_path, capfd) -> None:
    path = save(tmp_path / "a.nii", ramp())
    whole, rng, reasons = path.read_bytes(), random.Random(0), []
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 4, 16])):
            data[rng.randrange(348)] = rng.randrange(256)
        path.write_bytes(data)
        try:
            read_nifti(path)
        except InputError as error:
            reasons.append(error.reason)
    assert len(reasons) > 50
    assert not any("\n" in reason for reason in reasons)
    assert capfd.readouterr() == ("", "")
