"""read_image: content over names, and one clear line for whatever is no image."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image as Picture
from pydicom.dataset import Dataset, FileMetaDataset

from unremarkable.errors import InputError
from unremarkable.imaging.image import Image
from unremarkable.imaging.read import image_kind, looks_like_image, read_image

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 20)).astype(np.uint8)


def by_pillow(kind: str) -> bytes:
    buffer = io.BytesIO()
    Picture.fromarray(PIXELS).save(buffer, format=kind)
    return buffer.getvalue()


def tiff(big: bool, order: str) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, PIXELS, bigtiff=big, byteorder=order)
    return buffer.getvalue()


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, PIXELS)
    return buffer.getvalue()


def dicom(preamble: bool, implicit: bool = False, little: bool = True) -> bytes:
    dataset = Dataset()
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = PIXELS.shape
    buffer = io.BytesIO()
    if preamble:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    else:
        pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=little)
    return buffer.getvalue()


def nifti(kind: type = nibabel.Nifti1Image, zipped: bool = False) -> bytes:
    data = kind(PIXELS.astype(np.float32)[..., None], np.eye(4)).to_bytes()
    return gzip.compress(data) if zipped else data


RASTER = {
    "PNG": by_pillow("PNG"),
    "JPEG": by_pillow("JPEG"),
    "BMP": by_pillow("BMP"),
    "PNM": by_pillow("PPM"),
    "NPY": npy(),
    "TIFF": tiff(False, "<"),
}
KINDS = [
    *RASTER.items(),
    ("TIFF", tiff(True, "<")),
    ("TIFF", tiff(False, ">")),
    ("TIFF", tiff(True, ">")),
    ("DICOM", dicom(True)),
    ("DICOM", dicom(False)),
    ("DICOM", dicom(False, implicit=True)),
    ("DICOM", dicom(False, little=False)),
    ("NIfTI", nifti()),
    ("NIfTI", nifti(zipped=True)),
    ("NIfTI", nifti(nibabel.Nifti2Image)),
    ("NIfTI", nifti(nibabel.Nifti2Image, zipped=True)),
    ("NIfTI", nibabel.nifti1.Nifti1PairHeader().binaryblock),
]


@pytest.mark.parametrize(("kind", "content"), KINDS)
@pytest.mark.parametrize("name", ["scan", "scan.jpg", "scan.nii.gz", "IM-0001.dcm"])
def test_content_tells_the_kind_whatever_the_name(tmp_path: Path, kind: str, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert image_kind(tmp_path / name) == kind
    assert looks_like_image(str(tmp_path / name))


@pytest.mark.parametrize("kind", RASTER)
def test_images_are_read_by_path_or_text(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "scan.dcm"
    file.write_bytes(RASTER[kind])
    for path in (file, str(file)):
        image = read_image(path)
        assert image.source == str(file)
        assert image.metadata["format"] == kind
        if kind != "JPEG":
            np.testing.assert_array_equal(image.pixels, PIXELS)


def test_a_tiff_header_in_a_dicom_preamble_is_dicom(tmp_path: Path) -> None:
    content = bytearray(dicom(True))
    content[:8] = b"II*\0\x08\0\0\0"
    (tmp_path / "a.tif").write_bytes(content)
    assert image_kind(tmp_path / "a.tif") == "DICOM"


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.npy", npy())
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.png", b"", "empty file"),
        ("a.png", b"<!DOCTYPE html><html>404", "HTML"),
        ("a.png", b'{"error": 404}', "JSON"),
        ("a.csv", b"path,label\na.png,0\n", "text"),
        ("a.txt", b"BMP images of P5 patients", "text"),
        ("a.txt", b"P5-patients are listed here", "text"),
        ("a.txt", b"P2 is the second patient", "text"),
        ("a.png", bytes(2000), "zeros"),
        ("a.png", bytes(range(1, 256)) * 8, "unknown format"),
        ("a.pdf", b"%PDF-1.7", "PDF"),
        ("a.zip", archive(), "ZIP"),
        ("a.npz", archive(), r"FILE\.npz#ARRAY/INDEX"),
        ("a.gif", b"GIF89a", "GIF"),
        ("a.nrrd", b"NRRD0004\n", "NRRD"),
        ("a.png", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("a.nii.gz", gzip.compress(b"hello", mtime=0), "gzip"),
        ("a.pkl", b"\x80\x04\x95", "pickle"),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert not looks_like_image(tmp_path / name)
    with pytest.raises(InputError, match=reason) as caught:
        read_image(tmp_path / name)
    assert caught.value.source == str(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_files_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "absent.png")
    assert not looks_like_image(tmp_path / "absent.png")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no image")
    with pytest.raises(InputError, match="no DICOM"):
        read_image(tmp_path / "notes")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty folder"):
        read_image(tmp_path / "empty")
    assert not looks_like_image(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_image("a\0b")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_forbidden_file(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(RASTER["PNG"])
    file.chmod(0)
    with pytest.raises(InputError, match="denied"):
        read_image(file)


@pytest.mark.parametrize("kind", RASTER)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_truncated_files_are_refused(tmp_path: Path, kind: str, share: float) -> None:
    content = RASTER[kind]
    (tmp_path / "a").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError):
        read_image(tmp_path / "a")


def damaged(content: bytes, seed: int) -> bytes:
    random, changed = np.random.default_rng(seed), bytearray(content)
    for place in random.integers(0, min(len(content), 400), 4):
        changed[place] = int(random.integers(0, 256))
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", RASTER)
def test_damaged_files_give_an_image_or_one_line(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNREMARKABLE_MAX_BYTES", str(10 << 20))
    file = tmp_path / "a"
    for seed in range(100):
        file.write_bytes(damaged(RASTER[kind], seed))
        # Any other exception is the failure.
        with contextlib.suppress(InputError):
            assert read_image(file).pixels.size


def test_every_decoder_error_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(error: Exception) -> Callable[[Path], Image]:
        def reader(path: Path) -> Image:
            raise error

        return reader

    file = tmp_path / "a.jpg"
    file.write_bytes(RASTER["JPEG"])
    for error, reason in ((ZeroDivisionError("a\nb"), r"damaged JPEG file \(a b\)"), (MemoryError(), "memory")):
        monkeypatch.setattr("unremarkable.imaging.raster.read_jpeg", broken(error))
        with pytest.raises(InputError, match=reason):
            read_image(file)
