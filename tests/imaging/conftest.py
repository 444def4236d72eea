"""Small DICOM files, written by pydicom, for the reader's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]

WriteDicom = Callable[..., Path]


def build_dicom(stored: NDArray[Any], **attributes: Any) -> Dataset:
    """A data set with these stored values; attributes by keyword, `syntax` the transfer syntax, None leaves one out."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = attributes.pop("syntax", ExplicitVRLittleEndian)
    colour = stored.ndim > 2 and stored.shape[-1] == 3
    rows, columns = stored.shape[-3:-1] if colour else stored.shape[-2:]
    frames = stored.size // (rows * columns * (3 if colour else 1))
    defaults = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(),
        "SeriesInstanceUID": "1.2.3",
        "Modality": "CT",
        "Rows": rows,
        "Columns": columns,
        "NumberOfFrames": frames if frames > 1 else None,
        "SamplesPerPixel": 3 if colour else 1,
        "PlanarConfiguration": 0 if colour else None,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "BitsAllocated": stored.dtype.itemsize * 8,
        "BitsStored": stored.dtype.itemsize * 8,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
    }
    values = defaults | {"PixelData": stored.tobytes()} | attributes
    values.setdefault("HighBit", values["BitsStored"] - 1 if values["BitsStored"] else None)
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW" if stored.dtype.itemsize > 1 else "OB"
    return dataset


@pytest.fixture
def write_dicom(tmp_path: Path) -> WriteDicom:
    """`write_dicom(stored, name="x.dcm", **attributes)` writes a file and gives its path."""

    def write(stored: NDArray[Any], name: str = "image.dcm", **attributes: Any) -> Path:
        dataset = build_dicom(stored, **attributes)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CTImageStorage)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3")
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def write_slice(write_dicom: WriteDicom) -> WriteDicom:
    """`write_slice(z, name, **attributes)` writes one axial CT slice at a height, its values all `round(z)`."""

    def write(z: float, name: str, **attributes: Any) -> Path:
        defaults = {
            "ImagePositionPatient": [0.0, 0.0, z],
            "ImageOrientationPatient": AXIAL,
            "PixelSpacing": [2.0, 3.0],
            "RescaleSlope": 1,
            "RescaleIntercept": -1024,
        }
        return write_dicom(np.full((4, 5), 1024 + round(z), np.uint16), name, **(defaults | attributes))

    return write


@pytest.fixture
def ramp() -> NDArray[np.uint16]:
    """All 12-bit values, in 64 × 64."""
    return np.arange(4096, dtype=np.uint16).reshape(64, 64)
