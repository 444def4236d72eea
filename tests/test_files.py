"""Files and folders: whole or absent, and nobody else's is touched; JSON that every reader takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unremarkable.errors import UsageError
from unremarkable.files import check_folder, to_json, whole_file, whole_folder


def test_it_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with whole_folder(target, "mark.json") as folder:
        (folder / "mark.json").write_text("1")
        assert not target.exists()
    assert (target / "mark.json").read_text() == "1"
    assert [path.name for path in target.parent.iterdir()] == ["out"]


def test_an_error_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with whole_folder(target, "mark.json") as folder:
        (folder / "mark.json").write_text("old")

    def fail() -> None:
        with whole_folder(target, "mark.json", overwrite=True) as folder:
            (folder / "mark.json").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (target / "mark.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_there_is_replaced_only_when_asked_and_only_if_ours(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    check_folder(target, "mark.json")  # empty: nothing to lose
    (target / "mark.json").write_text("old")
    with pytest.raises(UsageError, match="exists already"):
        check_folder(target, "mark.json")
    with whole_folder(target, "mark.json", overwrite=True) as folder:
        (folder / "mark.json").write_text("new")
    assert (target / "mark.json").read_text() == "new"
    with pytest.raises(UsageError, match=r"holds no other\.json"):
        check_folder(target, "other.json", overwrite=True)


def test_a_file_takes_its_place_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")

    def fail() -> None:
        with whole_file(target) as unfinished:
            assert unfinished.suffix == ".csv"
            unfinished.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    with whole_file(target) as unfinished:
        unfinished.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_json_has_no_words_for_some_numbers() -> None:
    text = to_json({1: (float("nan"), float("-inf"), 0.5, True, None), "path": Path("a")})
    assert json.loads(text) == {"1": [None, None, 0.5, True, None], "path": "a"}
