"""Maps kept on disk come back on the image's own grid."""

from __future__ import annotations

import numpy as np
import pytest

from unremarkable.datasets.case import Case
from unremarkable.datasets.masks import Truth, load_truth
from unremarkable.errors import InputError, UsageError
from unremarkable.evaluation.map_store import MapStore
from unremarkable.imaging.image import Image
from unremarkable.imaging.preprocess import Preprocess
from unremarkable.imaging.volume import restore
from unremarkable.scoring.scores import CaseScore, without_pixels

PREPROCESS = Preprocess(size=(32, 32), fit="pad")


def row(case: Case, image: Image, maps: np.ndarray) -> CaseScore:
    picture = np.zeros((32, 32), np.uint8)
    return CaseScore(case, 1.0, 0.1, None, np.ones(len(maps)), maps, 0, picture, None, without_pixels(image))


def test_a_map_and_its_lesions_come_back() -> None:
    rng = np.random.default_rng(0)
    flat = Image(np.zeros((50, 37), np.uint8), "HW", "a", spacing=(1.0, 2.0))
    volume = Image(np.zeros((3, 20, 20), np.uint8), "DHW", "v")
    boxed = Case("a", 1, "lesion", patient="p", boxes=((3, 4, 11, 7), (8, 6, 20, 30)))
    maps = rng.random((1, 8, 8)).astype(np.float32), rng.random((3, 8, 8)).astype(np.float32)
    store = MapStore(PREPROCESS)
    truth = load_truth(boxed, flat)
    assert truth is not None
    store.add(row(boxed, flat, maps[0]), truth)
    store.add(row(Case("v", 0), volume, maps[1]), Truth(np.zeros((3, 20, 20), bool), ()))
    for _ in range(2):  # as often as asked for
        first, second = list(store)
        np.testing.assert_array_equal(first.values, restore(maps[0], flat, PREPROCESS))
        np.testing.assert_array_equal(first.mask, truth.mask)
        assert [lesion.pixels for lesion in first.lesions] == [77, 600]
        assert (first.name, first.group) == ("a", "p")
        np.testing.assert_array_equal(second.values, restore(maps[1], volume, PREPROCESS))
        assert second.group == "v"
        assert not second.mask.any()
    assert store.findings() == {"lesion": [0]}
    assert [case.name for case in store.only([1])] == ["v"]
    assert [case.name for case in store[:1]] == ["a"]
    with pytest.raises(IndexError):
        store[2]
    store.close()
    assert len(store) == 0


def test_broken_maps_and_full_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image(np.zeros((8, 8), np.uint8), "HW", "scan 3")
    nothing = Truth(np.zeros((8, 8), bool), ())
    store = MapStore(PREPROCESS)
    with pytest.raises(InputError, match="scan 3"):
        store.add(row(Case("scan 3", 0), image, np.full((1, 4, 4), np.nan, np.float32)), nothing)

    class Full:
        def seek(self, *_: int) -> int:
            return 0

        def write(self, _: bytes) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_file", Full())
    with pytest.raises(UsageError, match="No space left on device"):
        store.add(row(Case("scan 3", 0), image, np.zeros((1, 4, 4), np.float32)), nothing)
    assert len(store) == 0
