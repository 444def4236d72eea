"""A folder of results: whole or absent, and nobody else's is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from unremarkable.benchmark.folder import check_folder, whole_folder
from unremarkable.errors import UsageError


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
