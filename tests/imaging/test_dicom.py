from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image as PilImage
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_rescale, pixel_array
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    XRayRadiationDoseSRStorage,
)

from unremarkable.errors import InputError
from unremarkable.imaging.dicom import read_dicom
from unremarkable.imaging.dicom_file import looks_like_dicom

AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def lut(first: int, table: list[int], bits: int) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(table), first, bits]
    item.ModalityLUTType = "OD"
    item.add_new("LUTData", "OW", np.array(table, "<u2").tobytes())
    return Sequence([item])


def test_whole_number_rescale_stays_integer_and_keeps_every_value(write_dicom, ramp) -> None:
    path = write_dicom(ramp, BitsStored=12, RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
    image = read_dicom(path)
    assert image.pixels.dtype == np.int16
    assert (image.axes, image.bits, image.unit, image.modality) == ("HW", 12, "HU", "CT")
    assert len(np.unique(image.pixels)) == 4096
    np.testing.assert_array_equal(image.pixels, apply_rescale(pixel_array(path), pydicom.dcmread(path)))


def test_signed_values_and_a_wide_result(write_dicom) -> None:
    stored = np.array([[-32768, -1], [0, 32767]], np.int16)
    image = read_dicom(write_dicom(stored, RescaleSlope=1, RescaleIntercept=-1024))
    assert image.pixels.dtype == np.int32
    assert image.pixels.tolist() == [[-33792, -1025], [-1024, 31743]]


@pytest.mark.parametrize(("slope", "intercept"), [("3.774114", "0.000061"), ("0.1", "0"), ("2.5", "-1024")])
def test_fractional_rescale_is_float32_with_every_value_apart(write_dicom, slope, intercept) -> None:
    stored = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    path = write_dicom(stored, RescaleSlope=slope, RescaleIntercept=intercept)
    image = read_dicom(path)
    assert image.pixels.dtype == np.float32
    assert image.bits is None
    assert len(np.unique(image.pixels)) == 65536
    np.testing.assert_allclose(image.pixels, apply_rescale(stored, pydicom.dcmread(path)), rtol=1e-7)


def test_fractional_rescale_far_from_zero_is_float64(write_dicom, ramp) -> None:
    image = read_dicom(write_dicom(ramp, RescaleSlope="0.001", RescaleIntercept="100000"))
    assert image.pixels.dtype == np.float64
    assert len(np.unique(image.pixels)) == 4096


def test_no_rescale_leaves_the_stored_type_and_no_unit(write_dicom, ramp) -> None:
    image = read_dicom(write_dicom(ramp))
    assert image.pixels.dtype == np.uint16
    assert image.unit is None
    np.testing.assert_array_equal(image.pixels, ramp)


@pytest.mark.parametrize(("slope", "said"), [("0", "leave no values"), ("nan", "leave no values")])
def test_a_rescale_that_erases_the_image_is_refused(write_dicom, ramp, slope, said) -> None:
    path = write_dicom(ramp, RescaleSlope="1", RescaleIntercept="0")
    data = path.read_bytes()
    marker = b"\x28\x00\x53\x10DS\x02\x00"
    path.write_bytes(data.replace(marker + b"1 ", marker[:-2] + bytes([len(slope) + len(slope) % 2, 0]) + _even(slope)))
    with pytest.raises(InputError, match=said):
        read_dicom(path)


def _even(text: str) -> bytes:
    return (text + " " * (len(text) % 2)).encode()


def test_modality_lut_table_is_looked_up_and_clipped_at_its_ends(write_dicom) -> None:
    stored = np.array([[5, 10], [12, 4000]], np.uint16)
    path = write_dicom(stored, ModalityLUTSequence=lut(10, [100, 200, 65535], 16), Modality="CR")
    image = read_dicom(path)
    assert image.pixels.tolist() == [[100, 100], [65535, 65535]]
    assert image.bits == 16
    np.testing.assert_array_equal(image.pixels, apply_modality_lut(stored, pydicom.dcmread(path)))


def test_modality_lut_table_of_signed_values_starts_below_zero(write_dicom) -> None:
    stored = np.array([[-3, -2], [-1, 7]], np.int16)
    image = read_dicom(write_dicom(stored, ModalityLUTSequence=lut(-2, [5, 6, 7], 12), Modality="CR"))
    assert image.pixels.tolist() == [[5, 5], [6, 7]]
    assert image.bits == 12


def test_monochrome1_is_mirrored_within_its_stored_bits(write_dicom, ramp) -> None:
    image = read_dicom(write_dicom(ramp, BitsStored=12, PhotometricInterpretation="MONOCHROME1", Modality="CR"))
    np.testing.assert_array_equal(image.pixels, 4095 - ramp)
    assert image.metadata["photometric"] == "MONOCHROME1"
    assert image.metadata["inverted"] is True


def test_monochrome1_signed_and_rescaled_agrees_with_its_table(write_dicom) -> None:
    stored = np.array([[-8, -1], [0, 7]], np.int16)
    linear = read_dicom(
        write_dicom(stored, BitsStored=4, PhotometricInterpretation="MONOCHROME1", RescaleSlope=2, RescaleIntercept=16)
    )
    assert linear.pixels.tolist() == [[30, 16], [14, 0]]
    assert linear.unit is None
    table = read_dicom(
        write_dicom(
            stored,
            BitsStored=4,
            PhotometricInterpretation="MONOCHROME1",
            ModalityLUTSequence=lut(-8, list(range(0, 32, 2)), 5),
        )
    )
    assert table.pixels.tolist() == [[31, 17], [15, 1]]


def test_unused_high_bits_are_cleared_and_the_sign_restored(write_dicom) -> None:
    unsigned = np.array([[0x0123, 0xF123]], np.uint16)
    assert read_dicom(write_dicom(unsigned, BitsStored=12)).pixels.tolist() == [[0x123, 0x123]]
    signed = np.array([[0x0FFF, 0x07FF]], np.uint16)
    assert read_dicom(write_dicom(signed, BitsStored=12, PixelRepresentation=1)).pixels.tolist() == [[-1, 2047]]


def test_left_aligned_values_of_old_files_are_shifted_down(write_dicom) -> None:
    stored = (np.array([[1, 4095]], np.uint16) << 4) | 5
    assert read_dicom(write_dicom(stored, BitsStored=12, HighBit=15)).pixels.tolist() == [[1, 4095]]


def test_padding_is_compared_with_stored_values(write_dicom) -> None:
    stored = np.array([[-2000, -1999], [0, 976]], np.int16)
    image = read_dicom(write_dicom(stored, RescaleSlope=1, RescaleIntercept=-1024, PixelPaddingValue=-2000))
    assert image.padding is not None
    assert image.padding.tolist() == [[True, False], [False, False]]


@pytest.mark.parametrize(("value", "limit"), [(10, 20), (20, 10)])
def test_padding_range_runs_either_way(write_dicom, value, limit) -> None:
    stored = np.array([[9, 10], [20, 21]], np.uint16)
    image = read_dicom(write_dicom(stored, PixelPaddingValue=value, PixelPaddingRangeLimit=limit))
    assert image.padding is not None
    assert image.padding.tolist() == [[False, True], [True, False]]


def test_no_padding_pixel_gives_no_mask(write_dicom, ramp) -> None:
    assert read_dicom(write_dicom(ramp, PixelPaddingValue=60000)).padding is None


def test_sixteen_bit_colour_is_exact_in_either_planar_configuration(write_dicom) -> None:
    colour = np.random.default_rng(0).integers(0, 65536, (6, 7, 3)).astype(np.uint16)
    image = read_dicom(write_dicom(colour, Modality="US"))
    assert image.axes == "HWC"
    np.testing.assert_array_equal(image.pixels, colour)
    planes = read_dicom(
        write_dicom(colour, PlanarConfiguration=1, PixelData=colour.transpose(2, 0, 1).tobytes(), Modality="US")
    )
    np.testing.assert_array_equal(planes.pixels, colour)


def test_ybr_becomes_rgb(write_dicom) -> None:
    ybr = np.zeros((2, 2, 3), np.uint8)
    ybr[...] = (76, 85, 255)
    image = read_dicom(write_dicom(ybr, PhotometricInterpretation="YBR_FULL", Modality="US"))
    assert np.abs(image.pixels.astype(int) - [254, 0, 0]).max() <= 1


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_palettes_are_looked_up_in_either_byte_order(write_dicom, syntax) -> None:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    indices = np.array([[0, 1], [2, 3]], np.uint8)
    tables: dict[str, Any] = {}
    for colour, values in (("Red", [1, 2, 3]), ("Green", [256, 512, 768]), ("Blue", [0, 65535, 7])):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [3, 1, 16]
        tables[f"{colour}PaletteColorLookupTableData"] = np.array(values, f"{order}u2").tobytes()
    path = write_dicom(indices, syntax=syntax, PhotometricInterpretation="PALETTE COLOR", Modality="US", **tables)
    image = read_dicom(path)
    assert image.pixels.dtype == np.uint16
    expected = [[[1, 256, 0], [1, 256, 0]], [[2, 512, 65535], [3, 768, 7]]]
    assert image.pixels.tolist() == expected


def test_big_endian_comes_in_the_machines_order(write_dicom, ramp) -> None:
    path = write_dicom(ramp, syntax=ExplicitVRBigEndian, PixelData=ramp.astype(">u2").tobytes())
    image = read_dicom(path)
    assert image.pixels.dtype.isnative
    np.testing.assert_array_equal(image.pixels, ramp)


def test_rle_gives_the_same_values(write_dicom, ramp) -> None:
    path = write_dicom(ramp, BitsStored=12)
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_dicom(path).pixels, ramp)


def jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    PilImage.fromarray(pixels).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def test_jpeg_baseline_agrees_with_pillow(write_dicom) -> None:
    grey = np.add.outer(np.arange(32), np.arange(40)).astype(np.uint8) * 3
    frame = jpeg(grey)
    image = read_dicom(write_dicom(grey, syntax=JPEGBaseline8Bit, PixelData=encapsulate([frame])))
    oracle = np.asarray(PilImage.open(io.BytesIO(frame))).astype(int)
    assert np.abs(image.pixels - oracle).max() <= 1


def test_float_pixels_keep_their_type(write_dicom) -> None:
    stored = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    image = read_dicom(write_dicom(stored, PixelData=None, FloatPixelData=stored.tobytes(), Modality="MR"))
    assert image.pixels.dtype == np.float32
    assert image.bits is None
    np.testing.assert_array_equal(image.pixels, stored)


def test_geometry_of_one_slice_in_ras(write_dicom, ramp) -> None:
    path = write_dicom(
        ramp,
        ImagePositionPatient=[-10, -20, 30],
        ImageOrientationPatient=AXIAL,
        PixelSpacing=[0.5, 0.7],
        SliceThickness=5,
    )
    image = read_dicom(path)
    assert image.spacing == (0.5, 0.7)
    assert image.affine is not None
    # One row down is 0.5 mm towards posterior, one column on 0.7 mm towards left; RAS counts right and anterior.
    np.testing.assert_allclose(image.affine @ [0, 2, 3, 1], [10 - 2.1, 20 - 1.0, 30, 1])
    np.testing.assert_allclose(image.affine @ [1, 0, 0, 1], [10, 20, 35, 1])


