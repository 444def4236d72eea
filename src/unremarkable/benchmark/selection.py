"""Label-free model selection: choose an epoch, an option's value or a method without any anomaly label.

Three criteria, none of which needs a label of the pool:

- "held-out loss": the lowest, of normals held out for early stopping; losses of different methods do not compare.
- "pool": the highest AUROC of an unlabelled pool against held-out normals. With a share π of abnormal cases in it, and
  its normals like the held-out ones, it is π · AUROC + (1 − π) / 2: nearer to one half, and in the same order.
- "synthetic": the highest AUROC of planted anomalies against the same held-out normals without them.

Everything here is given `Blind` data: cases made anew from their paths, without label, finding or mask. Labels come in
only in `benchmark.oracle`, after the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from unremarkable.benchmark.matrix import MethodEntry
from unremarkable.datasets.case import ABNORMAL, Case, Dataset
from unremarkable.datasets.load import digest
from unremarkable.datasets.parallel import map_in_order
from unremarkable.datasets.splits import split_cases
from unremarkable.errors import InputError, UsageError
from unremarkable.evaluation.intervals import Interval
from unremarkable.training.plan import choose_normals

HELD_OUT_LOSS, POOL, SYNTHETIC = "held-out loss", "pool", "synthetic"
CRITERIA = (HELD_OUT_LOSS, POOL, SYNTHETIC)
NOT_MEASURED = Interval(None, None, None, "not measured")


@dataclass(frozen=True)
class Blind:
    """What selection sees of a data set.

    Attributes:
        normals: to fit on, each with split "train" or "val" and no label.
        pool: unlabelled cases, normal and abnormal; may be empty.
        digests: sha256 of the bytes behind each normal, with the case.
        identity: stands for everything above.
        notes: lines for the user.
    """

    normals: Dataset
    pool: tuple[Case, ...]
    digests: Mapping[str, Case]
    identity: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """What the criteria say of one candidate.

    Attributes:
        label: as it was asked for, such as "knn[grid=1]".
        method, options: the registered name, and what was given for it.
        loss: held-out loss of the kept weights; None where the method has none.
        pool, synthetic: AUROC with interval by patient.
        seconds: of fitting and measuring.
        pool_scores: score of each case of the pool, by path.
        failure: why it could not be fitted or measured, else None.
    """

    label: str
    method: str
    options: dict[str, Any]
    loss: float | None = None
    pool: Interval = NOT_MEASURED
    synthetic: Interval = NOT_MEASURED
    seconds: float = 0.0
    pool_scores: dict[str, float] = field(default_factory=dict, repr=False)
    failure: str | None = None

    def value(self, criterion: str) -> float | None:
        """What one of `CRITERIA` says of it; None where it says nothing."""
        return {HELD_OUT_LOSS: self.loss, POOL: self.pool.value, SYNTHETIC: self.synthetic.value}[criterion]

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible form."""
        return {**vars(self), "pool": self.pool.to_dict(), "synthetic": self.synthetic.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Candidate:
        """The inverse of `to_dict`."""
        intervals = {name: Interval(**values[name]) for name in ("pool", "synthetic")}
        return cls(**{**values, **intervals})

    def record(self) -> dict[str, Any]:
        """The row of a table: an interval takes three columns, `pool`, `pool_low`, `pool_high`."""
        row: dict[str, Any] = {"candidate": self.label, "held_out_loss": self.loss}
        for name, interval in (("pool", self.pool), ("synthetic", self.synthetic)):
            row |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        return row | {"seconds": self.seconds, "failure": self.failure}


@dataclass(frozen=True)
class Choice:
    """What one criterion chooses: a candidate's label, or None with the reason; `note` is a warning to go with it."""

    criterion: str
    chosen: str | None
    reason: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Selection:
    """The candidates in the order given, and what each of `CRITERIA` chooses."""

    candidates: tuple[Candidate, ...]
    choices: tuple[Choice, ...]
    counts: dict[str, int]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible form, without the pool's scores."""
        return {
            "candidates": [
                {key: value for key, value in one.to_dict().items() if key != "pool_scores"} for one in self.candidates
            ],
            "choices": [vars(choice) for choice in self.choices],
            "counts": self.counts,
            "notes": list(self.notes),
            "labels used": "of the data set's own split, to take its normals for training; of the pool none",
        }


def blind(dataset: Dataset, pool: Dataset | None = None, seed: int = 0) -> Blind:
    """The normals to fit on as `fit` would choose them, and the pool: another data set, or this one's test split.

    Of the pool, cases that are byte for byte among the normals are left out: they would score as what was learnt.

    Raises:
        UsageError: there are no normals to learn from.
    """
    chosen = choose_normals(dataset, "auto", seed)
    normals = tuple(
        Case(case.path, split=split, patient=case.patient, study=case.study)
        for split, part in (("train", chosen.training), ("val", chosen.validation))
        for case in part
    )
    of_normals = _digests(normals)
    by_digest = {content: case for content, case in zip(of_normals, normals, strict=True) if content is not None}
    found = pool.cases if pool is not None else _test_split(dataset, seed)
    unlike = [
        (Case(case.path, patient=case.patient, study=case.study), content)
        for case, content in zip(found, _digests(found), strict=True)
        if content not in by_digest
    ]
    fresh = tuple(case for case, _ in unlike)
    notes = list(chosen.notes)
    if len(fresh) < len(found):
        copies = len(found) - len(fresh)
        notes.append(f"{copies} of the pool's {len(found)} cases are byte for byte among the normals and are left out")
    if pool is None and fresh:
        notes.append(
            f"the pool is the test split of {dataset.name}: its images, not its labels, take part in the choice;"
            " --pool names other images"
        )
    learning = Dataset(dataset.name, Path(dataset.root), normals, dataset.layout)
    seen = [*zip(normals, of_normals, strict=True), *unlike]
    return Blind(learning, fresh, by_digest, sha256(repr(seen).encode()).hexdigest(), tuple(notes))


def select(
    entries: Sequence[MethodEntry],
    data: Blind,
    measure: Callable[[MethodEntry], Candidate],
    on_done: Callable[[Candidate], None] | None = None,
) -> Selection:
    """Measure every candidate with `measure` (`benchmark.criteria.Measure`), and let each criterion choose.

    Raises:
        UsageError: fewer than two candidates, one twice, or none that could be fitted.
    """
    labels = [entry.label for entry in entries]
    if len(labels) < 2:
        raise UsageError("a choice takes at least two candidates: --candidates 'knn,knn[grid=1]'")
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise UsageError(f"candidate {twice[0]} is given twice")
    candidates = []
    for entry in entries:
        candidates.append(measure(entry))
        if on_done is not None:
            on_done(candidates[-1])
    if all(one.failure for one in candidates):
        raise UsageError(f"no candidate could be fitted; {candidates[0].label}: {candidates[0].failure}")
    counts = {"normals": len(data.normals.cases), "pool": len(data.pool)}
    return Selection(tuple(candidates), choose(candidates), counts, data.notes)


def choose(candidates: Sequence[Candidate]) -> tuple[Choice, ...]:
    """What each criterion chooses among the candidates that did not fail; of equals the first."""
    sound = [one for one in candidates if one.failure is None]
    choices = []
    for criterion in CRITERIA:
        without = [one for one in sound if one.value(criterion) is None]
        if criterion == HELD_OUT_LOSS and (reason := _no_losses(sound, without)):
            choices.append(Choice(criterion, None, reason))
            continue
        if without:
            interval = without[0].pool if criterion == POOL else without[0].synthetic
            choices.append(Choice(criterion, None, interval.reason or "undefined"))
            continue
        sign = 1 if criterion == HELD_OUT_LOSS else -1
        best = min(sound, key=lambda one: sign * (one.value(criterion) or 0.0))
        choices.append(Choice(criterion, best.label, note=_note(best, sound, criterion)))
    return tuple(choices)


def _no_losses(sound: Sequence[Candidate], without: Sequence[Candidate]) -> str | None:
    if len({one.method for one in sound}) > 1:
        return "losses of different methods do not compare"
    return f"{without[0].method} has no loss on held-out normals" if without else None


def _note(best: Candidate, sound: Sequence[Candidate], criterion: str) -> str | None:
    equal = sum(one.value(criterion) == best.value(criterion) for one in sound)
    if equal > 1:
        return f"{equal} candidates are equal; the first of them"
    interval = {POOL: best.pool, SYNTHETIC: best.synthetic}.get(criterion)
    if interval is not None and interval.low is not None and interval.low <= 0.5:
        return "its interval holds 0.5: no candidate is shown to be better than chance"
    return None


def _digests(cases: Sequence[Case]) -> list[str | None]:
    def read(case: Case) -> str | None:
        try:
            return digest(case)
        except InputError:
            return None  # the reason comes up again where the case is decoded

    return list(map_in_order(read, cases))


def _test_split(dataset: Dataset, seed: int) -> tuple[Case, ...]:
    """The published test split; where there is none, the part that `fit` leaves out of a labelled set, else nothing."""
    cases = dataset.cases
    if not any(case.split for case in cases):
        if not any(case.label == ABNORMAL for case in cases):
            return ()
        cases = split_cases(cases, seed=seed)
    return tuple(case for case in cases if case.split == "test")
