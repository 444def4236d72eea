"""Models of the `timm` extra, which is imported when one is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unremarkable.errors import UsageError
from unremarkable.networks.weights import TIMM


def create_timm(name: str, weights: Path | None = None, **kwargs: Any) -> Any:
    """The model `timm:NAME`, random or with the weights of a file; `kwargs` are timm's.

    Raises:
        UsageError: timm is not installed, or has no such model.
    """
    try:
        import timm
    except ImportError as error:
        raise UsageError(
            f"{name} needs timm, which does not import ({error}): pip install 'unremarkable[timm]'"
        ) from error
    if weights is not None:
        kwargs |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}
    what = "features" if kwargs.get("features_only") else "tokens"
    try:
        return timm.create_model(name.removeprefix(TIMM), **kwargs)
    except (RuntimeError, TypeError) as error:  # an unknown name; a network without these arguments
        raise UsageError(f"timm cannot give {what} of {name.removeprefix(TIMM)}: {error}") from error
