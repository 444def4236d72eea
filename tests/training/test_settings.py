from __future__ import annotations

import subprocess
import sys

import pytest

from unremarkable.errors import UsageError
from unremarkable.training.settings import Augment, TrainSettings


def test_settings_and_history_import_no_torch() -> None:
    code = (
        "import sys, unremarkable.training.settings, unremarkable.training.history, unremarkable.training.progress;"
        "print([name for name in ('torch', 'kornia', 'lightning_fabric', 'rich') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"degrees": -1}, "degrees"),
        ({"translate": 1.5}, "translate"),
        ({"zoom": (1.1, 0.9)}, "zoom"),
        ({"zoom": (0, 1)}, "zoom"),
        ({"flip": 2}, "flip"),
        ({"degrees": float("nan")}, "degrees"),
    ],
)
def test_augment_refuses_values_out_of_range(values: dict, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Augment(**values)


def test_settings_refuse_bad_seed_and_precision() -> None:
    with pytest.raises(UsageError, match="seed"):
        TrainSettings(seed=-1)
    with pytest.raises(UsageError, match="did you mean 'bf16'"):
        TrainSettings(precision="bfp16")
