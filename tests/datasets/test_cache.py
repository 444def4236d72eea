"""The packed cache: right, reused, repaired, and never half there."""

import errno
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unremarkable.datasets import cache
from unremarkable.datasets.cache import Packed, cache_folder, pack
from unremarkable.datasets.case import Case
from unremarkable.datasets.load import load_case
from unremarkable.errors import UsageError
from unremarkable.imaging.image import Image
from unremarkable.imaging.preprocess import Preprocess

SMALL = Preprocess(size=(16, 12), intensity="dtype")
Tree = Callable[[list[str]], Path]


@pytest.fixture
def cases(make_tree: Tree) -> list[Case]:
    root = make_tree([f"{i}.png" for i in range(7)])
    return [Case(str(root / f"{i}.png")) for i in range(7)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def entries(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_images_are_those_of_preprocess(cases: list[Case], root: Path) -> None:
    packed = pack(cases, SMALL, folder=root)
    assert packed.images.shape == (7, 1, 16, 12)
    assert packed.images.dtype == np.float32
    np.testing.assert_array_equal(packed.images, np.concatenate([SMALL(load_case(case)) for case in cases]))
    np.testing.assert_array_equal(packed.case_of, np.arange(7))
    assert (packed.origin, packed.failures, len(set(packed.digests))) == ("packed", (), 7)
    assert not packed.images.flags.writeable
    np.testing.assert_array_equal(np.load(packed.folder / "images.npy"), packed.images)


def test_reused_by_content_and_not_by_name(cases: list[Case], root: Path, tmp_path: Path) -> None:
    first = pack(cases, SMALL, folder=root)
    assert pack(cases, SMALL, folder=root).origin == "cache"
    moved = []
    for index, case in enumerate(cases):
        target = tmp_path / "moved" / f"other{index}.png"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(Path(case.path).read_bytes())
        moved.append(Case(str(target)))
    assert pack(moved, SMALL, folder=root).origin == "cache"
    assert pack(cases[::-1], SMALL, folder=root).origin == "packed"
    assert pack(cases, Preprocess(size=(16, 16), intensity="dtype"), folder=root).origin == "packed"
    Path(cases[0].path).write_bytes(Path(cases[1].path).read_bytes())
    changed = pack(cases, SMALL, folder=root)
    assert changed.origin == "packed"
    np.testing.assert_array_equal(changed.images[0], first.images[1])


def test_the_number_of_workers_does_not_matter(cases: list[Case], tmp_path: Path) -> None:
    files = [(pack(cases, SMALL, folder=tmp_path / str(n), workers=n).folder / "images.npy") for n in (1, 2, 5)]
    assert len({file.read_bytes() for file in files}) == 1


def volume_loader(case: Case) -> Image:
    depth = int(Path(case.path).stem) + 1
    return Image(np.full((depth, 8, 8), depth, np.uint8), "DHW", case.path, bits=8)


def test_volumes_give_an_image_a_slice(cases: list[Case], root: Path) -> None:
    packed = pack(cases, SMALL, folder=root, loader=volume_loader)
    assert len(packed.images) == sum(range(1, 8))
    np.testing.assert_array_equal(packed.case_of, np.repeat(np.arange(7), np.arange(1, 8)))
    np.testing.assert_allclose(packed.images[:, 0, 0, 0] * 255, packed.case_of + 1, rtol=1e-6)
    assert pack(cases, SMALL, folder=root).origin == "packed"  # another loader is another entry


def test_failures_are_recorded_and_kept(cases: list[Case], root: Path) -> None:
    Path(cases[2].path).write_bytes(b"\x89PNG\r\n\x1a\n broken")
    Path(cases[4].path).unlink()
    for origin in ("packed", "cache"):
        packed = pack(cases, SMALL, folder=root)
        assert packed.origin == origin
        assert [path for path, _ in packed.failures] == [cases[2].path, cases[4].path]
        assert packed.digests[4] is None
        np.testing.assert_array_equal(packed.case_of, [0, 1, 3, 5, 6])


def test_nothing_readable(cases: list[Case], root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none of the 1 cases can be used"):
        pack([Case(str(tmp_path / "no.png"))], SMALL, folder=root)
    assert entries(root) == []
    with pytest.raises(UsageError, match="no cases"):
        pack([], SMALL, folder=root)


def flip_byte(entry: Path) -> None:
    data = bytearray((entry / "images.npy").read_bytes())
    data[-1] ^= 1
    (entry / "images.npy").write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda entry: os.truncate(entry / "images.npy", 500),
    "flipped bit": flip_byte,
    "bad JSON": lambda entry: (entry / "index.json").write_text("{"),
    "other JSON": lambda entry: (entry / "index.json").write_text("[]"),
    "no index": lambda entry: (entry / "index.json").unlink(),
    "no images": lambda entry: (entry / "images.npy").unlink(),
    "case beyond the end": lambda entry: (entry / "index.json").write_text(
        json.dumps(json.loads((entry / "index.json").read_text()) | {"failures": [[99, "x"]]})
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_packed_again(cases: list[Case], root: Path, damage: str) -> None:
    first = pack(cases, SMALL, folder=root)
    expected = np.array(first.images)
    DAMAGE[damage](first.folder)
    again = pack(cases, SMALL, folder=root)
    assert again.origin == "repacked"
    np.testing.assert_array_equal(again.images, expected)
    assert entries(root) == [again.folder.name]
    assert pack(cases, SMALL, folder=root).origin == "cache"


def test_interrupted_packing_leaves_nothing(cases: list[Case], root: Path) -> None:
    def loader(case: Case) -> Image:
        if case is cases[5]:
            raise KeyboardInterrupt
        return load_case(case)

    with pytest.raises(KeyboardInterrupt):
        pack(cases, SMALL, folder=root, loader=loader, workers=1)
    assert entries(root) == []


def test_what_a_killed_process_left_is_removed_after_an_hour(cases: list[Case], root: Path) -> None:
    for name, age in ((".partial-old", 7200), (".partial-new", 0)):
        (root / name).mkdir(parents=True)
        (root / name / "images.npy").write_bytes(b"x")
        for path in (root / name / "images.npy", root / name):
            os.utime(path, (time.time() - age,) * 2)
    packed = pack(cases, SMALL, folder=root)
    assert entries(root) == [".partial-new", packed.folder.name]


def test_a_full_disk_is_one_line_and_leaves_nothing(
    cases: list[Case], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(UsageError, match=r"disk is too full.*UNREMARKABLE_CACHE") as error:
        pack(cases, SMALL, folder=root)
    assert "\n" not in str(error.value)
    assert entries(root) == []


def test_too_little_space_is_seen_before_decoding(
    cases: list[Case], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = cache.shutil.disk_usage(root.parent)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage._replace(free=1000))

    def loader(case: Case) -> Image:
        raise AssertionError("decoded all the same")

    with pytest.raises(UsageError, match="are needed"):
        pack(cases, SMALL, folder=root, loader=loader)
    assert entries(root) == []


def test_a_folder_that_cannot_be_made(cases: list[Case], root: Path) -> None:
    root.write_text("a file")
    with pytest.raises(UsageError, match="cannot be written"):
        pack(cases, SMALL, folder=root)


def slow_loader(case: Case) -> Image:
    time.sleep(0.02)
    return load_case(case)


def pack_in_process(paths: list[str], root: Path) -> tuple[str, float]:
    packed: Packed = pack([Case(path) for path in paths], SMALL, folder=root, loader=slow_loader)
    return packed.folder.name, float(packed.images.sum())


def test_two_processes_at_once(cases: list[Case], root: Path) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        jobs = [pool.apply_async(pack_in_process, ([case.path for case in cases], root)) for _ in range(4)]
        results = {job.get(timeout=60) for job in jobs}
    assert len(results) == 1
    assert entries(root) == [next(iter(results))[0]]


def test_a_damaged_entry_in_the_way_is_replaced(tmp_path: Path) -> None:
    for name in ("partial", "entry"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "who").write_text(name)
    cache._publish(tmp_path / "partial", tmp_path / "entry", lambda: False)
    assert (tmp_path / "entry" / "who").read_text() == "partial"
    assert entries(tmp_path) == ["entry"]


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cases: list[Case]) -> None:
    monkeypatch.setenv("UNREMARKABLE_CACHE", str(tmp_path / "mine"))
    assert pack(cases, SMALL).folder.parent == tmp_path / "mine" / "packed"
    monkeypatch.delenv("UNREMARKABLE_CACHE")
    assert cache_folder().name == "unremarkable"
