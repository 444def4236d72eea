"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from unremarkable import Detector


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images, named by `$UNREMARKABLE_DATA` or beside the repository; absent elsewhere."""
    folder = Path(os.environ.get("UNREMARKABLE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real images are not on this machine: no folder {folder} (set UNREMARKABLE_DATA)")
    return folder


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small labelled data set of simulated slices, `train/normal`, `test/normal`, `test/lesion`."""
    from unremarkable.datasets.phantom import make_phantom_dataset

    folder = tmp_path_factory.mktemp("data") / "phantoms"
    return make_phantom_dataset(folder, n_train=60, n_test_normal=8, n_test_abnormal=8, size=64, seed=1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or leaves anything in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNREMARKABLE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def fitted(phantoms: Path) -> Detector:
    """The default method, fitted once for everyone on the simulated slices; not to be changed by a test."""
    from unremarkable.detector import Detector

    return Detector("knn", size=64).fit(phantoms)


@pytest.fixture(scope="session")
def model(fitted: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same detector as a model folder."""
    return fitted.save(tmp_path_factory.mktemp("models") / "phantom-knn")
