from __future__ import annotations

import random
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from unremarkable.errors import InputError
from unremarkable.imaging.dicom import read_dicom
from unremarkable.imaging.dicom_pixels import codestream_size
from unremarkable.imaging.guards import limits

END_ITEM, END_SEQUENCE = struct.pack("<HHI", 0xFFFE, 0xE00D, 0), struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
SEQUENCE = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_dicom(path)
    assert "\n" not in caught.value.reason
    assert caught.value.source == str(path)
    return caught.value.reason


def with_bytes_before_rows(path: Path, extra: bytes) -> Path:
    data = path.read_bytes()
    at = data.index(struct.pack("<HH", 0x0028, 0x0002))
    path.write_bytes(data[:at] + extra + data[at:])
    return path


def deflated(path: Path, megabytes: int) -> Path:
    """A deflated file whose pixel data go on with zeros for so long."""
    data = path.read_bytes()
    start = 144 + struct.unpack("<I", data[140:144])[0]
    body = zlib.decompress(data[start:], -15)
    pixels = body.index(b"\xe0\x7f\x10\x00OW")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    size = struct.pack("<I", megabytes * 10**6)
    parts = [packer.compress(body[: pixels + 8] + size)]
    parts += [packer.compress(bytes(10**6)) for _ in range(megabytes)]
    path.write_bytes(data[:start] + b"".join([*parts, packer.flush()]))
    return path


def test_a_deflated_file_is_read(write_dicom, ramp) -> None:
    path = write_dicom(ramp, syntax=DeflatedExplicitVRLittleEndian)
    np.testing.assert_array_equal(read_dicom(path).pixels, ramp)


def test_a_deflated_bomb_is_refused_without_inflating_it(write_dicom, ramp) -> None:
    path = deflated(write_dicom(ramp, syntax=DeflatedExplicitVRLittleEndian), megabytes=120)
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    assert "inflates" in refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 1024**2


def test_a_huge_declared_size_is_refused_before_allocating(write_dicom, ramp) -> None:
    path = write_dicom(ramp, Rows=65535, Columns=65535, NumberOfFrames=1000)
    tracemalloc.start()
    assert "the limit is" in refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 1024**2


@pytest.mark.parametrize("depth", [limits().max_depth + 1, 5000])
def test_deep_nesting_is_refused(write_dicom, ramp, depth) -> None:
    nested = (SEQUENCE + ITEM) * depth + (END_ITEM + END_SEQUENCE) * depth
    assert refusal(with_bytes_before_rows(write_dicom(ramp), nested)) == "sequences nested more than 16 deep"


def test_ordinary_nesting_is_read(write_dicom, ramp) -> None:
    nested = (SEQUENCE + ITEM) * 8 + (END_ITEM + END_SEQUENCE) * 8
    np.testing.assert_array_equal(read_dicom(with_bytes_before_rows(write_dicom(ramp), nested)).pixels, ramp)


def test_a_flood_of_sequence_items_is_refused(write_dicom, ramp) -> None:
    flood = SEQUENCE + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * (limits().max_members + 1) + END_SEQUENCE
    assert "sequence items" in refusal(with_bytes_before_rows(write_dicom(ramp), flood))


def test_truncated_pixels_are_named(write_dicom, ramp) -> None:
    path = write_dicom(ramp)
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(path) == "truncated: its header declares 8192 bytes of pixels, the file holds 8092"


@pytest.mark.parametrize("length", [0, 100, 140, 200, 400, 600])
def test_a_file_cut_anywhere_gives_one_line(write_dicom, ramp, length) -> None:
    path = write_dicom(ramp)
    path.write_bytes(path.read_bytes()[:length])
    assert refusal(path)


def test_other_files_are_no_dicom(tmp_path) -> None:
    path = tmp_path / "notes.dcm"
    path.write_text("no picture in here " * 50)
    assert refusal(path) == "not a DICOM file"


def test_an_unsupported_transfer_syntax_is_named(write_dicom, ramp) -> None:
    path = write_dicom(ramp, syntax=MPEG2MPML, PixelData=encapsulate([b"\0" * 16]))
    assert refusal(path) == "transfer syntax MPEG2 Main Profile / Main Level is not supported"


def test_fewer_compressed_frames_than_declared(write_dicom) -> None:
    stored = np.zeros((3, 8, 8), np.uint8)
    path = write_dicom(stored, syntax=RLELossless, PixelData=encapsulate([b"\0" * 80, b"\0" * 80]))
    assert refusal(path) == "truncated: 2 of 3 compressed frames"


def test_a_frame_larger_than_the_file_says_is_refused_before_decoding(write_dicom) -> None:
    stored = np.zeros((8, 8), np.uint8)
    start = b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, 60000, 60000, 1) + b"\x01\x11\x00"
    path = write_dicom(stored, syntax=JPEGBaseline8Bit, PixelData=encapsulate([start + b"\xff\xd9"]))
    assert refusal(path) == "frame 1 is 60000 × 60000 by its own header, 8 × 8 by the file's"


def test_a_damaged_frame_names_syntax_and_cause(write_dicom) -> None:
    stored = np.zeros((8, 8), np.uint8)
    path = write_dicom(stored, syntax=JPEG2000Lossless, PixelData=encapsulate([b"\1" * 64]))
    assert refusal(path).startswith("its pixel data (JPEG 2000 Image Compression (Lossless Only)) cannot be decoded")


def test_codestream_sizes() -> None:
    jpeg2000 = b"\xff\x4f\xff\x51" + struct.pack(">HH4I", 41, 0, 30, 20, 10, 5)
    assert codestream_size(jpeg2000) == (15, 20)
    jpeg_ls = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xf7" + struct.pack(">HBHHB", 11, 8, 7, 9, 1) + b"\0\0\0"
    assert codestream_size(jpeg_ls) == (7, 9)
    assert codestream_size(b"anything else") is None


def test_warnings_stay_quiet(write_dicom, ramp, capfd) -> None:
    path = write_dicom(ramp, PixelData=ramp.tobytes() + b"\0\0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_dicom(path)
    assert capfd.readouterr() == ("", "")


def test_damaged_bytes_never_raise_anything_but_one_line(write_dicom, ramp) -> None:
    path = write_dicom(ramp, RescaleSlope=1, RescaleIntercept=-1024, PixelPaddingValue=0)
    whole, rng, reasons = path.read_bytes(), random.Random(0), []
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 4, 16])):
            data[rng.randrange(132, 900)] = rng.randrange(256)
        path.write_bytes(data)
        try:
            read_dicom(path)
        except InputError as error:
            reasons.append(error.reason)
    assert len(reasons) > 20
    assert not any("\n" in reason for reason in reasons)


def test_damaged_run_lengths_give_one_line(write_dicom) -> None:
    stored = np.zeros((8, 8), np.uint16)
    header = struct.pack("<16L", 2, 64, 66, *[0] * 13)
    for body in (b"\x81", b"\x7f", b"\x7f\x01\x02", b"\xff" * 300, b""):
        path = write_dicom(stored, syntax=RLELossless, PixelData=encapsulate([header + body + b"\0"]))
        assert refusal(path).startswith("its pixel data (RLE Lossless) cannot be decoded")
