"""Ranges of options, for the `__post_init__` of a method's options."""

from __future__ import annotations

import math
from typing import Any


def require_positive(options: Any, *names: str) -> None:
    """Refuse options below 1; None, where an option allows it, passes.

    Raises:
        ValueError: names the option and its value.
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")


def require_not_negative(options: Any, *names: str) -> None:
    """Refuse options that are not numbers of at least 0.

    Raises:
        ValueError: names the option and its value.
    """
    for name in names:
        if not 0 <= getattr(options, name) < math.inf:
            raise ValueError(f"{name} must be a number of at least 0, not {getattr(options, name)}")
