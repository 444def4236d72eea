from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import SecondaryCaptureImageStorage, XRayRadiationDoseSRStorage

from unremarkable.errors import InputError, UsageError
from unremarkable.imaging.series import group_series, read_series, scan_folder


def write_stack(write_slice, heights, **attributes) -> Path:
    """Slices at these heights in the folder `s`, names in another order than heights."""
    for i, z in enumerate(heights):
        given = {"InstanceNumber": i + 1} | {k: v[i] if isinstance(v, list) else v for k, v in attributes.items()}
        path = write_slice(z, f"s/{(7 * i) % 101:03d}.dcm", **given)
    return path.parent


def refusal(where) -> str:
    with pytest.raises(InputError) as caught:
        read_series(where)
    assert "\n" not in caught.value.reason
    return caught.value.reason


def test_slices_are_sorted_by_position_and_stacked_exactly(write_slice) -> None:
    folder = write_stack(write_slice, [9, 0, 6, 3])
    image = read_series(folder)
    assert (image.axes, image.pixels.dtype, image.unit) == ("DHW", np.dtype(np.int16), "HU")
    assert image.pixels[:, 0, 0].tolist() == [0, 3, 6, 9]
    assert image.spacing == (3.0, 2.0, 3.0)
    assert image.affine is not None
    np.testing.assert_allclose(image.affine @ [2, 1, 1, 1], [-3, -2, 6, 1])
    assert image.metadata["slice_positions"] == [0, 3, 6, 9]
    assert image.metadata["spacing_uniform"] is True
    assert image.metadata["gantry_tilt_degrees"] == 0
    assert len(image.metadata["sop_uids"]) == 4
    assert json.loads(json.dumps(image.metadata)) == image.metadata
    assert image.source == str(folder)


def test_order_of_files_does_not_matter(write_slice) -> None:
    folder = write_stack(write_slice, range(0, 20, 2))
    paths = sorted(folder.iterdir())
    np.testing.assert_array_equal(read_series(paths).pixels, read_series(paths[::-1]).pixels)


def test_each_slice_keeps_its_own_rescale_and_padding(write_slice) -> None:
    folder = write_stack(write_slice, [0, 1, 2], RescaleSlope=["1", "2", "0.5"], PixelPaddingValue=[None, 1025, None])
    image = read_series(folder)
    assert image.pixels[:, 0, 0].tolist() == [0, 2 * 1025 - 1024, 0.5 * 1026 - 1024]
    assert image.padding is not None
    assert image.padding.all(axis=(1, 2)).tolist() == [False, True, False]


def test_neighbouring_slices_missing_alternately(write_slice) -> None:
    assert "8 mm apart, 4 is usual" in refusal(write_stack(write_slice, [0, 4, 8, 16, 24, 28, 32]))


@pytest.mark.parametrize("missing", [1, 4, 8])
def test_a_missing_slice_is_named(write_slice, missing) -> None:
    heights = [float(z) for z in range(0, 50, 5) if z != 5 * missing]
    reason = refusal(write_stack(write_slice, heights))
    assert "a slice is missing between" in reason
    assert "10 mm apart, 5 is usual" in reason


def test_a_slice_missing_where_spacing_changes_shows_in_its_number(write_slice) -> None:
    heights = [0, 4, 8, 12, 17, 24, 31, 38]
    numbers = [1, 2, 3, 4, 6, 7, 8, 9]
    assert "a slice is missing" in refusal(write_stack(write_slice, heights, InstanceNumber=numbers))


@pytest.mark.parametrize(
    "heights",
    [
        [0, 4, 8, 12, 13.1, 20.1, 27.1, 34.1],
        [0, 4, 8, 12, 19, 26, 33],
        [0, 7, 14, 18, 22, 26, 33, 40],
        [0, 0.6, 1.2, 1.9, 2.5, 3.1, 3.8, 4.4],
    ],
)
def test_spacing_that_changes_in_zones_is_one_volume(write_slice, heights) -> None:
    image = read_series(write_stack(write_slice, heights))
    assert image.pixels.shape[0] == len(heights)
    assert image.metadata["slice_positions"] == heights
    assert image.metadata["spacing_uniform"] is (heights[1] == 0.6)


