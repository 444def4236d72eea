"""The matrices kept beside the measurements: every row can be built, and no method is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from unremarkable.benchmark.cells import read_entry
from unremarkable.benchmark.matrix import Matrix, read_matrix
from unremarkable.methods.registry import method_class, method_names

FOLDER = Path(__file__).parents[2] / "benchmarks"
MATRICES = sorted(FOLDER.glob("*.toml"))
REBUILDING = {"reconstruction", "adversarial", "diffusion"}


def read(path: Path, root: Path) -> Matrix:
    for name in ("brain-tumor-mri", "chest-xray-pneumonia", "covid19-xray", "pneumoniamnist_28.npz"):
        (root / name).mkdir(exist_ok=True)
    return read_matrix(path, root)


@pytest.mark.parametrize("path", MATRICES, ids=[path.stem for path in MATRICES])
def test_each_row_is_understood(path: Path, tmp_path: Path) -> None:
    matrix = read(path, tmp_path)
    assert matrix.methods
    assert matrix.data
    for row in matrix.methods:
        read_entry(row, {})


@pytest.mark.parametrize("name", ["reconstruction_quick", "reconstruction_paper"])
def test_every_method_that_rebuilds_is_compared(name: str, tmp_path: Path) -> None:
    compared = {row.method for row in read(FOLDER / f"{name}.toml", tmp_path).methods}
    assert compared == {method for method in method_names() if method_class(method).family in REBUILDING}


@pytest.mark.parametrize("name", ["feature_methods", "feature_methods_small"])
def test_every_other_method_is_compared(name: str, tmp_path: Path) -> None:
    compared = {row.method for row in read(FOLDER / f"{name}.toml", tmp_path).methods}
    assert compared == {method for method in method_names() if method_class(method).family not in REBUILDING}
