"""Fitted detectors joined into one: brought to one scale and calibrated on normals that none has learned from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unremarkable.datasets.cache import Packed, pack
from unremarkable.datasets.case import Case, Dataset
from unremarkable.datasets.find import find_dataset
from unremarkable.datasets.load import digest
from unremarkable.datasets.parallel import map_in_order, with_progress
from unremarkable.detector import RATE, Data, Detector
from unremarkable.errors import InputError, UsageError
from unremarkable.imaging.preprocess import Preprocess
from unremarkable.methods.combining import Combination
from unremarkable.methods.ensemble import Ensemble
from unremarkable.methods.members import Spec
from unremarkable.model_folder import make_manifest
from unremarkable.networks.allocator import reuse_memory
from unremarkable.scoring.calibration import normals_needed
from unremarkable.scoring.scorer import BATCH, Predictor, calibrate
from unremarkable.training.machine import resolve
from unremarkable.training.plan import CALIBRATION_MOST, Normals, Plan, choose_normals, divide, group_of
from unremarkable.training.settings import TrainSettings

#: parts of a manifest whose cases have shaped a model's weights
_LEARNED = ("training", "validation")


def fit_ensemble(
    models: Sequence[Detector | str | Path],
    data: Data,
    *,
    combine: Combination = "z",
    size: int | None = None,
    split: str = "auto",
    seed: int | None = None,
    rate: float | None = None,
    device: str = "auto",
    progress: bool = False,
    on_plan: Callable[[Plan], None] | None = None,
) -> Detector:
    """One detector of fitted ones. It holds their weights: saved, it needs none of the folders it was made from.

    Nothing is trained. Of the normals of `data`, those that a member was trained or stopped early on are left out, with
    all that belongs to the same patients; the members' own calibration normals may serve. Half of the rest, 200 at
    most or as many as `rate` needs, calibrate the ensemble; the others are the references that make p-values of its
    members' scores.

    Args:
        models: fitted detectors, or their folders; two at least.
        data: normals, as for `Detector.fit`; the data set that the members were fitted on will do.
        combine: "fisher", "cauchy", "minimum" or "z".
        size: side of the ensemble's input, from which each member resizes to its own; None for the largest member's.
        split: which normals, as for `Detector.fit`.
        seed: of whatever is drawn; None for the first member's, with which a split drawn by `fit` is drawn again.
        rate: a false-alarm rate that scoring must be able to offer.
        device: that of scoring; "auto", "cpu", "cuda", ...
        on_plan: called with the plan before the references are scored.

    Raises:
        UsageError: fewer than two members, members whose inputs have nothing in common, no normals that no member has
            learned from, or too few of them for `rate`.
    """
    reuse_memory()
    members = [model if isinstance(model, Detector) else Detector.load(model, device="cpu") for model in models]
    preprocess = _common_input(members, size)
    seed = members[0].seed if seed is None else seed
    alone = any(member.plan_.precision == "32" for member in members)
    settings = TrainSettings(seed=seed, device=device, precision="32" if alone else "auto")
    detector = Detector(
        "ensemble",
        size=preprocess.size[0],
        fit_to=preprocess.fit,
        seed=seed,
        device=device,
        precision=settings.precision,
        members=tuple(_describe(member) for member in members),
        combine=combine,
    )
    dataset = data if isinstance(data, Dataset) else find_dataset(data)
    normals = _unseen(members, choose_normals(dataset, split, seed), dataset, progress)
    packed = pack(normals.cases, preprocess, progress=progress)
    needed = normals_needed(RATE if rate is None else rate)
    parts = divide(normals, packed, max(needed, CALIBRATION_MOST), stops_early=False, seed=seed, insist=False)
    if rate is not None and len(parts["calibration"]) < needed:
        raise UsageError(
            f"a false-alarm rate of {rate:g} takes {needed} normals for calibration and some more as references, and"
            f" {len(normals.cases)} are left that no member has learned from"
        )
    method = _adopt(detector, members, preprocess)
    detector.preprocess_, detector.method_ = preprocess, method
    detector.plan_ = _plan(detector, normals, parts, packed, settings)
    if on_plan is not None:
        on_plan(detector.plan_)
    from unremarkable.training.loop import train

    detector.history_ = train(method, packed.of(parts["training"]), None, settings, progress=progress)
    held = packed.of(parts["calibration"])
    batches = [held[np.arange(start, min(start + BATCH, len(held)))] for start in range(0, len(held), BATCH)]
    predictor = Predictor(method, precision=detector.plan_.precision)
    detector.calibration_ = calibrate(predictor, batches, packed.case_of[held.index])
    detector.manifest_ = _manifest(members, make_manifest(dataset, packed, parts, split, seed))
    detector.manifest_["settled"] = method.settled()
    return detector


def _common_input(members: Sequence[Detector], size: int | None) -> Preprocess:
    """What every member's input can be made from.

    Raises:
        UsageError: fewer than two members, an unfitted one, or values or shapes that cannot be had from one input.
    """
    if len(members) < 2:
        raise UsageError(f"an ensemble joins two fitted models or more, not {len(members)}")
    if not all(hasattr(member, "calibration_") for member in members):
        raise UsageError("a member of the ensemble is not fitted yet; call fit first, or Detector.load")
    inputs = [member.preprocess_ for member in members]
    first = inputs[0]
    for name in ("intensity", "low", "high", "window", "fit"):
        values = [getattr(each, name) for each in inputs]
        if any(value != values[0] for value in values):
            raise UsageError(
                f"these models do not see the same values: {name} is"
                f" {', '.join(f'{v} in {m.method}' for v, m in zip(values, members, strict=True))};"
                " fit them with one --intensity and one --fit-to"
            )
    channels = {each.channels for each in inputs}
    if len(channels) > 1 and first.intensity == "percentile":
        raise UsageError(
            "some of these models take grey and some colour, and each has percentiles of its own; fit them on the same"
            " images, or with another --intensity"
        )
    side = size or max(max(each.size) for each in inputs)
    return replace(first, size=(side, side), channels=max(channels))


def _describe(member: Detector) -> str:
    method, smoothing = member.method_, member.smoothing
    return Spec(member.method, member.options, method.size, method.channels, member.reduction, float(smoothing)).text()


def _unseen(members: Sequence[Detector], normals: Normals, dataset: Dataset, progress: bool) -> Normals:
    """The normals of patients from whom no member has learned, all of them as ones to learn from.

    Raises:
        UsageError: none are left.
    """
    learned = {one for member in members for part in _LEARNED for one in member.manifest_["data"][part]}
    cases = normals.cases
    found = list(with_progress(map_in_order(_digest, cases), len(cases), "Looking for known cases", progress))
    groups = [group_of(case, one) for case, one in zip(cases, found, strict=True)]
    known = {group for group, one in zip(groups, found, strict=True) if one in learned}
    left = tuple(case for case, group in zip(cases, groups, strict=True) if group not in known)
    if not left:
        raise UsageError(
            f"the members have learned from every normal of {dataset.root}; give normals that none of them has seen"
        )
    note = f"left out: {len(cases) - len(left)} normals of patients that a member was trained or stopped early on"
    selection = f"{len(left)} of {normals.selection}"
    return Normals(left, (), selection, (*normals.notes, *([note] if len(left) < len(cases) else ())))


def _digest(case: Case) -> str | None:
    try:
        return digest(case)
    except InputError:
        return None  # packing will say why


def _adopt(detector: Detector, members: Sequence[Detector], preprocess: Preprocess) -> Ensemble:
    options: Any = detector.options
    with torch.random.fork_rng(devices=[]):
        method = Ensemble(options, preprocess.size, preprocess.channels)
    method.adopt([member.method_.state_dict() for member in members])
    return method


def _plan(
    detector: Detector, normals: Normals, parts: dict[str, tuple[int, ...]], packed: Packed, settings: TrainSettings
) -> Plan:
    from unremarkable.training.estimate import expected_seconds

    machine, preprocess = resolve(settings), detector.preprocess_
    references = packed.of(parts["training"])
    smallest = 1 / (len(parts["calibration"]) + 1)
    notes = [*normals.notes, f"nothing is trained: the {len(parts['training'])} are references for p-values"]
    if packed.failures:
        notes.append(f"{len(packed.failures)} images cannot be read and are left out; first: {packed.failures[0][1]}")
    if smallest > RATE:
        notes.append(f"too few normals for verdicts at {RATE:g}: it takes {normals_needed(RATE)} for calibration")
    return Plan(
        method=detector.method,
        options=dataclasses.asdict(detector.options),
        size=preprocess.size,
        channels=preprocess.channels,
        intensity=preprocess.intensity,
        intensity_reason=f"{preprocess.intensity}, as its members",
        training_cases=len(parts["training"]),
        training_images=len(references),
        validation_cases=0,
        calibration_cases=len(parts["calibration"]),
        smallest_rate=smallest,
        phases=tuple({"name": p.name, "batch_size": p.batch_size} for p in detector.method_.phases()),
        device=machine.device,
        precision=machine.precision,
        augment=False,
        seed=settings.seed,
        expected_seconds=expected_seconds(detector.method_, references, settings),
        selection=normals.selection,
        notes=tuple(notes),
    )


def _manifest(members: Sequence[Detector], manifest: dict[str, Any]) -> dict[str, Any]:
    """The ensemble's manifest, with every case that a member has learned from among its own."""
    for part in _LEARNED:
        cases = [one for each in (manifest, *(m.manifest_ for m in members)) for one in each["data"][part]]
        manifest["data"][part] = list(dict.fromkeys(cases))
    used = dict.fromkeys(member.manifest_["labels"]["training"] for member in members)
    manifest["labels"]["training"] = "; ".join(used)
    manifest["members"] = [
        {"method": m.method, "data": {key: m.manifest_["data"][key] for key in ("name", "layout", "split")}}
        | {key: m.manifest_[key] for key in ("labels", "seed", "versions", "machine")}
        for m in members
    ]
    return manifest
