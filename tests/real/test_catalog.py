"""The public sets on this machine, known by the catalogue, and their counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from unremarkable.datasets.catalog.check import compare
from unremarkable.datasets.catalog.registry import find_entry, recognise
from unremarkable.datasets.find import find_dataset


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("brain-tumor-mri", "brain-tumor-mri"),
        ("covid19-xray", "covid19-xray"),
        ("busi", "busi"),
        ("pneumoniamnist_28.npz", "pneumoniamnist"),
    ],
)
def test_recognised_with_the_published_counts(real_data: Path, folder: str, name: str) -> None:
    assert [(one.entry.name, one.gap) for one in recognise(real_data / folder)] == [(name, 0.0)]


def test_the_chest_set_lacks_the_validation_images(real_data: Path) -> None:
    """1,341 training normals, as in Kaggle's copy, and 234 + 390 to test; the 16 images of val are not there."""
    (alike,) = recognise(real_data / "chest-xray-pneumonia")
    result = compare(alike.entry, alike.entry.read(real_data / "chest-xray-pneumonia"))
    assert (alike.entry.name, result.edition) == ("kermany-chest-xray", "Kaggle")
    assert {(row.split, row.name): row.difference for row in result.rows} == {
        ("train", "NORMAL"): 0, ("train", "PNEUMONIA"): 0, ("val", "NORMAL"): -8, ("val", "PNEUMONIA"): -8,
        ("test", "NORMAL"): 0, ("test", "PNEUMONIA"): 0,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["brain-tumor-mri", "covid19-xray", "busi"])
def test_the_catalogue_and_plain_folders_agree(real_data: Path, name: str) -> None:
    plain, named = find_dataset(real_data / name), find_dataset(f"{name}:{real_data / name}")
    assert [(c.path, c.label, c.finding, c.split, c.masks) for c in named] == [
        (c.path, c.label, c.finding, c.split, c.masks) for c in plain
    ]


def test_chest_patients_span_no_split(real_data: Path) -> None:
    dataset = find_entry("kermany-chest-xray").read(real_data / "chest-xray-pneumonia")
    assert all(case.patient for case in dataset)
    train, test = ({case.patient for case in dataset if case.split == split} for split in ("train", "test"))
    assert len(train) < 5_216
    assert not train & test
