"""The packed sets: classes by name, and which one is normal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unremarkable.datasets.catalog.base import ANY
from unremarkable.datasets.catalog.medmnist_files import MD5
from unremarkable.datasets.catalog.registry import ENTRIES, find_entry
from unremarkable.datasets.find import find_dataset


def pack(path: Path, labels: list[list[int]]) -> None:
    arrays = {f"{split}_images": np.zeros((len(labels), 4, 4), np.uint8) for split in ("train", "val", "test")}
    np.savez(path, **arrays, **{f"{split}_labels": np.array(labels, np.uint8) for split in ("train", "val", "test")})


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("pneumoniamnist", [[0], [1]], [(0, "normal"), (1, "pneumonia")]),
        ("octmnist", [[3], [0]], [(0, "normal"), (1, "choroidal neovascularization")]),
        ("pathmnist", [[6], [8]], [(0, "normal colon mucosa"), (1, "colorectal adenocarcinoma epithelium")]),
        ("breastmnist", [[1], [0]], [(0, "normal, benign"), (1, "malignant")]),
        ("retinamnist", [[0], [4]], [(0, "grade 0"), (1, "grade 4")]),
        ("bloodmnist", [[0], [7]], [(None, "basophil"), (None, "platelet")]),
        ("chestmnist", [[0] * 14, [1, 0, 1] + [0] * 11], [(0, "normal"), (1, "atelectasis|effusion")]),
    ],
)
def test_labels(name: str, labels: list[list[int]], expected: list[tuple[int | None, str]], tmp_path: Path) -> None:
    pack(tmp_path / f"{name}_64.npz", labels)
    for data in (tmp_path, tmp_path / f"{name}_64.npz"):
        dataset = find_dataset(f"{name}:{data}")
        assert [(case.label, case.finding) for case in dataset if case.split == "val"] == expected
        assert len(dataset) == 6


def test_of_several_sizes_the_smallest_name_is_read(tmp_path: Path) -> None:
    pack(tmp_path / "pneumoniamnist.npz", [[0], [1]])
    pack(tmp_path / "pneumoniamnist_224.npz", [[0], [1]])
    dataset = find_entry("pneumoniamnist").read(tmp_path)
    assert dataset.notes == ("of 2 files, pneumoniamnist.npz is read",)


def test_every_file_has_its_digest() -> None:
    sets = [entry for entry in ENTRIES.values() if entry.downloads]
    assert len(sets) == 12
    assert len(MD5) == len(set(MD5.values())) == 48
    for entry in sets:
        assert [one.file for one in entry.downloads] == [
            f"{entry.name}{end}.npz" for end in ("", "_64", "_128", "_224")
        ]
        assert all(len(one.md5) == 32 and int(one.md5, 16) for one in entry.downloads)
        (counts,) = entry.counts.values()
        assert set(counts) == {("train", ANY), ("val", ANY), ("test", ANY)}
