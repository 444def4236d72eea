"""The abnormal cases of a fit, for methods that learn from labels.

The normals are divided first, exactly as for a method that learns from them alone, so that a supervised model is
calibrated on the same normals as every other. The abnormal cases then follow their patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from unremarkable.datasets.case import ABNORMAL, Case, Dataset
from unremarkable.errors import UsageError
from unremarkable.training.batches import Images, Labelled
from unremarkable.training.plan import Normals, apply_split, choose_normals, divide, group_of, stopping_count

if TYPE_CHECKING:
    from unremarkable.datasets.cache import Packed


@dataclass(frozen=True)
class Supervised(Normals):
    """The normals, and the abnormal cases beside them: to learn from, and published ones for early stopping."""

    abnormal: tuple[Case, ...] = ()
    abnormal_validation: tuple[Case, ...] = ()

    @property
    def cases(self) -> tuple[Case, ...]:
        """All of them, the normals first."""
        return (*super().cases, *self.abnormal, *self.abnormal_validation)


@dataclass(frozen=True)
class Division:
    """Indices of the packed cases for "training", "validation" and "calibration", and what was noticed."""

    parts: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...] = ()


def choose_labelled(dataset: Dataset, split: str, seed: int, method: str) -> Supervised:
    """The normal and the abnormal cases to learn from; test cases are never among them, nor are unlabelled ones.

    Raises:
        UsageError: no normal or no abnormal case is left for `method`, or `split` is not understood.
    """
    remedy = " (say which are abnormal: --abnormal NAME)"
    if all(case.label is None for case in dataset.cases):
        raise UsageError(f"{method} needs labels: {dataset.root} has none{remedy}")
    normals = choose_normals(dataset, split, seed, unlabelled=False)
    how, cases = apply_split(dataset, split, seed)
    found = [case for case in cases if case.label == ABNORMAL]
    abnormal = found if how == "none" else [case for case in found if case.split == "train"]
    if not abnormal:
        if found:
            remedy = f": all {len(found)} are for validation or test; draw a split with --split 70/15/15"
        raise UsageError(f"{method} needs labels: {dataset.root} has no abnormal cases to learn from{remedy}")
    held = [case for case in found if case.split == "val"] if normals.validation else []
    return Supervised(
        training=normals.training,
        validation=normals.validation,
        selection=f"{normals.selection}, with its {len(abnormal)} abnormal cases",
        notes=normals.notes,
        abnormal=tuple(abnormal),
        abnormal_validation=tuple(held),
    )


def divide_cases(
    chosen: Normals, packed: Packed, needed: int, *, stops_early: bool, seed: int, insist: bool
) -> Division:
    """As `plan.divide`; of `Supervised` cases, the abnormal ones are then put where the normals of their patients are.

    Those of patients who calibrate are left out. Of patients without a normal, those of a published validation split
    take part in early stopping, else a tenth drawn; the rest train.

    Raises:
        UsageError: as `plan.divide`; or no abnormal case is left to learn from.
    """
    parts = divide(chosen, packed, needed, stops_early=stops_early, seed=seed, insist=insist)
    return _place_abnormal(chosen, parts, packed, seed) if isinstance(chosen, Supervised) else Division(parts)


def images_of(chosen: Normals, packed: Packed, part: tuple[int, ...]) -> Images:
    """The images of some packed cases; of `Supervised` ones with their labels, each slice of a volume with its."""
    rows = packed.of(part)
    if not isinstance(chosen, Supervised):
        return rows
    return Labelled(rows, labels_of(chosen)[packed.case_of[rows.index]])


def labels_of(chosen: Normals) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The label of each of `chosen.cases`, 0 or 1, unlabelled cases counting as normal."""
    return np.array([case.label == ABNORMAL for case in chosen.cases], np.float32)


def _place_abnormal(chosen: Supervised, parts: Mapping[str, tuple[int, ...]], packed: Packed, seed: int) -> Division:
    from unremarkable.datasets.splits import hold_out

    normals = len(chosen.training) + len(chosen.validation)
    stops_early = bool(parts["validation"])
    groups = [group_of(case, digest) for case, digest in zip(chosen.cases, packed.digests, strict=True)]
    part_of = {groups[index]: name for name, indices in parts.items() for index in indices}
    placed: dict[str, list[int]] = {name: [] for name in parts}
    free = []
    for index in np.unique(packed.case_of[packed.case_of >= normals]).tolist():
        if groups[index] in part_of:
            placed[part_of[groups[index]]].append(index)
        elif index < normals + len(chosen.abnormal):
            free.append(replace(chosen.cases[index], patient=groups[index], path=str(index)))
        elif stops_early:
            placed["validation"].append(index)
    kept: tuple[Case, ...] = tuple(free)
    held: tuple[Case, ...] = ()
    if stops_early and not chosen.abnormal_validation and len({case.patient for case in free}) > 1:
        kept, held = hold_out(free, count=stopping_count(len(free)), seed=seed + 1)
    placed["training"] += [int(case.path) for case in kept]
    placed["validation"] += [int(case.path) for case in held]
    if not placed["training"]:
        raise UsageError("no abnormal case is left to learn from: their patients calibrate, or they cannot be read")
    notes = []
    if placed["calibration"]:
        notes.append(f"{len(placed.pop('calibration'))} abnormal cases are left out: their patients' normals calibrate")
    if stops_early and not placed["validation"]:
        notes.append("the abnormal cases are too few to hold any out: early stopping goes by normals alone")
    whole = {name: tuple(sorted((*indices, *placed.get(name, ())))) for name, indices in parts.items()}
    return Division(whole, tuple(notes))
