"""PNG: every colour type, depth, filter and interlacing, against pictures encoded here by the standard's text."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Picture

from unremarkable.errors import InputError
from unremarkable.imaging.png import read_png

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def paeth(left: int, above: int, corner: int) -> int:
    guess = left + above - corner
    return min((left, above, corner), key=lambda near: abs(guess - near))


def filtered(rows: list[bytes], step: int) -> bytes:
    """Rows with the five filters of PNG in turn, one byte at a time."""
    out = bytearray()
    for number, row in enumerate(rows):
        kind = number % 5
        above = rows[number - 1] if number else bytes(len(row))
        out.append(kind)
        for i, value in enumerate(row):
            left = row[i - step] if i >= step else 0
            corner = above[i - step] if i >= step else 0
            foretold = (0, left, above[i], (left + above[i]) // 2, paeth(left, above[i], corner))[kind]
            out.append((value - foretold) % 256)
    return bytes(out)


def packed_row(samples: NDArray[np.int64], depth: int) -> bytes:
    if depth == 16:
        return samples.astype(">u2").tobytes()
    bits = "".join(format(int(value), f"0{depth}b") for value in samples)
    return bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))


def encode(
    pixels: NDArray[np.integer],
    colour: int,
    depth: int,
    *,
    extra: tuple[tuple[bytes, bytes], ...] = (),
    interlace: bool = False,
) -> bytes:
    """A PNG of `pixels` `(H, W)` or `(H, W, C)`."""
    pixels = pixels.astype(np.int64).reshape(*pixels.shape[:2], -1)
    height, width, samples = pixels.shape
    step = max(1, samples * depth // 8)
    body = b""
    for left, top, right, down in ADAM7 if interlace else ((0, 0, 1, 1),):
        part = pixels[top::down, left::right]
        if part.size:
            body += filtered([packed_row(row.ravel(), depth) for row in part], step)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlace))
    middle = b"".join(chunk(name, content) for name, content in extra)
    data = zlib.compress(body)
    halves = chunk(b"IDAT", data[: len(data) // 2]) + chunk(b"IDAT", data[len(data) // 2 :])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle + halves + chunk(b"IEND", b"")


def noise(*shape: int, depth: int, seed: int = 0) -> NDArray[np.integer]:
    values = np.random.default_rng(seed).integers(0, 2**depth, shape)
    return values.astype(np.uint16 if depth == 16 else np.uint8)


def opaque(pixels: NDArray[np.integer], depth: int) -> NDArray[np.integer]:
    return np.concatenate([pixels, np.full_like(pixels[..., :1], 2**depth - 1)], axis=-1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.png"


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grey_is_read_as_stored(file: Path, depth: int, interlace: bool) -> None:
    pixels = noise(13, 11, depth=depth)
    file.write_bytes(encode(pixels, GREY, depth, interlace=interlace))
    image = read_png(file)
    assert image.axes == "HW"
    assert image.bits == depth
    assert image.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(image.pixels, pixels)


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("shape", [(13, 11), (1, 1), (3, 40), (40, 2)])
def test_colour_is_read_as_stored(file: Path, depth: int, interlace: bool, shape: tuple[int, int]) -> None:
    pixels = noise(*shape, 3, depth=depth)
    for colour, stored in ((RGB, pixels), (RGB_ALPHA, opaque(pixels, depth))):
        file.write_bytes(encode(stored, colour, depth, interlace=interlace))
        image = read_png(file)
        assert (image.axes, image.bits, image.padding) == ("HWC", depth, None)
        assert image.pixels.dtype == pixels.dtype
        np.testing.assert_array_equal(image.pixels, pixels)


@pytest.mark.parametrize("depth", [8, 16])
def test_opaque_alpha_of_grey_is_dropped(file: Path, depth: int) -> None:
    pixels = noise(9, 7, 1, depth=depth)
    file.write_bytes(encode(opaque(pixels, depth), GREY_ALPHA, depth))
    image = read_png(file)
    assert (image.axes, image.padding) == ("HW", None)
    np.testing.assert_array_equal(image.pixels, pixels[..., 0])


@pytest.mark.parametrize("depth", [8, 16])
def test_clear_pixels_are_padding_and_half_clear_ones_refused(file: Path, depth: int) -> None:
    stored = opaque(noise(9, 7, 3, depth=depth), depth)
    stored[2:4, 1, 3] = 0
    file.write_bytes(encode(stored, RGB_ALPHA, depth))
    image = read_png(file)
    assert image.padding is not None
    np.testing.assert_array_equal(image.padding, stored[..., 3] == 0)
    stored[0, 0, 3] = 5
    file.write_bytes(encode(stored, RGB_ALPHA, depth))
    with pytest.raises(InputError, match="1 of its 63 pixels are half transparent"):
        read_png(file)


def test_a_transparent_colour_is_padding(file: Path) -> None:
    grey = noise(9, 7, depth=16)
    grey[0, :3] = 77
    file.write_bytes(encode(grey, GREY, 16, extra=((b"tRNS", struct.pack(">H", 77)),)))
    np.testing.assert_array_equal(read_png(file).padding, grey == 77)
    colour = noise(9, 7, 3, depth=8)
    colour[4, 4] = (1, 2, 3)
    file.write_bytes(encode(colour, RGB, 8, extra=((b"tRNS", struct.pack(">HHH", 1, 2, 3)),)))
    np.testing.assert_array_equal(read_png(file).padding, (colour == (1, 2, 3)).all(-1))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_are_looked_up(file: Path, depth: int) -> None:
    indices, palette = noise(9, 7, depth=depth), noise(2**depth, 3, depth=8, seed=1)
    file.write_bytes(encode(indices, PALETTE, depth, extra=((b"PLTE", palette.tobytes()),)))
    image = read_png(file)
    assert (image.axes, image.bits) == ("HWC", 8)
    np.testing.assert_array_equal(image.pixels, palette[indices])


def test_palettes_may_have_clear_colours(file: Path) -> None:
    indices, palette = noise(9, 7, depth=2), noise(4, 3, depth=8, seed=1)
    extra = ((b"PLTE", palette.tobytes()), (b"tRNS", b"\xff\x00"))
    file.write_bytes(encode(indices, PALETTE, 2, extra=extra))
    np.testing.assert_array_equal(read_png(file).padding, indices == 1)


def test_a_palette_that_is_too_short_is_refused(file: Path) -> None:
    file.write_bytes(encode(noise(9, 7, depth=8), PALETTE, 8, extra=((b"PLTE", bytes(9)),)))
    with pytest.raises(InputError, match="palette"):
        read_png(file)


def test_a_12_bit_ramp_keeps_all_its_values(file: Path) -> None:
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    Picture.fromarray(ramp).save(file)
    image = read_png(file)
    assert len(np.unique(image.pixels)) == 4096
    assert image.bits == 16


@pytest.mark.parametrize(
    ("stored", "bits"),
    [
        (lambda v: v, 12),  # plain 0-4095
        (lambda v: v << 4 | v >> 8, 16),  # the standard's way
        (lambda v: v << 4, 16),  # the standard's simpler way
        (lambda v: v * 15, 16),  # neither
    ],
)
def test_significant_bits(file: Path, stored: object, bits: int) -> None:
    values = stored(np.arange(4096, dtype=np.uint16).reshape(64, 64))  # type: ignore[operator]
    file.write_bytes(encode(values, GREY, 16, extra=((b"sBIT", bytes([12])),)))
    image = read_png(file)
    assert image.bits == bits
    np.testing.assert_array_equal(image.pixels, values)


def test_pillow_reads_8_bit_pictures_the_same(file: Path) -> None:
    pixels = noise(31, 17, 3, depth=8)
    file.write_bytes(encode(pixels, RGB, 8))
    np.testing.assert_array_equal(read_png(file).pixels, np.asarray(Picture.open(file)))


@pytest.mark.parametrize("colour", [GREY, RGB])
def test_a_picture_that_declares_too_much_is_refused(file: Path, colour: int) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body)
    with pytest.raises(InputError, match="60000 × 60000"):
        read_png(file)


def test_a_picture_too_large_for_its_file_is_refused(file: Path) -> None:
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, GREY, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body)
    with pytest.raises(InputError, match="more than its"):
        read_png(file)
