"""Ranges of options, for the `__post_init__` of a method's options, and of sizes, for its `__init__`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from unremarkable.errors import UsageError


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


def require_halving(name: str, size: tuple[int, int], widths: Sequence[int]) -> None:
    """Refuse images that a U-Net of these widths cannot halve so often, or that leave it less than two pixels.

    Raises:
        UsageError: names the method and the sides it takes.
    """
    step = 2 ** (len(widths) - 1)
    if any(side < 2 * step or side % step for side in size):
        raise UsageError(
            f"{name} with {len(widths)} widths takes sides that are multiples of {step}, {2 * step} at least; "
            f"not {size[0]}x{size[1]}"
        )