def test_spacing_without_rule_is_refused(write_slice) -> None:
    reason = refusal(write_stack(write_slice, [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15]))
    assert reason == "irregular slice spacing: 1 to 2 mm"


def test_one_slice_twice_at_one_position(write_slice) -> None:
    assert "duplicate slices: 2 at one position" in refusal(write_stack(write_slice, [0, 3, 3, 6]))


def test_one_instance_in_two_files(write_slice) -> None:
    folder = write_stack(write_slice, [0, 3, 6])
    shutil.copy(folder / "000.dcm", folder / "copy.dcm")
    assert refusal(folder) == "duplicate slices: 000.dcm and copy.dcm are the same instance"


def test_repeated_positions_become_time_points(write_slice) -> None:
    heights = [0, 3, 6] * 2
    folder = write_stack(write_slice, heights, RescaleIntercept=[-1024, -1024, -1024, 0, 0, 0])
    image = read_series(folder)
    assert image.axes == "TDHW"
    assert image.pixels[:, :, 0, 0].tolist() == [[0, 3, 6], [1024, 1027, 1030]]
    assert image.metadata["repeated_by"] == "InstanceNumber"


def test_an_incomplete_time_series_is_refused(write_slice) -> None:
    reason = refusal(write_stack(write_slice, [0, 3, 6, 0, 3, 6, 0, 3]))
    assert reason == "incomplete time series: 3 positions with 2 to 3 slices each"


def test_time_points_that_nothing_orders_are_refused(write_slice) -> None:
    reason = refusal(write_stack(write_slice, [0, 3, 0, 3], InstanceNumber=None))
    assert reason == "2 volumes at the same 2 positions, and nothing says which came first"


def test_echoes_are_series_of_their_own(write_slice) -> None:
    folder = write_stack(write_slice, [0, 3, 0, 3], EchoTime=[10, 10, 80, 80], Modality="MR")
    groups = group_series(folder.iterdir())
    assert [len(group.paths) for group in groups] == [2, 2]
    assert "holds 2 series" in refusal(folder)
    assert read_series(groups[0].paths).pixels.shape == (2, 4, 5)


def test_mixed_orientation_and_crossing_slices(write_slice) -> None:
    tilted = [1, 0, 0, 0, 0.9961947, -0.0871557]
    axial, sagittal = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]
    reason = refusal(write_stack(write_slice, [0, 3, 6], ImageOrientationPatient=[axial, axial, tilted]))
    assert reason == "mixed orientation: 3 slices in 2 orientations"
    reason = refusal(write_stack(write_slice, [0, 3, 6], ImageOrientationPatient=[axial, axial, sagittal]))
    assert reason == "a localiser, its slices cross each other: 3 slices in 2 orientations"


def test_mixed_size_and_mixed_pixel_spacing(write_slice, write_dicom) -> None:
    folder = write_stack(write_slice, [0, 3, 6], PixelSpacing=[[1, 1], [1, 1], [2, 2]])
    assert refusal(folder) == "mixed pixel spacing: 2 kinds among 3 slices"
    odd = write_dicom(np.zeros((6, 6), np.uint16), "s/odd.dcm", ImagePositionPatient=[0, 0, 9])
    assert refusal(odd.parent) == "mixed sizes: 3 of 4 × 5, 1 of 6 × 6"


def test_slices_shifted_sideways(write_slice) -> None:
    positions = [[0, 0, 0], [0, 0, 3], [20, 0, 6], [0, 0, 9]]
    assert "shifted sideways" in refusal(write_stack(write_slice, [0, 3, 6, 9], ImagePositionPatient=positions))


def test_slices_without_position(write_slice) -> None:
    folder = write_stack(write_slice, [0, 3, 6], ImagePositionPatient=[None, [0, 0, 3], [0, 0, 6]])
    assert refusal(folder) == "1 of 3 slices without position or orientation"


