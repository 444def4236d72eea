"""Artefact robustness: what a detector makes of pictures that are disturbed and not diseased.

Every test case, normal or abnormal, is scored untouched and with each simulated artefact at each strength. The artefact
enters after Preprocess: what is measured is the method and its threshold, not how files are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.benchmark.disturb import conditions, score_conditions
from unremarkable.datasets.artefacts import KINDS, LEVELS, LOCAL
from unremarkable.datasets.case import NORMAL, Case
from unremarkable.datasets.load import stream
from unremarkable.datasets.parallel import default_workers, with_progress
from unremarkable.detector import RATE, Detector
from unremarkable.errors import InputError, UsageError
from unremarkable.evaluation.case_weights import patient_intervals
from unremarkable.evaluation.intervals import Interval, bootstrap
from unremarkable.networks.allocator import reuse_memory
from unremarkable.scoring.calibration import normals_needed
from unremarkable.scoring.scorer import Predictor


@dataclass(frozen=True)
class Condition:
    """All test cases with one kind of artefact at one strength.

    Attributes:
        kind, level: as `datasets.artefacts` has them; "untouched" and 0 for the cases as they are.
        auroc: of normal against abnormal cases, both with the artefact.
        false_alarms: share of the normals that are flagged, at the threshold from clean calibration normals.
        sensitivity: share of the abnormal cases that are flagged.
        shift: by how much the artefact raises the normals' scores on average, in standard deviations of the calibration
            normals' scores.
        points: share of the normals whose map has its peak on the artefact.
        points_by_chance: the same for a peak that falls anywhere on the map; None for kinds that change everything.
    """

    kind: str
    level: int
    auroc: Interval
    false_alarms: Interval
    sensitivity: Interval
    shift: Interval
    points: Interval
    points_by_chance: float | None

    def record(self) -> dict[str, Any]:
        """The row of a table: an interval takes three columns, `auroc`, `auroc_low`, `auroc_high`."""
        row: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, Interval):
                row |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
            else:
                row[name] = value
        return row


@dataclass(frozen=True)
class Robustness:
    """The untouched cases first, then each kind by growing strength.

    `counts` holds "cases", "normal", "abnormal" and "patients"; `rate` is the false-alarm rate asked for; `failures`
    pairs each case that could not be scored with the reason.
    """

    conditions: tuple[Condition, ...]
    counts: dict[str, int]
    rate: float
    seed: int
    replicates: int
    failures: tuple[tuple[str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible form."""
        rows = [
            {name: value.to_dict() if isinstance(value, Interval) else value for name, value in vars(one).items()}
            for one in self.conditions
        ]
        failures = [{"path": path, "error": reason} for path, reason in self.failures]
        return {**vars(self), "conditions": rows, "failures": failures}


