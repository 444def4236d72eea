"""Case: one thing to score, with what is known of it. Dataset: the cases of one folder or manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NORMAL, ABNORMAL = 0, 1


@dataclass(frozen=True)
class Case:
    """One image, volume or series.

    Attributes:
        path: a file; a folder, for a series of DICOM slices; or `FILE.npz#ARRAY/INDEX`, for one image of a packed file.
        label: 0 normal, 1 abnormal, None unknown.
        finding: the class by the name its publisher gave it ("glioma", "NORMAL"), or None.
        split: "train", "val" or "test" where published or drawn, or None.
        patient, study: identifiers that must not be divided between splits, or None.
        masks: lesion mask files; boxes: `(x, y, width, height)` in pixels of the stored image.
        extra: any further columns of a manifest, for subgroups.
    """

    path: str
    label: int | None = None
    finding: str | None = None
    split: str | None = None
    patient: str | None = None
    study: str | None = None
    masks: tuple[str, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def group(self) -> str:
        """What splits and intervals keep together: the patient where known, else the study, else the case itself."""
        return self.patient or self.study or self.path


@dataclass(frozen=True)
class Dataset:
    """Cases in a stable order, where they were found, and what was noticed on the way.

    `layout` names how the cases were recognised ("folders", "manifest", "npz", "files"); `notes` are lines for the
    user; `skipped` pairs each left-out path with the reason.
    """

    name: str
    root: Path
    cases: tuple[Case, ...]
    layout: str
    notes: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def select(self, *, split: str | None = None, label: int | None = None) -> tuple[Case, ...]:
        """The cases of one split and one label; None leaves that side open."""
        return tuple(
            case
            for case in self.cases
            if (split is None or case.split == split) and (label is None or case.label == label)
        )
