"""unremarkable: learns what normal looks like from normal medical scans, and shows what does not look like that."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from unremarkable.detector import Detector
    from unremarkable.errors import InputError, UnremarkableError, UsageError
    from unremarkable.imaging.image import Image
    from unremarkable.imaging.preprocess import Preprocess
    from unremarkable.imaging.read import read_image
    from unremarkable.scoring.scores import Scores

# Resolved on first use: importing the package must cost nothing, and most of these bring in torch.
_WHERE = {
    "Detector": "unremarkable.detector",
    "Image": "unremarkable.imaging.image",
    "InputError": "unremarkable.errors",
    "Preprocess": "unremarkable.imaging.preprocess",
    "Scores": "unremarkable.scoring.scores",
    "UnremarkableError": "unremarkable.errors",
    "UsageError": "unremarkable.errors",
    "read_image": "unremarkable.imaging.read",
}

__all__ = [  # noqa: RUF022 (the order a reader looks for them in)
    "Detector",
    "Scores",
    "Image",
    "Preprocess",
    "read_image",
    "UnremarkableError",
    "UsageError",
    "InputError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