def test_projection_spacing_says_where_it_was_measured(write_dicom, ramp) -> None:
    image = read_dicom(write_dicom(ramp, Modality="DX", ImagerPixelSpacing=[0.14, 0.14]))
    assert image.spacing == (0.14, 0.14)
    assert image.metadata["spacing_source"] == "ImagerPixelSpacing"
    assert image.affine is None


def test_metadata_is_plain_json(write_dicom, ramp) -> None:
    image = read_dicom(
        write_dicom(
            ramp, PatientID="P1", WindowCenter=[40, 600], WindowWidth=[80, 2800], ViewPosition="PA", Laterality="L"
        )
    )
    assert json.loads(json.dumps(image.metadata)) == image.metadata
    assert image.metadata["patient_id"] == "P1"
    assert image.metadata["window"] == [[40.0, 80.0], [600.0, 2800.0]]
    assert (image.metadata["view"], image.metadata["laterality"]) == ("PA", "L")


def frame_group(z: float, slope: float, time: int | None = None, orientation: list[float] | None = None) -> Dataset:
    groups = Dataset()
    position, plane, value, content = Dataset(), Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = [0.0, 0.0, z]
    plane.ImageOrientationPatient = orientation or AXIAL
    value.RescaleSlope, value.RescaleIntercept, value.RescaleType = slope, 0, "US"
    if time is not None:
        content.TemporalPositionIndex = time
    groups.PlanePositionSequence = [position]
    groups.PlaneOrientationSequence = [plane]
    groups.PixelValueTransformationSequence = [value]
    groups.FrameContentSequence = [content]
    return groups


