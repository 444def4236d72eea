"""Ranges of options."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from unremarkable.methods.checks import require_not_negative, require_positive


def test_in_range() -> None:
    options = SimpleNamespace(epochs=1, plateau=None, weight=0.0)
    require_positive(options, "epochs", "plateau")
    require_not_negative(options, "epochs", "weight")


def test_out_of_range() -> None:
    with pytest.raises(ValueError, match="epochs must be at least 1, not 0"):
        require_positive(SimpleNamespace(plateau=3, epochs=0), "plateau", "epochs")
    for value in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"weight must be a number of at least 0, not {value}"):
            require_not_negative(SimpleNamespace(weight=value), "weight")