def measure_robustness(
    detector: Detector,
    cases: Sequence[Case],
    *,
    kinds: Sequence[str] = tuple(KINDS),
    levels: Sequence[int] = LEVELS,
    rate: float | None = None,
    replicates: int = 2000,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = False,
) -> Robustness:
    """Score labelled `cases` untouched and with every artefact of `kinds` at every strength of `levels`.

    A case's artefacts depend on its pixels and `seed`, not on its place among the others; of a volume, every slice has
    the same one. A case that fails in one condition is left out of all, so that conditions compare.

    Args:
        rate: false-alarm rate of the verdicts; 0.05 unless given, and none where the normals are too few for that.
        replicates: of the bootstrap intervals, by patient; 0 for none.

    Raises:
        UsageError: an unknown kind or level, a `rate` that the calibration normals cannot support, a case without a
            label, or no case that could be scored.
    """
    if any(case.label is None for case in cases):
        raise UsageError("robustness is measured on labelled cases; leave out those without a label")
    asked = conditions(kinds, levels)
    threshold = _threshold(detector, rate)
    reuse_memory()
    predict = Predictor(detector.method_, detector.reduction, detector.smoothing, detector.plan_.precision)
    scored: list[Case] = []
    seen: list[NDArray[np.float64]] = []
    failures: list[tuple[str, str]] = []
    read = stream(cases, detector.preprocess_, workers=workers or max(1, default_workers() // 2))
    for case, _, inputs in with_progress(read, len(cases), "Scoring with artefacts", progress):
        if isinstance(inputs, InputError):
            failures.append((case.path, inputs.reason))
            continue
        found = score_conditions(predict, inputs, asked, seed)
        if not np.isfinite(found[:, 0]).all():
            failures.append((case.path, "the method gave a score that is not a number"))
            continue
        scored.append(case)
        seen.append(found)
    if not scored:
        first = f"; the first: {failures[0][0]}: {failures[0][1]}" if failures else ""
        raise UsageError(f"none of the {len(cases)} cases could be scored{first}")
    table = _Table(scored, np.stack(seen, axis=1), threshold, detector.calibration_.scores, replicates, seed)
    normals = int(table.normal.sum())
    return Robustness(
        conditions=tuple(table.condition(row, *condition) for row, condition in enumerate(asked)),
        counts={
            "cases": len(scored),
            "normal": normals,
            "abnormal": len(scored) - normals,
            "patients": len(set(table.groups)),
        },
        rate=RATE if rate is None else rate,
        seed=seed,
        replicates=replicates,
        failures=tuple(failures),
    )


def _threshold(detector: Detector, rate: float | None) -> float | None:
    """The score above which a case is flagged; None where the normals are too few and no rate was asked for."""
    calibration = detector.calibration_
    if rate is None and normals_needed(RATE) > len(calibration):
        return None
    return calibration.threshold(RATE if rate is None else rate)


class _Table:
    """Scores and peaks `(conditions, cases, 3)`, as `score_conditions` gives them, and what a condition is made of."""

    def __init__(
        self,
        cases: Sequence[Case],
        seen: NDArray[np.float64],
        threshold: float | None,
        calibration: NDArray[np.float64],
        replicates: int,
        seed: int,
    ) -> None:
        self.normal = np.array([case.label == NORMAL for case in cases])
        self.groups = np.array([case.group for case in cases])
        self.seen, self.threshold = seen, threshold
        self.unit = float(np.std(calibration, ddof=1)) if len(calibration) > 1 else 0.0
        self.replicates, self.seed = replicates, seed

    def condition(self, row: int, kind: str, level: int) -> Condition:
        scores, hits, chance = self.seen[row].T
        flagged = None if self.threshold is None else scores > self.threshold
        metrics = self._bootstrap(scores, np.ones_like(self.normal), flagged)
        unsupported = _undefined("the calibration normals are too few for the false-alarm rate")
        points, points_by_chance = _undefined("it changes the whole image"), None
        if kind in LOCAL:
            points = _complement(self._bootstrap(scores, self.normal, hits > 0).get("specificity", NO_NORMALS))
            points_by_chance = float(chance[self.normal].mean()) if self.normal.any() else None
        return Condition(
            kind=kind,
            level=level,
            auroc=metrics["auroc"],
            false_alarms=unsupported if flagged is None else _complement(metrics["specificity"]),
            sensitivity=unsupported if flagged is None else metrics["sensitivity"],
            shift=self._shift(row),
            points=points,
            points_by_chance=points_by_chance,
        )

    def _bootstrap(
        self, scores: NDArray[np.float64], rows: NDArray[np.bool_], marked: NDArray[np.bool_] | None
    ) -> dict[str, Interval]:
        if not rows.any():
            return {}
        return bootstrap(
            scores[rows],
            ~self.normal[rows],
            list(self.groups[rows]),
            None if marked is None else marked[rows],
            replicates=self.replicates,
            seed=self.seed,
        )

    def _shift(self, row: int) -> Interval:
        if not self.normal.any():
            return NO_NORMALS
        if not self.unit > 0:
            return _undefined("the calibration normals' scores do not vary")
        risen = (self.seen[row, :, 0] - self.seen[0, :, 0])[self.normal] / self.unit
        return mean_interval(risen, list(self.groups[self.normal]), replicates=self.replicates, seed=self.seed)


def mean_interval(
    values: NDArray[np.float64], groups: Sequence[str], *, replicates: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean of `(N,)` values with its BCa interval over groups (patients), drawn whole; the same in any order."""
    order = np.lexsort((values, np.asarray(groups)))
    return patient_intervals(
        lambda weights: {"mean": weights @ values[order] / weights.sum(axis=1)},
        [groups[index] for index in order],
        np.zeros(len(values), np.bool_),
        replicates=replicates,
        seed=seed,
        level=level,
        undefined={},
    )["mean"]


def _undefined(reason: str) -> Interval:
    return Interval(None, None, None, reason)


NO_NORMALS = _undefined("needs normal cases")


def _complement(share: Interval) -> Interval:
    """1 − the share, its bounds likewise."""
    value, high, low = (None if end is None else 1 - end for end in (share.value, share.low, share.high))
    return Interval(value, low, high, share.reason)