def enhanced(write_dicom, groups: list[Dataset]) -> Path:
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [2.0, 3.0], 4.0
    shared.PixelMeasuresSequence = [measures]
    stored = np.stack([np.full((4, 5), 10 + i, np.uint16) for i in range(len(groups))])
    return write_dicom(
        stored,
        SOPClassUID=EnhancedMRImageStorage,
        Modality="MR",
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=groups,
    )


def test_enhanced_frames_are_rescaled_each_and_sorted_by_position(write_dicom) -> None:
    image = read_dicom(enhanced(write_dicom, [frame_group(8, 2), frame_group(0, 1), frame_group(4, 3)]))
    assert image.axes == "DHW"
    assert image.pixels[:, 0, 0].tolist() == [11, 36, 20]
    assert image.pixels.dtype.kind in "iu"
    assert image.spacing == (4.0, 2.0, 3.0)
    assert image.metadata["frame_numbers"] == [[2, 3, 1]]
    assert image.affine is not None
    np.testing.assert_allclose(image.affine @ [2, 1, 1, 1], [-3, -2, 8, 1])


def test_enhanced_frames_with_mixed_whole_and_fractional_slopes(write_dicom) -> None:
    image = read_dicom(enhanced(write_dicom, [frame_group(0, 2), frame_group(1, 0.5)]))
    assert image.pixels[:, 0, 0].tolist() == [20, 5.5]


def test_enhanced_time_points_become_an_axis(write_dicom) -> None:
    groups = [frame_group(z, 1, time) for z in (0, 4, 8) for time in (2, 1)]
    image = read_dicom(enhanced(write_dicom, groups))
    assert image.axes == "TDHW"
    assert image.pixels[:, :, 0, 0].tolist() == [[11, 13, 15], [10, 12, 14]]
    assert image.metadata["repeated_by"] == "TemporalPositionIndex"


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        ([(0, None), (4, None), (12, None), (16, None)], "a slice is missing between frame 2 and frame 3"),
        ([(0, None), (0, None), (4, None), (4, None)], "nothing says which came first"),
        ([(0, 1), (0, 2), (4, 1)], "duplicate|incomplete"),
    ],
)
def test_enhanced_frames_that_make_no_volume_are_refused(write_dicom, groups, reason) -> None:
    with pytest.raises(InputError, match=reason):
        read_dicom(enhanced(write_dicom, [frame_group(z, 1, time) for z, time in groups]))


def test_enhanced_localiser_is_refused(write_dicom) -> None:
    groups = [frame_group(0, 1), frame_group(4, 1, orientation=[0, 1, 0, 0, 0, -1])]
    with pytest.raises(InputError, match="a localiser, its slices cross each other: 2 slices in 2 orientations"):
        read_dicom(enhanced(write_dicom, groups))


def test_frames_without_positions_stay_in_file_order(write_dicom) -> None:
    stored = np.arange(3, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    image = read_dicom(write_dicom(stored, Modality="US"))
    assert image.axes == "DHW"
    assert image.pixels[:, 0, 0].tolist() == [0, 1, 2]
    assert image.affine is None


def test_files_without_the_prefix_are_read(write_dicom, ramp) -> None:
    path = write_dicom(ramp)
    data = path.read_bytes()
    path.write_bytes(data[132:])
    assert looks_like_dicom(data[132:])
    np.testing.assert_array_equal(read_dicom(path).pixels, ramp)
    length = int.from_bytes(data[140:144], "little")
    path.write_bytes(data[144 + length :])
    np.testing.assert_array_equal(read_dicom(path).pixels, ramp)


def test_an_object_without_pixels_is_named(write_dicom, ramp) -> None:
    path = write_dicom(
        ramp, SOPClassUID=XRayRadiationDoseSRStorage, PixelData=None, Rows=None, Columns=None, Modality="SR"
    )
    with pytest.raises(InputError, match="holds no image: its SOP class is X-Ray Radiation Dose SR"):
        read_dicom(path)