def test_gantry_tilt_comes_from_geometry(write_slice) -> None:
    angle = np.radians(18.5)
    orientation = [1, 0, 0, 0, float(np.cos(angle)), -float(np.sin(angle))]
    image = read_series(write_stack(write_slice, [0, 4, 8, 12], ImageOrientationPatient=[orientation] * 4))
    assert image.metadata["gantry_tilt_degrees"] == 18.5
    assert image.affine is not None
    # The affine carries the shear: slices follow each other along z, though they face another way.
    np.testing.assert_allclose(image.affine[:3, 0], [0, 0, 4], atol=1e-6)
    np.testing.assert_allclose(image.affine[:3, 1], [0, -2 * np.cos(angle), -2 * np.sin(angle)], atol=1e-6)


def test_what_is_no_part_of_the_volume_is_left_out_with_its_reason(write_slice, write_dicom) -> None:
    folder = write_stack(write_slice, [0, 3, 6])
    plain = np.zeros((4, 4), np.uint16)
    write_dicom(plain, "s/scout.dcm", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_dicom(plain, "s/dose.dcm", SOPClassUID=SecondaryCaptureImageStorage, ImageType=["DERIVED", "SECONDARY", "X"])
    write_dicom(plain, "s/sr.dcm", SOPClassUID=XRayRadiationDoseSRStorage, PixelData=None, Rows=None, Columns=None)
    (folder / "README.txt").write_text("notes")
    image = read_series(folder)
    assert image.pixels.shape == (3, 4, 5)
    reasons = dict(image.metadata["left_out"])
    assert reasons["scout.dcm"] == "a localiser (ImageType ORIGINAL\\PRIMARY\\LOCALIZER)"
    assert reasons["dose.dcm"].startswith("a page of text or figures")
    assert {group.paths[0].name: group.reason for group in scan_folder(folder) if group.reason} == {
        "scout.dcm": reasons["scout.dcm"],
        "dose.dcm": reasons["dose.dcm"],
        "sr.dcm": "holds no image: its SOP class is X-Ray Radiation Dose SR",
        "README.txt": "not a DICOM file",
    }
    assert "a page of text" in refusal(sorted(folder.glob("*.dcm")))


def test_a_damaged_slice_is_not_passed_over(write_slice) -> None:
    folder = write_stack(write_slice, [0, 3, 6])
    last = folder / "014.dcm"
    last.write_bytes(last.read_bytes()[:200])
    with pytest.raises(InputError, match="truncated") as caught:
        read_series(folder)
    assert caught.value.source == str(last)


def test_a_slice_with_truncated_pixels_is_named(write_slice) -> None:
    folder = write_stack(write_slice, [0, 3, 6])
    last = folder / "014.dcm"
    last.write_bytes(last.read_bytes()[:-4])
    with pytest.raises(InputError, match="truncated") as caught:
        read_series(folder)
    assert caught.value.source == str(last)


def test_one_file_is_its_own_image(write_slice) -> None:
    path = write_slice(5, "s/one.dcm")
    assert read_series(path.parent).axes == "HW"
    assert read_series([path]).pixels.shape == (4, 5)


def test_projections_are_images_of_their_own(write_dicom) -> None:
    for name in ("a", "b"):
        path = write_dicom(np.zeros((4, 4), np.uint16), f"s/{name}.dcm", Modality="DX")
    groups = scan_folder(path.parent)
    assert [(len(group.paths), group.reason) for group in groups] == [(1, None), (1, None)]


def test_folders_without_a_series(tmp_path) -> None:
    assert "holds no DICOM images" in refusal(tmp_path)
    assert refusal(tmp_path / "nowhere") == "no such folder"
    with pytest.raises(UsageError):
        read_series([])


def test_copies_in_two_folders_are_two_series(write_slice) -> None:
    folder = write_stack(write_slice, [0, 3, 6])
    shutil.copytree(folder, folder.parent / "copy")
    groups = scan_folder(folder.parent)
    assert [(len(group.paths), group.reason) for group in groups] == [(3, None), (3, None)]
