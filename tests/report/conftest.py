"""Makes `made_runs` importable, and gives its runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from made_runs import made_evaluation, write_run

from unremarkable.evaluation import Evaluation
from unremarkable.report.folder import RunFolder, read_run


@pytest.fixture(scope="session")
def evaluation() -> Evaluation:
    """`made_evaluation` as it is."""
    return made_evaluation()


@pytest.fixture
def run_of(tmp_path: Path) -> Callable[..., RunFolder]:
    """`run_of(evaluation, **changes)` → the run, written and read back."""
    count = 0

    def make(evaluation: Evaluation | None, **changes: Any) -> RunFolder:
        nonlocal count
        count += 1
        return read_run(write_run(tmp_path / f"run-{count}", evaluation, **changes))

    return make
