"""Publishers' folders in miniature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from unremarkable.datasets.case import Case, Dataset
from unremarkable.datasets.catalog.registry import find_entry

Tree = Callable[[Mapping[str, Any]], Path]
Read = Callable[[str], dict[str, Case]]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes files: text as it is, an array as the image (or NIfTI) that the name says, None as a small picture."""

    def write(files: Mapping[str, Any]) -> Path:
        for number, (name, content) in enumerate(files.items()):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                path.write_text(content)
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                values = np.full((6, 8), number % 256, np.uint8) if content is None else content
                _save(path, values)
        return tmp_path

    return write


def _save(path: Path, values: NDArray[Any]) -> None:
    if ".nii" in path.name:
        import nibabel

        nibabel.save(nibabel.Nifti1Image(values, np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    else:
        Image.fromarray(values).save(path)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """The cases of an entry, by file name; what is written below the folder is the publisher's download."""

    def by_name(name: str) -> dict[str, Case]:
        dataset = find_entry(name).read(tmp_path)
        assert isinstance(dataset, Dataset)
        assert (dataset.name, dataset.layout) == (name, "catalogue")
        found = {Path(case.path).name: case for case in dataset}
        return found if len(found) == len(dataset) else {_below(tmp_path, case): case for case in dataset}

    return by_name


def _below(root: Path, case: Case) -> str:
    return Path(case.path).relative_to(root).as_posix()
