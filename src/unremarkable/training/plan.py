"""What a fit will do, derived from the data before anything is trained, printed first and kept with the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case, Dataset
from unremarkable.errors import UsageError

if TYPE_CHECKING:
    from unremarkable.datasets.cache import Packed

#: share of the normals held out for calibration, and of the rest for early stopping
CALIBRATION_SHARE = 0.2
VALIDATION_SHARE = 0.1
#: held out for early stopping, at least, as long as they are not more than a quarter of the rest: by five images, a
#: tenth of fifty, one cannot stop, nor bring two detectors to one scale
VALIDATION_LEAST = 20
#: normals held out for calibration, at most, unless a rate needs more. With 200, the rate that a model really keeps
#: where 5 % is asked for has a standard deviation of 1.5 points; twice as many would make it 1.1, and learning needs
#: them more.
CALIBRATION_MOST = 200


@dataclass(frozen=True)
class Plan:
    """The decisions of one fit. `notes` says in plain words what was noticed on the way."""

    method: str
    options: dict[str, Any]
    size: tuple[int, int]
    channels: int
    intensity: str
    intensity_reason: str
    training_cases: int
    training_images: int
    validation_cases: int
    calibration_cases: int
    smallest_rate: float
    phases: tuple[dict[str, Any], ...]
    device: str
    precision: str
    augment: bool
    seed: int
    expected_seconds: float | None
    selection: str
    notes: tuple[str, ...] = ()
    #: how many of `training_cases` and `validation_cases` are abnormal; 0 for methods that learn from normals alone
    abnormal_training: int = 0
    abnormal_validation: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        """The inverse of `to_dict`."""
        listed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**listed)

    def lines(self) -> list[tuple[str, str]]:
        """Label and text of each decision, for printing."""
        phases = "; ".join(
            f"{p['name']}: up to {p['epochs']} epochs of {math.ceil(self.training_images / p['batch_size'])} steps,"
            f" batch {p['batch_size']}"
            if "epochs" in p
            else f"{p['name']}: one pass, batch {p['batch_size']}"
            for p in self.phases
        )
        images = "" if self.training_images == self.training_cases else f" ({self.training_images} slices)"
        supervised = self.abnormal_training > 0
        of_them, of_held = (
            f" ({count} abnormal)" if supervised else "" for count in (self.abnormal_training, self.abnormal_validation)
        )
        held = f"{self.validation_cases} for early stopping{of_held}, " if self.validation_cases else ""
        calibration = f"{self.calibration_cases} {'normals ' if supervised else ''}for calibration"
        return [
            ("method", f"{self.method} ({', '.join(f'{k}={v}' for k, v in self.options.items())})"),
            ("cases" if supervised else "normals", self.selection),
            ("split", f"{self.training_cases} to train{images}{of_them}, {held}{calibration}"),
            ("input", f"{self.size[0]} × {self.size[1]} px, {'grey' if self.channels == 1 else 'colour'}"),
            ("intensity", self.intensity_reason),
            ("training", phases),
            ("machine", f"{self.device}, {self.precision}{', augmented' if self.augment else ''}, seed {self.seed}"),
            ("time", "unknown" if self.expected_seconds is None else f"about {duration(self.expected_seconds)}"),
            ("false alarms", f"the smallest rate these normals support is {100 * self.smallest_rate:.2g} %"),
            *(("note", note) for note in self.notes),
        ]


@dataclass(frozen=True)
class Normals:
    """The normal cases a fit may use: to learn from, and published ones for early stopping (may be empty)."""

    training: tuple[Case, ...]
    validation: tuple[Case, ...]
    selection: str
    notes: tuple[str, ...] = ()

    @property
    def cases(self) -> tuple[Case, ...]:
        """All of them, in the order in which they are packed."""
        return (*self.training, *self.validation)


def apply_split(dataset: Dataset, split: str, seed: int) -> tuple[str, tuple[Case, ...]]:
    """What `split` comes to ("published", "none" or shares), and the cases with their splits so.

    "auto" takes the published split where there is one, draws 70/15/15 by patient where labelled cases have none, and
    takes everything where nothing is labelled abnormal.

    Raises:
        UsageError: there is no published split, or `split` is not understood.
    """
    from unremarkable.datasets.splits import split_cases

    cases = dataset.cases
    published = any(case.split for case in cases)
    has_abnormal = any(case.label == ABNORMAL for case in cases)
    how = split
    if split == "auto":
        how = "published" if published else "70/15/15" if has_abnormal else "none"
    if how == "published" and not published:
        raise UsageError(f"{dataset.root} has no published split; use --split 70/15/15 or --split none")
    if how not in ("published", "none"):
        cases = tuple(split_cases(cases, parse_fractions(how), seed))
    return how, cases


def choose_normals(dataset: Dataset, split: str, seed: int, *, unlabelled: bool = True) -> Normals:
    """The normals to learn from, by `apply_split`; test cases are never among them. `unlabelled` ones count as normal.

    Raises:
        UsageError: no normal case is left, or `split` is not understood.
    """
    how, cases = apply_split(dataset, split, seed)
    normals = [case for case in cases if case.label == NORMAL or (unlabelled and case.label is None)]
    if how == "none":
        training, validation = normals, []
        selection = f"all {len(normals)} normals of {dataset.name}"
        if not any(case.label is not None for case in normals):
            selection = f"all {len(normals)} images of {dataset.name}, unlabelled and taken as normal"
    else:
        training = [case for case in normals if case.split == "train"]
        validation = [case for case in normals if case.split == "val"]
        kind = "published" if how == "published" else f"drawn ({how}, seed {seed})"
        selection = f"{len(training)} normals of the {kind} training split of {dataset.name}"
    if not training:
        seen = sorted({case.finding for case in cases if case.finding})
        names = f"; its classes: {', '.join(seen)}" if seen else ""
        raise UsageError(
            f"{dataset.root} has no normal cases to learn from{names} (say which are normal: --normal NAME)"
        )
    notes = []
    if validation and len(validation) < VALIDATION_SHARE * len(training):
        notes.append(
            f"the {len(validation)} validation normals are too few to stop by; part of the training ones is used"
        )
        validation = []
    return Normals(tuple(training), tuple(validation), selection, tuple(notes))


def test_cases(dataset: Dataset, split: str, seed: int) -> tuple[Case, ...]:
    """The labelled cases to evaluate on: the counterpart of `choose_normals`.

    `split`: "auto" takes the published test split, draws the same 70/15/15 as the fit did with `seed` where there
    is none; "all" takes every labelled case; "train", "val", "test" take that one.
    """
    from unremarkable.datasets.splits import split_cases

    cases = dataset.cases
    if split != "all":
        if not any(case.split for case in cases):
            cases = tuple(split_cases(cases, parse_fractions("70/15/15"), seed))
        wanted = "test" if split == "auto" else split
        cases = tuple(case for case in cases if case.split == wanted)
        if not cases:
            found = sorted({case.split for case in dataset.cases if case.split})
            raise UsageError(f"{dataset.root} has no split {wanted!r}; it has: {', '.join(found)} (or use --split all)")
    labelled = tuple(case for case in cases if case.label is not None)
    if not labelled:
        raise UsageError(f"{dataset.root} has no labels to evaluate against; use score for unlabelled images")
    return labelled


def divide(
    normals: Normals, packed: Packed, needed: int, *, stops_early: bool, seed: int, insist: bool
) -> dict[str, tuple[int, ...]]:
    """Indices of the packed cases for "training", "validation" and "calibration"; whole patients each.

    A fifth of the normals calibrate, 200 at most, or as many as the false-alarm rate needs (`needed`), but never more
    than half. Copies of one picture under several names stay together: divided, they would make calibration look
    better than it is.

    Raises:
        UsageError: too few normals; `insist` refuses where `needed` cannot be met.
    """
    from unremarkable.datasets.splits import hold_out

    cases = (*normals.training, *normals.validation)  # of a supervised fit, the abnormal ones come after
    readable = {int(index) for index in np.unique(packed.case_of)}
    # Splitting goes by patient and path; the index stands in for the path so that it comes back with the case.
    keyed = [
        replace(case, patient=group_of(case, packed.digests[i]), path=str(i)) if i in readable else None
        for i, case in enumerate(cases)
    ]
    pool = [case for case in keyed[: len(normals.training)] if case]
    usual = min(round(CALIBRATION_SHARE * len(pool)), CALIBRATION_MOST)
    count = min(max(usual, needed), len(pool) // 2)
    if count < 1 or (insist and count < needed):
        wanted = f": this false-alarm rate takes {needed} for calibration, and as many to learn from" if insist else ""
        raise UsageError(f"{len(pool)} readable normals are too few to learn from and to calibrate with{wanted}")
    kept, calibration = hold_out(pool, count=count, seed=seed)
    validation = tuple(case for case in keyed[len(normals.training) :] if case) if stops_early else ()
    if stops_early and not validation and len(kept) > 1:
        kept, validation = hold_out(kept, count=stopping_count(len(kept)), seed=seed + 1)
    parts = {"training": kept, "validation": validation, "calibration": calibration}
    return {name: tuple(sorted(int(case.path) for case in part)) for name, part in parts.items()}


def stopping_count(cases: int) -> int:
    """How many of so many cases are held out for early stopping."""
    return max(1, round(VALIDATION_SHARE * cases), min(VALIDATION_LEAST, cases // 4))


def group_of(case: Case, digest: str | None) -> str | None:
    """What a division keeps together: the patient where known, else the study, else the copies of one picture."""
    return case.patient or case.study or digest


def duration(seconds: float) -> str:
    """Seconds in words: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def parse_fractions(text: str) -> tuple[float, float, float]:
    """Shares of train, val and test from text such as "70/15/15"; they sum to 1.

    Raises:
        UsageError: it is not such.
    """
    try:
        parts: Sequence[float] = [float(part) for part in text.split("/")]
    except ValueError:
        parts = []
    if len(parts) != 3 or min(parts) < 0 or parts[0] <= 0:
        raise UsageError(f"split {text!r} is not understood: auto, published, none, or shares such as 70/15/15")
    whole = sum(parts)
    return parts[0] / whole, parts[1] / whole, parts[2] / whole
