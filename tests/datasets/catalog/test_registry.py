"""Entries by name, folders by their look, and every entry's description."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from unremarkable.datasets.catalog.base import Entry
from unremarkable.datasets.catalog.page import describe, page, to_dict
from unremarkable.datasets.catalog.registry import ENTRIES, find_entry, read_named, recognise
from unremarkable.datasets.find import find_dataset
from unremarkable.errors import UsageError

ISSUE = [
    "kermany-oct",
    "kermany-chest-xray",
    "brain-tumor-mri",
    "covid19-xray",
    "bimcv-covid19",
    "head-ct",
    "brain-mri-253",
    "br35h",
    "mias",
    "mias-patches",
    "cnmc-leukemia",
    "nih-chestxray14",
    "brats",
    "brats-slices",
    "mura",
    "fastmri-plus-brain",
    "ixi",
    "grazpedwri-dx",
    "rsna-pneumonia",
    "padchest",
    "pneumoniamnist",
    "busi",
    "lgg",
    "vindr-cxr",
    "bmad",
]


def test_every_set_of_the_papers_is_there() -> None:
    assert set(ISSUE) <= set(ENTRIES)
    assert list(ENTRIES) == [entry.name for entry in ENTRIES.values()]


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_an_entry_says_all_it_must(entry: Entry) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", entry.name)
    for text in (entry.title, entry.modality, entry.citation, entry.access, entry.splits, entry.normal, entry.layout):
        assert text
        assert "\n" not in text
    assert entry.homepage.startswith("https://")
    assert entry.signs
    assert bool(entry.counts) == bool(entry.counted)
    for counts in entry.counts.values():
        assert all(cases > 0 and split in ("train", "val", "test", "", "*") for (split, _), cases in counts.items())
    assert dict(describe(entry))["title"] == entry.title
    assert to_dict(entry)["name"] == entry.name


def test_the_page_in_docs_is_the_catalogue() -> None:
    docs = Path(__file__).parents[3] / "docs" / "data-sets.md"
    assert docs.read_text() == page(ENTRIES.values()), (
        "write it anew: python -m unremarkable.datasets.catalog.page > docs/data-sets.md"
    )


def test_unknown_names_have_a_hint(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown data set 'kermany-otc'; did you mean 'kermany-oct'"):
        find_entry("kermany-otc")
    with pytest.raises(UsageError, match="did you mean 'kermany-oct'"):
        find_dataset(f"kermany-otc:{tmp_path}")


def test_a_prefix_reads_the_folder_as_that_set(tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree({"set/no/1.jpg": None, "set/yes/2.jpg": None})
    dataset = find_dataset(f"brain-mri-253:{tmp_path}/set")
    assert [(case.label, Path(case.path).name) for case in dataset] == [(0, "1.jpg"), (1, "2.jpg")]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(find_dataset("brain-mri-253:~/set")) == 2
    assert len(find_dataset([f"brain-mri-253:{tmp_path}/set", tmp_path / "set/no/1.jpg"])) == 2
    with pytest.raises(UsageError, match="names no folder; write busi:FOLDER"):
        find_dataset("busi:")
    with pytest.raises(UsageError, match="leave out --normal"):
        find_dataset(f"brain-mri-253:{tmp_path}/set", normal=["yes"])


def test_what_only_looks_like_a_prefix(tree: Any, tmp_path: Path) -> None:
    assert read_named("no/such/folder") is None
    assert read_named("C:\\data\\scans") is None
    with pytest.raises(UsageError, match="no such file or folder"):
        find_dataset(tmp_path / "a:b")
    tree({"brats:x/normal/1.png": None, "brats:x/abnormal/2.png": None})
    assert len(find_dataset(tmp_path / "brats:x")) == 2


def test_two_sets_of_one_layout_are_told_by_their_counts(tree: Any, tmp_path: Path) -> None:
    tree({f"no/{n}.jpg": None for n in range(98)} | {f"yes/{n}.jpg": None for n in range(150)} | {"pred/1.jpg": None})
    alike = recognise(tmp_path)
    assert [one.entry.name for one in alike] == ["brain-mri-253", "br35h"]
    assert alike[0].gap == pytest.approx(5 / 253)
    assert alike[1].gap is not None
    assert alike[1].gap > 0.9


def test_wrapped_folders_are_recognised_and_others_are_not(tree: Any, tmp_path: Path) -> None:
    tree(
        {
            f"archive/OCT2017/{split}/{n}/1.jpeg": None
            for split in ("train", "test")
            for n in ("NORMAL", "CNV", "DME", "DRUSEN")
        }
    )
    assert [one.entry.name for one in recognise(tmp_path)] == ["kermany-oct"]
    tree({"archive/other.txt": "beside it"})
    assert recognise(tmp_path) == []
    assert recognise(tmp_path / "gone") == []


def test_a_layout_that_cannot_be_read_is_not_recognised(tree: Any, tmp_path: Path) -> None:
    tree({"train.csv": "id,label\n1,2\n", "train/1.png": None})
    assert recognise(tmp_path) == []


def test_costly_sets_are_not_read_to_be_recognised(tree: Any, tmp_path: Path) -> None:
    tree({"Info.txt": "mdb001 G CIRC B 535 425 197\n", "mdb001.pgm": "not an image at all"})
    assert [(one.entry.name, one.gap is None) for one in recognise(tmp_path)] == [
        ("mias", False),
        ("mias-patches", True),
    ]
