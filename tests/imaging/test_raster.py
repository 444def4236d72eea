"""JPEG, BMP, PGM/PPM and NPY: stored values unchanged, or one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageOps

from unremarkable.errors import InputError
from unremarkable.imaging.raster import orient, read_bmp, read_jpeg, read_npy, read_pnm


def noise(*shape: int, high: int = 256, dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


class TestJpeg:
    @pytest.mark.parametrize("shape", [(40, 30), (40, 30, 3)])
    def test_values_are_those_of_libjpeg(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        file = tmp_path / "a.jpg"
        Picture.fromarray(noise(*shape)).save(file)
        image = read_jpeg(file)
        assert (image.axes, image.bits) == ("HW" if len(shape) == 2 else "HWC", 8)
        np.testing.assert_array_equal(image.pixels, np.asarray(Picture.open(file)))

    @pytest.mark.parametrize("code", range(1, 9))
    def test_the_exif_orientation_is_applied_and_recorded(self, tmp_path: Path, code: int) -> None:
        file = tmp_path / "a.jpg"
        exif = Picture.Exif()
        exif[274] = code
        Picture.fromarray(noise(40, 30, 3)).save(file, exif=exif)
        image = read_jpeg(file)
        upright = ImageOps.exif_transpose(Picture.open(file))
        np.testing.assert_array_equal(image.pixels, np.asarray(upright))
        assert image.metadata.get("orientation") == (code if code > 1 else None)
        assert image.pixels.flags.c_contiguous

    def test_cmyk_becomes_rgb(self, tmp_path: Path) -> None:
        file = tmp_path / "a.jpg"
        Picture.fromarray(noise(40, 30, 4), mode="CMYK").save(file)
        image = read_jpeg(file)
        assert (image.axes, image.metadata["converted_from"]) == ("HWC", "CMYK")
        np.testing.assert_array_equal(image.pixels, np.asarray(Picture.open(file).convert("RGB")))

    def test_a_giant_is_refused_unseen(self, tmp_path: Path) -> None:
        file = tmp_path / "a.jpg"
        Picture.new("L", (16, 16)).save(file)
        data = bytearray(file.read_bytes())
        start = data.index(b"\xff\xc0") + 5
        data[start : start + 4] = b"\xff\xf0\xff\xf0"
        file.write_bytes(data)
        with pytest.raises(InputError, match="65520 × 65520"):
            read_jpeg(file)
        data[start : start + 4] = b"\x80\x00\x80\x00"
        file.write_bytes(data)
        with pytest.raises(InputError, match="more than its"):
            read_jpeg(file)


def test_orientation_of_volumes_turns_rows_and_columns_only() -> None:
    volume = noise(3, 4, 5)
    for code in range(1, 9):
        turned = orient(volume, code, row_axis=1)
        for plane, expected in zip(turned, volume, strict=True):
            np.testing.assert_array_equal(plane, orient(expected, code))


class TestBmp:
    @pytest.mark.parametrize("mode", ["L", "RGB", "P", "1"])
    def test_values_are_those_shown(self, tmp_path: Path, mode: str) -> None:
        file = tmp_path / "a.bmp"
        picture = Picture.fromarray(noise(21, 17, 3)).convert(mode)
        picture.save(file)
        image = read_bmp(file)
        expected = picture.convert("L" if mode == "1" else "RGB" if mode == "P" else mode)
        np.testing.assert_array_equal(image.pixels, np.asarray(expected))
        assert (image.pixels.dtype, image.bits) == (np.uint8, 8)

    def test_a_giant_is_refused_unseen(self, tmp_path: Path) -> None:
        file = tmp_path / "a.bmp"
        Picture.new("RGB", (16, 16)).save(file)
        data = bytearray(file.read_bytes())
        data[18:26] = (20_000).to_bytes(4, "little") * 2
        file.write_bytes(data)
        with pytest.raises(InputError, match="more than its"):
            read_bmp(file)


class TestPnm:
    @pytest.mark.parametrize("maxval", [1, 255, 256, 1000, 4095, 65535])
    @pytest.mark.parametrize("colour", [False, True])
    @pytest.mark.parametrize("text", [False, True])
    def test_values_bits_and_maximum(self, tmp_path: Path, maxval: int, colour: bool, text: bool) -> None:
        pixels = noise(7, 5, *([3] if colour else []), high=maxval + 1, dtype=np.uint16 if maxval > 255 else np.uint8)
        magic = {(False, True): "P2", (True, True): "P3", (False, False): "P5", (True, False): "P6"}[colour, text]
        head = f"{magic}\n# a comment 1 2 3\n5 7 # another\n{maxval}\n".encode()
        body = " ".join(map(str, pixels.ravel())).encode() if text else pixels.astype(f">u{pixels.itemsize}").tobytes()
        file = tmp_path / "a.pgm"
        file.write_bytes(head + body)
        image = read_pnm(file)
        np.testing.assert_array_equal(image.pixels, pixels)
        assert image.pixels.dtype == pixels.dtype
        assert (image.bits, image.metadata["maxval"]) == (maxval.bit_length(), maxval)

    def test_binary_that_starts_like_a_comment_or_space_is_data(self, tmp_path: Path) -> None:
        file = tmp_path / "a.pgm"
        file.write_bytes(b"P5 3 1 255\n" + b" #\n")
        np.testing.assert_array_equal(read_pnm(file).pixels, [[32, 35, 10]])

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"P5 4 4 255\n" + bytes(15), "truncated"),
            (b"P2 4 4 255\n1 2 3", "truncated"),
            (b"P2 2 1 255\n1 256", "outside"),
            (b"P2 2 1 255\n-1 25", "outside"),
            (b"P5 2 1 4095\n\xff\xff\x00\x00", "outside"),
            (b"P5 2 1 0\n  ", "maximum of 0"),
            (b"P5 2 1 70000\n    ", "maximum of 70000"),
            (b"P5 60000 60000 255\n ", "60000 × 60000"),
            (b"P5 0 10 255\n ", "empty"),
            (b"P5 header", "damaged"),
        ],
    )
    def test_bad_files_are_refused(self, tmp_path: Path, content: bytes, reason: str) -> None:
        file = tmp_path / "a.pgm"
        file.write_bytes(content)
        with pytest.raises(InputError, match=reason):
            read_pnm(file)


class TestNpy:
    @pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<u2", "i4", "<u8", "f2", "<f4", ">f8"])
    @pytest.mark.parametrize(("shape", "axes"), [((6, 5), "HW"), ((6, 5, 3), "HWC"), ((4, 6, 5), "DHW")])
    @pytest.mark.parametrize("fortran", [False, True])
    def test_values(self, tmp_path: Path, dtype: str, shape: tuple[int, ...], axes: str, fortran: bool) -> None:
        pixels = noise(*shape, high=120).astype(dtype)
        file = tmp_path / "a.npy"
        np.save(file, np.asfortranarray(pixels) if fortran else pixels)
        image = read_npy(file)
        np.testing.assert_array_equal(image.pixels, pixels)
        assert image.axes == axes
        assert image.pixels.dtype == np.dtype(dtype).newbyteorder("=")
        assert image.bits == (None if "f" in dtype else np.dtype(dtype).itemsize * 8)
        assert image.pixels.flags.c_contiguous

    def test_truth_values_are_one_bit(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", noise(4, 4, high=2, dtype=bool))
        image = read_npy(tmp_path / "a.npy")
        assert (image.bits, image.pixels.dtype) == (1, np.uint8)

    @pytest.mark.parametrize(
        ("array", "reason"),
        [
            (np.array([[1, None]]), "object"),
            (np.zeros((2, 2), complex), "complex"),
            (np.zeros((2, 2), "U3"), "<U3"),
            (np.zeros(5), "shape"),
            (np.zeros((1, 2, 3, 4)), "shape"),
            (np.zeros((0, 4)), "empty"),
            (np.array([[1.0, np.nan], [np.inf, 2.0]]), "2 of its 4 values are NaN or infinite"),
        ],
    )
    def test_what_is_no_image_is_refused(self, tmp_path: Path, array: NDArray[Any], reason: str) -> None:
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(InputError, match=reason):
            read_npy(tmp_path / "a.npy")

    @pytest.mark.parametrize(("side", "reason"), [(60_000, "limit"), (20_000, "truncated")])
    def test_a_declared_giant_is_refused_unseen(self, tmp_path: Path, side: int, reason: str) -> None:
        file = tmp_path / "a.npy"
        with file.open("wb") as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": (side, side)}
            np.lib.format.write_array_header_1_0(stream, header)
            stream.write(bytes(100))
        with pytest.raises(InputError, match=reason):
            read_npy(file)
