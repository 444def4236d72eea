"""What is asked for: methods with options, data by path or name, seeds, matrix files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unremarkable.benchmark.matrix import (
    DataEntry,
    MethodEntry,
    labelled,
    overridden,
    parse_data,
    parse_methods,
    parse_seeds,
    read_matrix,
)
from unremarkable.errors import UsageError


def test_methods_with_options_whose_values_hold_commas() -> None:
    rows = parse_methods(["knn[stages=1,2, grid=1],autoencoder", "knn"])
    assert [(row.method, row.options) for row in rows] == [
        ("knn", {"stages": "1,2", "grid": "1"}),
        ("autoencoder", {}),
        ("knn", {}),
    ]
    assert [row.label for row in rows] == ["knn[stages=1,2, grid=1]", "autoencoder", "knn"]


@pytest.mark.parametrize("text", ["knn[grid", "knn]grid=1[", "knn[grid]"])
def test_methods_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UsageError, match=r"not understood|not option=value"):
        parse_methods([text])


@pytest.mark.parametrize(
    ("given", "seeds"), [("3", (0, 1, 2)), ("4,7", (4, 7)), ("4,", (4,)), (2, (0, 1)), ([4], (4,)), ([5, 1], (5, 1))]
)
def test_seeds(given: object, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(given) == seeds


@pytest.mark.parametrize("given", ["0", "many", "1,1", [-1], ""])
def test_seeds_that_are_none(given: object) -> None:
    with pytest.raises(UsageError, match="seeds"):
        parse_seeds(given)


def test_data_by_name_by_path_and_with_a_comma_in_it(tmp_path: Path) -> None:
    for name in ("heads", "a,b", "other/heads"):
        (tmp_path / name).mkdir(parents=True)
    found = parse_data(["heads", str(tmp_path / "a,b"), str(tmp_path / "other/heads")], tmp_path)
    assert [Path(entry.path).relative_to(tmp_path).as_posix() for entry in found] == ["heads", "a,b", "other/heads"]
    assert len({entry.name for entry in found}) == 3, "two of one name would share a column"


def test_unknown_data_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "chest").mkdir()
    with pytest.raises(UsageError, match="did you mean 'chest'"):
        parse_data(["chst"], tmp_path)
    with pytest.raises(UsageError, match="--data-root"):
        parse_data(["nowhere"], None)


MATRIX = {
    "seeds": 2,
    "protocol": "kfold:3",
    "deduplicate": True,
    "data": {"renamed": {"path": "heads", "normal": ["healthy"]}},
    "methods": {"knn": {}, "coarse": {"method": "knn", "grid": 1}},
}


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "heads").mkdir()
    (tmp_path / "m.json").write_text(json.dumps(MATRIX))
    (tmp_path / "m.toml").write_text(
        'seeds = 2\nprotocol = "kfold:3"\ndeduplicate = true\n[data.renamed]\npath = "heads"\nnormal = ["healthy"]\n'
        '[methods.knn]\n[methods.coarse]\nmethod = "knn"\ngrid = 1\n'
    )
    found = [read_matrix(tmp_path / name, tmp_path) for name in ("m.json", "m.toml")]
    assert found[0] == found[1]
    assert found[0].methods == (MethodEntry("knn", "knn"), MethodEntry("coarse", "knn", {"grid": 1}))
    assert found[0].data == (DataEntry("renamed", str(tmp_path / "heads"), normal=("healthy",)),)
    assert found[0].seeds == (0, 1)


def test_a_row_may_have_its_own_seeds(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text("seeds = 2\n[methods.knn]\nseeds = [4, 0]\ngrid = 1\n[methods.autoencoder]\n")
    found = read_matrix(tmp_path / "m.toml", tmp_path)
    assert found.methods == (MethodEntry("knn", "knn", {"grid": 1}, (4, 0)), MethodEntry("autoencoder", "autoencoder"))
    assert found.seeds == (0, 1)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("m.toml", "seeds = ", "neither TOML nor JSON"),
        ("m.json", "{", "neither TOML nor JSON"),
        ("m.toml", "seed = 2", "did you mean 'seeds'"),
        ("m.toml", "[methods]\nknn = 3", "not understood"),
    ],
)
def test_matrix_files_that_cannot_be_read(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=says):
        read_matrix(tmp_path / name, tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_matrix(tmp_path / "none.toml", tmp_path)


def test_the_command_line_goes_before_a_file() -> None:
    rows = overridden([MethodEntry("a", "knn", {"grid": 2, "k": 1}), MethodEntry("b", "knn")], {"grid": "1"})
    assert [row.options for row in rows] == [{"grid": "1", "k": 1}, {}]
    assert [row.label for row in rows] == ["a[grid=1]", "b"], "a row must not look like one that was run otherwise"


def test_a_row_tells_what_it_was_given() -> None:
    assert labelled("knn", {}) == "knn"
    assert labelled("knn", {"grid": 1, "k": 2}) == "knn[grid=1,k=2]"
    assert labelled("knn[grid=1]", {"k": 2}) == "knn[grid=1,k=2]"
    assert labelled("AE [42]", {"epochs": 2}) == "AE [42][epochs=2]"
