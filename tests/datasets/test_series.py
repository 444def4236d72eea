"""DICOM files of a folder as cases, built with pydicom."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from unremarkable.datasets.case import Case
from unremarkable.datasets.find import find_dataset
from unremarkable.datasets.load import digest, load_case
from unremarkable.datasets.series import series_files
from unremarkable.errors import InputError


def write_slice(path: Path, series: str, z: float, patient: str = "P1", value: int = 0, kind: str = "AXIAL") -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[series])
    data.StudyInstanceUID = generate_uid(entropy_srcs=["study", patient])
    data.PatientID, data.Modality, data.ImageType = patient, "CT", ["ORIGINAL", "PRIMARY", kind]
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, z], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.InstanceNumber = [1, 1], int(z) + 1
    data.Rows = data.Columns = 8
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = np.full((8, 8), value + int(z), np.uint16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def test_one_series_is_its_folder(tmp_path: Path) -> None:
    for z in range(3):
        write_slice(tmp_path / f"s/{z}.dcm", "a", z)
    found = find_dataset(tmp_path)
    (case,) = found.cases
    assert (case.path, case.patient, case.label) == (str(tmp_path / "s"), "P1", None)
    assert case.study is not None
    image = load_case(case)
    assert image.axes == "DHW"
    assert image.pixels.shape == (3, 8, 8)


def test_two_series_in_one_folder(tmp_path: Path) -> None:
    for z in range(3):
        write_slice(tmp_path / f"a{z}.dcm", "a", z, value=100)
        write_slice(tmp_path / f"b{z}.dcm", "b", z, value=200)
    found = find_dataset(tmp_path)
    assert [case.path for case in found] == [f"{tmp_path}#a0.dcm", f"{tmp_path}#b0.dcm"]
    assert [load_case(case).pixels.max() for case in found] == [102 - 1024, 202 - 1024]
    assert digest(found.cases[0]) != digest(found.cases[1])
    with pytest.raises(InputError, match="no series that begins with"):
        load_case(Case(f"{tmp_path}#a1.dcm"))
    assert series_files(str(tmp_path)) is None


def test_classes_localisers_and_anonymous_patients(tmp_path: Path) -> None:
    for z in range(2):
        write_slice(tmp_path / f"train/normal/p1/{z}.dcm", "a", z, patient="P1")
        write_slice(tmp_path / f"test/bleed/p2/{z}.dcm", "b", z, patient="Anonymous")
    write_slice(tmp_path / "test/bleed/p2/scout.dcm", "c", 0, kind="LOCALIZER")
    found = find_dataset(tmp_path)
    assert [(case.label, case.split, case.patient) for case in found] == [(1, "test", None), (0, "train", "P1")]
    assert all(case.study for case in found)
    assert [(Path(path).name, "localiser" in reason) for path, reason in found.skipped] == [("scout.dcm", True)]


def test_a_single_image_is_its_file(tmp_path: Path) -> None:
    write_slice(tmp_path / "x.dcm", "a", 0)
    assert [case.path for case in find_dataset(tmp_path)] == [str(tmp_path / "x.dcm")]
