"""Limits: sizes are refused by what a header declares, and inflating stops in time."""

from __future__ import annotations

import gzip
import io
import os
import tracemalloc
import zlib

import pytest

from unremarkable.errors import InputError, UsageError
from unremarkable.imaging import guards

RANDOM = os.urandom(1_000_000)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def bomb(size: int) -> bytes:
    """`size` zero bytes, deflated: one megabyte of them, over and over."""
    packer = zlib.compressobj(9)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    megabyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + megabyte * (size >> 20)


def test_a_declared_size_within_the_limit_gives_its_bytes() -> None:
    assert guards.check_declared("a", (10, 20, 3), 2) == 1200


@pytest.mark.parametrize("shape", [(60_000, 60_000), (2**40, 1), (2**33, 2**33)])
def test_a_declared_size_over_the_limit_is_refused_with_both_numbers(shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=rf"{shape[0]} × {shape[1]}.*limit is 2\.0 GiB.*UNREMARKABLE_MAX_BYTES"):
        guards.check_declared("a", shape, 1)


@pytest.mark.parametrize("shape", [(0, 5), (5, -1), ()])
def test_a_declared_empty_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="empty"):
        guards.check_declared("a", shape, 1)


def test_the_environment_moves_the_limit_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNREMARKABLE_MAX_BYTES", "99")
    with pytest.raises(InputError, match="limit is 99 bytes"):
        guards.check_declared("a", (10, 10), 1)
    monkeypatch.setenv("UNREMARKABLE_MAX_BYTES", str(2**40))
    assert guards.check_declared("a", (60_000, 60_000), 1) == 3_600_000_000


@pytest.mark.parametrize("text", ["0", "-5", "2GB", "1e9", "²"])
def test_a_limit_that_is_no_number_is_the_users_error(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("UNREMARKABLE_MAX_BYTES", text)
    with pytest.raises(UsageError, match="UNREMARKABLE_MAX_BYTES"):
        guards.limits()


@pytest.mark.parametrize(
    ("wrapper", "packed"),
    [("zlib", zlib.compress(RANDOM)), ("gzip", gzip.compress(RANDOM)), ("deflate", raw_deflate(RANDOM))],
)
def test_inflating_gives_the_data_back(wrapper: guards.Wrapper, packed: bytes) -> None:
    assert guards.bounded_inflate(packed, source="a", wrapper=wrapper) == RANDOM
    assert guards.bounded_inflate(io.BytesIO(packed), len(RANDOM), source="a", wrapper=wrapper) == RANDOM
    assert guards.bounded_inflate(memoryview(packed + b"trailer"), source="a", wrapper=wrapper) == RANDOM


@pytest.mark.parametrize("first", [guards.CHUNK - 1, guards.CHUNK, guards.CHUNK + 1, 40])
def test_gzip_members_are_joined_wherever_they_meet(first: int) -> None:
    head = gzip.compress(os.urandom(first - 23), 0)  # a stored block: 23 bytes longer than its content
    assert len(head) == first
    packed = head + gzip.compress(b"second") + bytes(100)
    assert guards.bounded_inflate(packed, source="a", wrapper="gzip") == gzip.decompress(packed)


def test_inflating_stops_at_the_limit() -> None:
    with pytest.raises(InputError, match=r"past the 512\.0 KiB"):
        guards.bounded_inflate(zlib.compress(RANDOM), 1 << 19, source="a")


def test_a_bomb_is_refused_early_and_in_little_memory() -> None:
    packed = bomb(2 << 30)
    tracemalloc.start()
    with pytest.raises(InputError, match="bomb"):
        guards.bounded_inflate(packed, source="a")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(packed) < 3 << 20
    assert peak < 100 << 20


def test_what_compresses_well_but_is_small_is_no_bomb() -> None:
    assert guards.bounded_inflate(zlib.compress(bytes(20 << 20)), source="a") == bytes(20 << 20)


@pytest.mark.parametrize("cut", [0, 1, 5, 1000, 999_000])
def test_data_that_end_early_are_refused(cut: int) -> None:
    with pytest.raises(InputError, match="early"):
        guards.bounded_inflate(zlib.compress(RANDOM)[:cut], source="a")


def test_damaged_data_are_refused() -> None:
    packed = bytearray(zlib.compress(RANDOM))
    packed[-1] ^= 1
    with pytest.raises(InputError, match="damaged"):
        guards.bounded_inflate(bytes(packed), source="a")


def test_the_start_is_had_without_the_rest() -> None:
    assert guards.inflate_start(gzip.compress(RANDOM)[:5000], 100, wrapper="gzip") == RANDOM[:100]
    assert guards.inflate_start(b"\x1f\x8bnonsense", 100, wrapper="gzip") == b""


def test_a_short_file_is_called_truncated() -> None:
    guards.check_stored("a", 10, 10)
    with pytest.raises(InputError, match="truncated"):
        guards.check_stored("a", 10, 9)
    guards.check_ratio("a", 1 << 20, 1, 1000)  # small images may compress to nothing
    with pytest.raises(InputError, match="truncated"):
        guards.check_ratio("a", 1 << 30, 1 << 20, 1000)
