"""TIFF: whole numbers and floats, pages, planes, compression, inversion, palettes, resolution; hostile files."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as Picture

from unremarkable.errors import InputError
from unremarkable.imaging.tiff import read_tiff

TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8"]


def noise(*shape: int, dtype: Any = np.uint8) -> NDArray[Any]:
    random, dtype = np.random.default_rng(0), np.dtype(dtype)
    if dtype.kind == "f":
        return random.normal(size=shape).astype(dtype)
    return random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.tif"


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "options",
    [{}, {"bigtiff": True}, {"byteorder": ">"}, {"compression": "zlib"}, {"tile": (16, 16)}, {"predictor": True}],
    ids=str,
)
def test_grey_is_read_as_stored(file: Path, dtype: str, options: dict[str, Any]) -> None:
    options = dict(options)
    if "predictor" in options:
        options |= {"compression": "zlib", "predictor": dtype[0] != "f"}  # that of floats is tested below
    pixels = noise(30, 20, dtype=dtype)
    tifffile.imwrite(file, pixels, photometric="minisblack", **options)
    image = read_tiff(file)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.axes == "HW"
    assert image.pixels.dtype == np.dtype(dtype)
    assert image.bits == (None if dtype[0] == "f" else pixels.itemsize * 8)


def test_a_float_ramp_keeps_all_its_values(file: Path) -> None:
    tifffile.imwrite(file, np.linspace(0, 1, 10_000, dtype=np.float32).reshape(100, 100))
    assert len(np.unique(read_tiff(file).pixels)) == 10_000


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "raw"])
@pytest.mark.parametrize(("mode", "dtype"), [("L", "u1"), ("I;16", "u2"), ("I", "i4"), ("F", "f4"), ("RGB", "u1")])
def test_files_by_pillow(file: Path, compression: str, mode: str, dtype: str) -> None:
    pixels = noise(30, 20, *([3] if mode == "RGB" else []), dtype=dtype)
    Picture.fromarray(pixels).save(file, compression=compression)
    image = read_tiff(file)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.pixels.dtype == np.dtype(dtype)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_the_predictor_for_floats_is_undone(file: Path, compression: str) -> None:
    pixels = noise(30, 20, dtype="f4")
    Picture.fromarray(pixels).save(file, compression=compression, tiffinfo={317: 3})
    with tifffile.TiffFile(file) as tiff:
        assert tiff.pages[0].predictor == 3
    np.testing.assert_array_equal(read_tiff(file).pixels, pixels)


@pytest.mark.parametrize("compression", ["tiff_ccitt", "group3", "group4", "raw"])
def test_fax_pages_of_one_bit(file: Path, compression: str) -> None:
    bits = noise(30, 20) > 99
    Picture.fromarray(bits).save(file, compression=compression)
    image = read_tiff(file)
    np.testing.assert_array_equal(image.pixels, bits)
    assert image.bits == 1


def test_jpeg_pages(file: Path) -> None:
    picture = Picture.linear_gradient("L").resize((64, 48))
    for mode in ("L", "RGB"):
        picture.convert(mode).save(file, compression="jpeg")
        image = read_tiff(file)
        np.testing.assert_array_equal(image.pixels, np.asarray(Picture.open(file).convert(mode)))
        assert image.axes == ("HW" if mode == "L" else "HWC")


def test_lzw_values_that_pillow_would_change_are_refused(file: Path) -> None:
    Picture.fromarray(noise(30, 20, dtype="f4")).save(file, compression="tiff_lzw")
    data = bytearray(file.read_bytes())
    with tifffile.TiffFile(file) as tiff:
        tag = tiff.pages[0].tags[258]
    data[tag.valueoffset : tag.valueoffset + 2] = (64).to_bytes(2, "little")
    file.write_bytes(data)
    with pytest.raises(InputError, match="float64 values with LZW compression"):
        read_tiff(file)


def test_pages_are_slices(file: Path) -> None:
    volume = noise(5, 30, 20, dtype="i2")
    with tifffile.TiffWriter(file) as writer:
        for page in volume:
            writer.write(page, contiguous=False)
    image = read_tiff(file)
    assert (image.axes, image.spacing) == ("DHW", None)
    np.testing.assert_array_equal(image.pixels, volume)
    Picture.fromarray(noise(8, 8)).save(
        file, save_all=True, append_images=[Picture.fromarray(255 - noise(8, 8))], compression="tiff_lzw"
    )
    np.testing.assert_array_equal(read_tiff(file).pixels, [noise(8, 8), 255 - noise(8, 8)])


def test_one_page_of_a_volume_axis_stays_flat(file: Path) -> None:
    tifffile.imwrite(file, noise(1, 30, 20), photometric="minisblack")
    assert read_tiff(file).axes == "HW"


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_colour_in_either_layout(file: Path, planar: str, dtype: str) -> None:
    pixels = noise(30, 20, 3, dtype=dtype)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(file, stored, photometric="rgb", planarconfig=planar)
    image = read_tiff(file)
    assert image.axes == "HWC"
    np.testing.assert_array_equal(image.pixels, pixels)
    tifffile.imwrite(file, noise(4, 30, 20, 3, dtype=dtype), photometric="rgb")
    assert read_tiff(file).axes == "DHWC"


def test_alpha_is_as_in_png(file: Path) -> None:
    pixels = noise(30, 20, 4, dtype="u2")
    pixels[..., 3] = 65535
    tifffile.imwrite(file, pixels, photometric="rgb", extrasamples=["unassalpha"])
    image = read_tiff(file)
    assert image.padding is None
    np.testing.assert_array_equal(image.pixels, pixels[..., :3])
    pixels[3, 4, 3] = 0
    tifffile.imwrite(file, pixels, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(np.argwhere(read_tiff(file).padding), [[3, 4]])
    pixels[3, 4, 3] = 9
    tifffile.imwrite(file, pixels, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(InputError, match="half transparent"):
        read_tiff(file)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_white_is_zero_is_inverted_exactly(file: Path, dtype: str) -> None:
    pixels = noise(30, 20, dtype=dtype)
    tifffile.imwrite(file, pixels, photometric="miniswhite")
    np.testing.assert_array_equal(read_tiff(file).pixels, np.iinfo(dtype).max - pixels)
    assert read_tiff(file).pixels.dtype == np.dtype(dtype)


def test_white_is_zero_of_signed_values_and_floats(file: Path) -> None:
    pixels = noise(30, 20, dtype="i2")
    tifffile.imwrite(file, pixels, photometric="miniswhite")
    np.testing.assert_array_equal(read_tiff(file).pixels, -1 - pixels)
    tifffile.imwrite(file, noise(30, 20, dtype="f4"), photometric="miniswhite")
    with pytest.raises(InputError, match="white-is-zero"):
        read_tiff(file)


@pytest.mark.parametrize("scale", [257, 256])
def test_palettes_are_looked_up(file: Path, scale: int) -> None:
    colours = noise(256, 3)
    indices = noise(30, 20)
    tifffile.imwrite(file, indices, photometric="palette", colormap=colours.T.astype(np.uint16) * scale)
    image = read_tiff(file)
    assert (image.axes, image.bits) == ("HWC", 8)
    np.testing.assert_array_equal(image.pixels, colours[indices])


@pytest.mark.parametrize("code", range(1, 9))
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits"])
def test_the_orientation_tag_is_applied(file: Path, code: int, compression: str) -> None:
    # Not against Pillow's own reading of the tag: it garbles uncompressed pictures of codes 5 to 8.
    turns = Picture.Transpose
    upright = (
        None,
        turns.FLIP_LEFT_RIGHT,
        turns.ROTATE_180,
        turns.FLIP_TOP_BOTTOM,
        turns.TRANSPOSE,
        turns.ROTATE_270,
        turns.TRANSVERSE,
        turns.ROTATE_90,
    )[code - 1]
    picture = Picture.fromarray(noise(30, 20))
    picture.save(file, tiffinfo={274: code, 282: 10.0, 283: 20.0, 296: 3}, compression=compression)
    image = read_tiff(file)
    np.testing.assert_array_equal(image.pixels, np.asarray(picture if upright is None else picture.transpose(upright)))
    assert image.spacing == ((1.0, 0.5) if code > 4 else (0.5, 1.0))


def test_resolution_is_spacing_where_a_unit_is_given(file: Path) -> None:
    pixels = noise(30, 20)
    for unit, expected in (("CENTIMETER", (0.25, 0.5)), ("INCH", (0.635, 1.27)), ("NONE", None)):
        tifffile.imwrite(file, pixels, resolution=(20, 40), resolutionunit=unit)
        assert read_tiff(file).spacing == (None if expected is None else pytest.approx(expected))
    tifffile.imwrite(file, pixels)
    assert read_tiff(file).spacing is None


def test_imagej_stacks_have_their_spacing(file: Path) -> None:
    volume = noise(4, 30, 20, dtype="u2")
    metadata = {"spacing": 3.0, "unit": "mm", "axes": "ZYX"}
    tifffile.imwrite(file, volume, imagej=True, resolution=(2, 4), metadata=metadata)
    image = read_tiff(file)
    assert (image.axes, image.spacing) == ("DHW", (3.0, 0.25, 0.5))
    np.testing.assert_array_equal(image.pixels, volume)


def test_several_pictures_or_axes_are_refused(file: Path) -> None:
    with tifffile.TiffWriter(file) as writer:
        writer.write(noise(30, 20))
        writer.write(noise(10, 20))
    with pytest.raises(InputError, match="2 pictures"):
        read_tiff(file)
    tifffile.imwrite(file, noise(2, 4, 30, 20), photometric="minisblack")
    with pytest.raises(InputError, match="one axis of slices"):
        read_tiff(file)
    tifffile.imwrite(file, noise(2, 2, 30, 20), imagej=True, metadata={"axes": "ZCYX"})
    with pytest.raises(InputError, match="channels"):
        read_tiff(file)


def test_thumbnails_are_passed_over(file: Path) -> None:
    with tifffile.TiffWriter(file) as writer:
        writer.write(noise(30, 20))
        writer.write(noise(15, 10), subfiletype=1)
    assert read_tiff(file).pixels.shape == (30, 20)


@pytest.mark.parametrize("bits", [2, 4, 12])
def test_packed_values_are_unpacked(file: Path, bits: int) -> None:
    pixels = noise(30, 16, dtype="u2") % 2**bits
    text = ["".join(format(value, f"0{bits}b") for value in row) for row in pixels]
    packed = np.array([[int(row[i : i + 8], 2) for i in range(0, len(row), 8)] for row in text], np.uint8)
    tifffile.imwrite(file, packed)
    change(file, 256, 16)
    change(file, 258, bits)
    image = read_tiff(file)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.bits == bits


def test_values_that_are_no_image_are_refused(file: Path) -> None:
    tifffile.imwrite(file, np.zeros((4, 4), np.complex64))
    with pytest.raises(InputError, match="complex64"):
        read_tiff(file)
    tifffile.imwrite(file, np.array([[0, np.nan]], np.float32))
    with pytest.raises(InputError, match="1 of its 2 values are NaN"):
        read_tiff(file)


def change(file: Path, code: int, value: int) -> None:
    with tifffile.TiffFile(file, mode="r+b") as tiff:
        tag = tiff.pages[0].tags[code]
        tag.overwrite(value)


@pytest.mark.parametrize(("side", "reason"), [(60_000, "limit"), (20_000, "truncated")])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_declared_giant_is_refused_unseen(file: Path, side: int, reason: str, compression: str | None) -> None:
    tifffile.imwrite(file, noise(30, 20), compression=compression)
    for code in (256, 257, 278):
        change(file, code, side)
    with pytest.raises(InputError, match=reason):
        read_tiff(file)


def test_a_truncated_file_is_refused(file: Path) -> None:
    tifffile.imwrite(file, noise(30, 20))
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(InputError, match="truncated"):
        read_tiff(file)


def test_a_strip_that_inflates_beyond_its_size_is_refused(file: Path) -> None:
    tifffile.imwrite(file, noise(30, 20), compression="zlib")
    bomb = zlib.compress(bytes(150 << 20), 1)
    with tifffile.TiffFile(file) as tiff:
        offset = tiff.pages[0].dataoffsets[0]
    change(file, 279, len(bomb))
    file.write_bytes(file.read_bytes()[:offset] + bomb)
    with pytest.raises(InputError, match="inflates past"):
        read_tiff(file)
