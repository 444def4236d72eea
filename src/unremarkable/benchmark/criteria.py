"""Measuring one candidate for label-free selection: fit it on the normals, and see what the three criteria say."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unremarkable.benchmark.cells import read_entry
from unremarkable.benchmark.matrix import SETTINGS, MethodEntry
from unremarkable.benchmark.measure import timed_fit
from unremarkable.benchmark.selection import Blind, Candidate
from unremarkable.benchmark.store import RESULT, Store
from unremarkable.datasets.case import Case
from unremarkable.datasets.load import stream
from unremarkable.detector import Detector
from unremarkable.errors import InputError, UnremarkableError, unknown_name
from unremarkable.evaluation.intervals import Interval, bootstrap
from unremarkable.methods.planting import plant
from unremarkable.methods.registry import method_class
from unremarkable.scoring.scorer import BATCH, Predictor
from unremarkable.training.history import History

#: images that anomalies are planted in, at most; of a volume, evenly spaced slices
IMAGES = 256


def check_candidates(entries: Sequence[MethodEntry], common: Mapping[str, Any]) -> None:
    """Read every candidate before the first is fitted.

    Raises:
        UsageError: an unknown method or option, or one in `common` that no candidate knows.
    """
    used = {key for entry in entries for key in read_entry(entry, common)[1]}
    if unused := sorted(set(common) - used):
        methods = {entry.method for entry in entries}
        known = {option.name for method in methods for option in fields(method_class(method).Options)}
        raise unknown_name("option of these candidates", unused[0], {*known, *SETTINGS})


@dataclass(frozen=True)
class Measure:
    """Fits and measures candidates on the same `Blind` data with the same seed.

    The held-out normals of the pool and synthetic criteria are those that the fit holds out for calibration: the same
    for every candidate, and seen by none in training. `common` are options and settings for every candidate that knows
    them. With a `store`, a candidate that it has is not measured again, and a fit that was cut off goes on.
    """

    data: Blind
    common: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "auto"
    replicates: int = 2000
    progress: bool = False
    store: Store | None = None

    def __call__(self, entry: MethodEntry) -> Candidate:
        """The candidate with what was measured; one that cannot be fitted carries the reason.

        Raises:
            UsageError: an unknown method or option.
        """
        _, given, options, settings = read_entry(entry, self.common)
        detector = Detector(entry.method, seed=self.seed, device=self.device, **settings, **options)
        if self.store is None:
            return self._measured(entry, given, detector)
        what = (entry.method, options, settings, self.seed, self.replicates, self.data.identity)
        key = sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
        if found := self.store.find(key):
            return replace(Candidate.from_dict(found["candidate"]), label=entry.label)
        work = self.store.work(key)
        candidate = self._measured(entry, given, detector, work / "fit")
        if candidate.failure is None:
            made = work / "made"
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
            (made / RESULT).write_text(json.dumps({"candidate": candidate.to_dict()}), encoding="utf-8")
            self.store.publish(made, f"{re.sub(r'[^A-Za-z0-9.=]+', '-', entry.label)[:80]}-{key}", key)
        return candidate

    def _measured(
        self, entry: MethodEntry, given: Mapping[str, Any], detector: Detector, run: Path | None = None
    ) -> Candidate:
        try:
            fit_seconds, _ = timed_fit(detector, self.data.normals, run, progress=self.progress)
            began = time.perf_counter()
            found = self._criteria(detector)
        except (UnremarkableError, RuntimeError, MemoryError) as error:
            reason = " ".join((str(error) or type(error).__name__).split())
            return Candidate(entry.label, entry.method, dict(given), failure=reason)
        seconds = fit_seconds + time.perf_counter() - began
        return Candidate(entry.label, entry.method, dict(given), seconds=seconds, **found)

    def _criteria(self, detector: Detector) -> dict[str, Any]:
        held = [self.data.digests[content] for content in detector.manifest_["data"]["calibration"]]
        normals, scores = self._scores(detector, held), self._scores(detector, self.data.pool)
        return {
            "loss": held_out_loss(detector.history_),
            "pool": self._against_pool(normals, scores),
            "synthetic": self._synthetic(detector, held),
            "pool_scores": {case.path: score for case, score in scores},
        }

    def _scores(self, detector: Detector, cases: Sequence[Case]) -> list[tuple[Case, float]]:
        rows = detector.stream(cases, progress=self.progress)
        return [(row.case, row.score) for row in rows if not isinstance(row, InputError)]

    def _against_pool(self, normals: Sequence[tuple[Case, float]], pool: Sequence[tuple[Case, float]]) -> Interval:
        if not pool:
            return Interval(None, None, None, "there is no pool: name unlabelled images with --pool")
        both = [*normals, *pool]
        return self._auroc(
            [score for _, score in both], [0] * len(normals) + [1] * len(pool), [case.group for case, _ in both]
        )

    def _synthetic(self, detector: Detector, held: Sequence[Case]) -> Interval:
        import torch

        images, groups = _images(detector, held)
        if len(images) < 2:
            return Interval(None, None, None, "anomalies are planted in at least two held-out normals")
        planted = plant(torch.from_numpy(images), torch.Generator().manual_seed(self.seed)).numpy()
        predict = Predictor(detector.method_, detector.reduction, detector.smoothing, detector.plan_.precision)
        scores = [
            predict(part[start : start + BATCH])[1]
            for part in (images, planted)
            for start in range(0, len(part), BATCH)
        ]
        return self._auroc(np.concatenate(scores), [0] * len(images) + [1] * len(images), groups * 2)

    def _auroc(self, scores: Any, labels: Sequence[int], groups: Sequence[str]) -> Interval:
        return bootstrap(scores, labels, groups, replicates=self.replicates, seed=self.seed)["auroc"]


def held_out_loss(history: History) -> float | None:
    """Held-out loss of the weights that the last phase with such a loss has kept; None without one."""
    for phase in reversed(history.phases):
        losses = [epoch.held_out for epoch in phase.epochs if epoch.held_out is not None]
        if losses:
            return min(losses) if np.isfinite(min(losses)) else None
    return None


def _images(detector: Detector, cases: Sequence[Case]) -> tuple[NDArray[np.float32], list[str]]:
    """Model input `(M, C, H, W)` of the cases that can be read, and the group of each image."""
    most = max(1, IMAGES // max(1, len(cases)))
    parts, groups = [np.empty((0, 0, 0, 0), np.float32)], []
    for case, _, inputs in stream(cases, detector.preprocess_):
        if isinstance(inputs, InputError):
            continue
        rows = np.unique(np.linspace(0, len(inputs) - 1, most).round().astype(int)) if len(inputs) > most else ...
        parts.append(inputs[rows])
        groups += [case.group] * len(parts[-1])
    return np.concatenate(parts[1:]) if groups else parts[0], groups
