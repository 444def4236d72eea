"""One cell, run in this process."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from unremarkable.benchmark.cell import run_cell
from unremarkable.benchmark.cells import departures, make_cells
from unremarkable.benchmark.matrix import DataEntry, MethodEntry
from unremarkable.benchmark.protocol import Protocol
from unremarkable.datasets.phantom import make_phantom_dataset


@pytest.mark.parametrize("prefix", ["", "kermany-chest-xray:"], ids=["folder", "catalogue"])
def test_cases_are_named_below_the_data_set(prefix: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    make_phantom_dataset(data, n_train=12, n_test_normal=4, n_test_abnormal=4, size=32, seed=0)
    shutil.rmtree(data / "test/masks")
    for folder in sorted(data.glob("*/*")):
        folder.rename(folder.with_name("NORMAL" if folder.name == "normal" else "PNEUMONIA"))
    shutil.copytree(data / "test/PNEUMONIA", data / "train/PNEUMONIA")
    entry = DataEntry("a", f"{prefix}{data}")
    cell = make_cells([MethodEntry("knn", "knn", {"size": 32})], [entry], [0], Protocol())[0]
    for name in ("work", "made"):
        (tmp_path / name).mkdir()
    result = run_cell(cell, tmp_path / "work", tmp_path / "made")
    assert result["counts"]["cases"] == 8
    with (tmp_path / "made/scores.csv").open(encoding="utf-8") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert all(path.startswith("test/") for path in paths), paths


def test_rows_with_seeds_of_their_own(tmp_path: Path) -> None:
    make_phantom_dataset(tmp_path / "data", n_train=12, n_test_normal=4, n_test_abnormal=4, size=32, seed=0)
    rows = [MethodEntry("quick", "knn", seeds=(0, 3)), MethodEntry("slow", "autoencoder")]
    cells = make_cells(rows, [DataEntry("a", str(tmp_path / "data"))], (1,), Protocol())
    assert [(cell.row, cell.seed) for cell in cells] == [("slow", 1), ("quick", 0), ("quick", 3)]


def test_what_departs_from_the_defaults(tmp_path: Path) -> None:
    make_phantom_dataset(tmp_path / "data", n_train=12, n_test_normal=4, n_test_abnormal=4, size=32, seed=0)
    rows = [MethodEntry("ae", "autoencoder", {"epochs": "5", "size": "64", "widths": "8,16,32,64", "loss": "mse"})]
    (cell,) = make_cells(rows, [DataEntry("a", str(tmp_path / "data"))], [0], Protocol())
    assert departures(cell) == {"epochs": "5", "widths": "8,16,32,64", "size": "64"}


def test_what_the_watch_finds_stands_in_the_notes(tmp_path: Path) -> None:
    make_phantom_dataset(tmp_path / "data", n_train=12, n_test_normal=4, n_test_abnormal=4, size=32, seed=0)
    options = {"size": 32, "epochs": 1, "learning_rate": 0.0, "widths": "2,2,2,2"}
    row = MethodEntry("untaught", "autoencoder", options)
    (cell,) = make_cells([row], [DataEntry("a", str(tmp_path / "data"))], [0], Protocol())
    for name in ("work", "made"):
        (tmp_path / name).mkdir()
    notes = run_cell(cell, tmp_path / "work", tmp_path / "made")["notes"]
    assert any(note.startswith("after training: ") for note in notes)
