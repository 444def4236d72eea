"""The DICOM readers on real files: test images, a tilted CT series, EPI time series, localisers and dose pages."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_color_lut, apply_modality_lut, get_decoder

from unremarkable.errors import InputError
from unremarkable.imaging.dicom import read_dicom
from unremarkable.imaging.series import read_series, scan_folder

REFUSED = {
    "emri_small_jpeg_2k_lossless_too_short.dcm": "truncated",
    "liver_deflate.dcm": "transfer syntax Deflated Image Frame Compression is not supported",
    "liver_nonbyte_aligned_deflate.dcm": "transfer syntax Deflated Image Frame Compression is not supported",
    "liver_nonbyte_aligned_rle.dcm": "its pixel data (RLE Lossless) cannot be decoded",
    "liver_rle.dcm": "its pixel data (RLE Lossless) cannot be decoded",
}
# pydicom looks big-endian palettes up in the wrong byte order, knows no functional groups, and mirrors nothing.
NO_ORACLE = ("OBXXXX1A_expb", "eCT_Supplemental", "RG1_", "RG3_", "OT-PAL-8-face")


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    return real_data / "dicom"


def pydicom_values(path: Path) -> np.ndarray:
    dataset = pydicom.dcmread(path, force=True)
    values, _ = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return apply_color_lut(values, dataset)
    return apply_modality_lut(values, dataset)


def test_every_file_decodes_like_pydicom_or_gives_one_line(folder) -> None:
    decoded, refused = [], {}
    for path in sorted((folder / "transfer-syntaxes").iterdir()):
        try:
            image = read_dicom(path)
        except InputError as error:
            refused[path.name] = error.reason
            continue
        decoded.append(path.name)
        assert json.loads(json.dumps(image.metadata)) == image.metadata
        if not path.name.startswith(NO_ORACLE):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = pydicom_values(path)
            tolerance = 0 if image.pixels.dtype.kind in "iu" else 1e-6
            np.testing.assert_allclose(image.pixels, theirs, rtol=tolerance, err_msg=path.name)
    assert len(decoded) == 74
    assert refused.keys() == REFUSED.keys()
    for name, reason in refused.items():
        assert reason.startswith(REFUSED[name])
        assert "\n" not in reason


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("693_J2KR", "693_UNCR"),
        ("MR2_J2KR", "MR2_UNCR"),
        ("US1_J2KR", "US1_UNCR"),
        ("OBXXXX1A_expb", "OBXXXX1A"),
        ("OBXXXX1A_rle_2frame", "OBXXXX1A_2frame"),
        ("gdcm-US-ALOKA-16_big", "gdcm-US-ALOKA-16"),
        ("SC_rgb_expb_16bit", "SC_rgb_16bit"),
        ("SC_rgb_expb_32bit_2frame", "SC_rgb_32bit_2frame"),
        ("color-pl", "color-px"),
        ("emri_small_RLE", "emri_small"),
        ("emri_small_big_endian", "emri_small"),
        ("emri_small_jpeg_2k_lossless", "emri_small"),
        ("emri_small_jpeg_ls_lossless", "emri_small"),
        ("JLSL_RGB_ILV0", "JLSL_RGB_ILV2"),
        ("liver_j2k", "liver"),
    ],
)
def test_lossless_forms_of_one_image_agree(folder, one, other) -> None:
    first, second = (read_dicom(folder / "transfer-syntaxes" / f"{name}.dcm") for name in (one, other))
    assert first.pixels.dtype == second.pixels.dtype
    np.testing.assert_array_equal(first.pixels, second.pixels)


def test_a_signed_ct_slice_keeps_every_value(folder) -> None:
    path = folder / "transfer-syntaxes" / "693_UNCI.dcm"
    image, dataset = read_dicom(path), pydicom.dcmread(path)
    stored = np.frombuffer(dataset.PixelData, "<i2") << 2 >> 2
    assert (image.unit, image.pixels.dtype) == ("HU", np.dtype(np.int16))
    assert len(np.unique(image.pixels)) == len(np.unique(stored)) > 3000
    np.testing.assert_array_equal(image.pixels.ravel(), stored - 1024)


def test_overlays_in_unused_bits_do_not_show(folder) -> None:
    image = read_dicom(folder / "transfer-syntaxes" / "MR-SIEMENS-DICOM-WithOverlays.dcm")
    assert image.bits == 12
    assert image.pixels.max() < 4096


def test_enhanced_ct_frames_are_rescaled_and_sorted(folder) -> None:
    path = folder / "transfer-syntaxes" / "eCT_Supplemental.dcm"
    image = read_dicom(path)
    stored = pydicom.dcmread(path).pixel_array.astype(int)
    np.testing.assert_array_equal(image.pixels, stored[::-1] - 1024)
    assert image.unit is None  # RescaleType US: relative cerebral blood flow, not Hounsfield units
    assert image.spacing is not None
    assert image.spacing[0] == pytest.approx(10)


def test_monochrome1_radiographs_are_mirrored(folder) -> None:
    path = folder / "transfer-syntaxes" / "RG3_J2KR.dcm"
    image = read_dicom(path)
    np.testing.assert_array_equal(image.pixels, 1023 - pydicom.dcmread(path).pixel_array)


def test_the_tilted_head_ct_is_one_volume(folder) -> None:
    head = folder / "ct-head-ge"
    image = read_series(head)
    assert (image.axes, image.pixels.shape, image.pixels.dtype) == ("DHW", (28, 512, 512), np.dtype(np.int16))
    assert image.unit == "HU"
    assert image.metadata["spacing_uniform"] is False
    assert image.metadata["gantry_tilt_degrees"] == pytest.approx(18.5, abs=0.01)
    assert image.metadata["gantry_tilt_tag"] == 18.5
    steps = np.diff(image.metadata["slice_positions"])
    np.testing.assert_allclose(steps, [4.0] * 13 + [1.08] + [7.0] * 13, atol=0.005)
    datasets = sorted((pydicom.dcmread(p) for p in head.iterdir()), key=lambda d: d.ImagePositionPatient[2])
    for values, dataset in zip(image.pixels, datasets, strict=True):
        np.testing.assert_array_equal(values, apply_modality_lut(dataset.pixel_array, dataset))
    assert image.affine is not None
    for slice_index, dataset in ((0, datasets[0]), (27, datasets[-1])):
        x, y, z = dataset.ImagePositionPatient
        np.testing.assert_allclose(image.affine @ [slice_index, 0, 0, 1], [-x, -y, z, 1], atol=1e-6)


@pytest.mark.parametrize("missing", ["07", "14", "15", "20"])
def test_a_slice_taken_out_of_the_head_ct_is_missed(folder, tmp_path, missing) -> None:
    for path in (folder / "ct-head-ge").iterdir():
        if path.stem != missing:
            shutil.copy(path, tmp_path)
    with pytest.raises(InputError, match="a slice is missing between"):
        read_series(tmp_path)


def test_the_ge_epi_is_a_time_series(folder) -> None:
    where = folder / "mr-epi" / "20180918GE" / "mr_0004"
    image = read_series(where)
    assert (image.axes, image.pixels.shape) == ("TDHW", (10, 15, 64, 64))
    files = sorted(where.glob("*.dcm"))
    for time, depth in ((0, 0), (0, 14), (3, 7), (9, 14)):
        oracle = pydicom.dcmread(files[time * 15 + depth]).pixel_array
        np.testing.assert_array_equal(image.pixels[time, depth], oracle)


@pytest.mark.parametrize("series", ["mr_0003", "mr_0004", "mr_0005", "mr_0006"])
def test_siemens_mosaics_come_apart_as_nibabel_does_it(folder, series) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapper_from_data = pytest.importorskip("nibabel.nicom.dicomwrappers").wrapper_from_data

    where = folder / "mr-epi" / "20180918Si" / series
    image = read_series(where)
    assert (image.axes, image.pixels.shape) == ("TDHW", (2, 5, 72, 72))
    for values, path in zip(image.pixels, sorted(where.glob("*.dcm")), strict=True):
        wrapper = wrapper_from_data(pydicom.dcmread(path))
        # nibabel's axes are row, column, slice, in LPS.
        np.testing.assert_array_equal(values, np.moveaxis(wrapper.get_data(), 2, 0))
        ras = np.diag([-1, -1, 1, 1]) @ wrapper.affine
        assert image.affine is not None
        np.testing.assert_allclose(image.affine, ras[:, [2, 0, 1, 3]], atol=1e-4)


def test_what_is_not_a_volume_is_left_out_with_reasons(folder) -> None:
    groups = scan_folder(folder / "not-a-volume")
    assert sum(len(group.paths) for group in groups) == 15
    assert all(group.reason for group in groups)
    reasons = {f"{path.parent.name}/{path.name}": str(group.reason) for group in groups for path in group.paths}
    assert reasons["S21570-S1000/I10"] == "a localiser (ImageType ORIGINAL\\PRIMARY\\LOCALIZER)"
    assert "REF_SURVIEW" in reasons["S21570-S4010/I20"]
    assert "DOSE_INFO" in reasons["S21610-S4010/I40"]
    assert reasons["S21570-S4010/DIRFILE"].startswith("a DICOMDIR")
    for name in ("S21570-S1000", "S21570-S4010", "S21610-S4010"):
        with pytest.raises(InputError, match="a localiser"):
            read_series(folder / "not-a-volume" / name)


def test_a_scan_finds_every_series(folder) -> None:
    groups = scan_folder(folder / "mr-epi")
    found = [(group.paths[0].parent.name, len(group.paths)) for group in groups if group.reason is None]
    assert sorted(found) == [("mr_0003", 2), ("mr_0004", 2), ("mr_0004", 150), ("mr_0005", 2), ("mr_0006", 2)]
    assert {group.reason for group in groups if group.reason} == {"not a DICOM file"}
