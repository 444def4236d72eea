"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images, named by `$UNREMARKABLE_DATA` or beside the repository; absent elsewhere."""
    folder = Path(os.environ.get("UNREMARKABLE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real images are not on this machine: no folder {folder} (set UNREMARKABLE_DATA)")
    return folder
