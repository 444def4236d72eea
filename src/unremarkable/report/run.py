"""Score or evaluate a data set into a folder: the table, the maps, the figures and the page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from unremarkable.datasets.case import ABNORMAL, NORMAL, Case, Dataset
from unremarkable.datasets.load import digest
from unremarkable.detector import RATE, Detector
from unremarkable.errors import InputError, UsageError
from unremarkable.evaluation.columns import case_columns
from unremarkable.evaluation.evaluation import Evaluation, evaluate
from unremarkable.evaluation.localisation import Localisation
from unremarkable.evaluation.metrics import check_prevalence
from unremarkable.report.html import write_report
from unremarkable.report.keep import Keep
from unremarkable.report.record import write_record
from unremarkable.scoring.calibration import normals_needed
from unremarkable.scoring.scores import Maps, ScoreWriter
from unremarkable.scoring.thresholds import ThresholdChoice, best_f1, youden

Threshold = Literal["normals", "best-f1", "youden"]


@dataclass(frozen=True)
class Run:
    """What came of scoring a data set: a record a case, the inputs that failed, and the evaluation if there is one.

    `left_out` are files beside the inputs that are none (a text, a dose report), with the reason. `localisation` holds
    the pixel, lesion and reconstruction metrics as `Localisation.to_dict` gives them, or None.
    """

    records: list[dict[str, Any]]
    failures: list[tuple[str, str]]
    rate: float
    kept: Keep
    left_out: tuple[tuple[str, str], ...] = ()
    evaluation: Evaluation | None = None
    localisation: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


@dataclass
class _Settings:
    """How cases are scored and written; shared by both entries."""

    rate: float | None = None
    maps: Maps = "overlay"
    reconstructions: bool = False
    batch: int = 32
    workers: int | None = None
    overwrite: bool = False
    progress: bool = False


def score_to_folder(detector: Detector, dataset: Dataset, cases: Sequence[Case], output: Path, **settings: Any) -> Run:
    """Score `cases` into `output`: `scores.csv`, maps, `report.html`. Written whole or not at all.

    Settings: `rate`, `maps`, `reconstructions`, `batch`, `workers`, `overwrite`, `progress`; see `Detector.stream` and
    `ScoreWriter`.

    Raises:
        UsageError: a rate that the normals cannot support, `output` in the way, or not one case that could be scored.
    """
    chosen = _Settings(**settings)
    with ScoreWriter(
        output,
        detector.preprocess_,
        detector.map_range,
        [case.path for case in cases],
        chosen.maps,
        chosen.overwrite,
        reconstructions=chosen.reconstructions,
    ) as writer:
        run = _score(detector, dataset, cases, chosen, writer)
        undecided = any(row["flagged"] is None for row in run.records)
        point = None if undecided else detector.calibration_.choose(run.rate)
        _write_page(writer, f"{dataset.name}, scored by {detector.method}", detector, dataset, cases, run, point)
    return run


def evaluate_to_folder(
    detector: Detector,
    dataset: Dataset,
    cases: Sequence[Case],
    output: Path | None,
    *,
    threshold: Threshold = "normals",
    replicates: int = 2000,
    subgroups: Sequence[str] = (),
    prevalence: float | None = None,
    **settings: Any,
) -> Run:
    """Score labelled `cases` and measure the detector on them; into `output` unless it is None.

    Writes what `score_to_folder` does, with `metrics.json`. Where cases have masks or boxes, or the method
    reconstructs, pixel, lesion and reconstruction metrics are among them. `subgroups` names columns to give results by,
    `prevalence` the share of abnormal cases to state PPV and NPV for. Further settings as there.

    Raises:
        UsageError: as `score_to_folder`; a column that no case has, or an impossible prevalence.
    """
    chosen = _Settings(**settings)
    columns = case_columns(cases, subgroups)
    if prevalence is not None:
        check_prevalence(prevalence)
    with ExitStack() as stack:
        writer = None
        if output is not None:
            paths = [case.path for case in cases]
            writer = stack.enter_context(
                ScoreWriter(
                    output,
                    detector.preprocess_,
                    detector.map_range,
                    paths,
                    chosen.maps,
                    chosen.overwrite,
                    reconstructions=chosen.reconstructions,
                )
            )
        annotated = any(case.masks or case.boxes for case in cases)
        localisation = stack.enter_context(
            Localisation(detector.preprocess_, detector.calibration_.map_low, annotated=annotated)
        )
        run = _score(detector, dataset, cases, chosen, writer, localisation)
        evaluation = _evaluate(detector, dataset, run, threshold, replicates, _scored(columns, cases, run), prevalence)
        notes = (*_seen_before(detector, cases), *localisation.notes(), *run.notes)
        found = localisation.to_dict(replicates=replicates)
        run = replace(run, evaluation=evaluation, localisation=found, notes=notes)
        if writer is not None:
            metrics = evaluation.to_dict(curves=True) | (found or {})
            writer.path("metrics.json").write_text(json.dumps(metrics, indent=1))
            title = f"{dataset.name}, evaluated with {detector.method}"
            _write_page(writer, title, detector, dataset, cases, run)
    return run


def _score(
    detector: Detector,
    dataset: Dataset,
    cases: Sequence[Case],
    settings: _Settings,
    writer: ScoreWriter | None,
    localisation: Localisation | None = None,
) -> Run:
    rate = RATE if settings.rate is None else settings.rate
    kept = Keep(detector.map_range, detector.preprocess_)
    records: list[dict[str, Any]] = []
    # What a manifest names is an input that failed; what merely lies in a folder may be anything.
    named = dataset.layout == "manifest"
    failures, left_out = (list(dataset.skipped), ()) if named else ([], dataset.skipped)
    pending: list[Future[None]] = []
    # Pictures are compressed while the next batch is in the network; both leave the interpreter's lock.
    with ThreadPoolExecutor(max_workers=2) as pool:
        for row in detector.stream(
            cases, rate=settings.rate, batch=settings.batch, workers=settings.workers, progress=settings.progress
        ):
            if isinstance(row, InputError):
                failures.append((row.source, row.reason))
                continue
            records.append(row.record())
            kept.add(row)
            if localisation is not None:
                localisation.add(row)
            if writer is not None:
                pending.append(pool.submit(writer.write_pictures, row))
                if len(records) == 1:  # what cannot be written is said at once
                    pending.pop().result()
                if len(pending) > 4 * settings.batch:  # never more in memory than a few batches
                    pending.pop(0).result()
        for written in pending:
            written.result()
    if not records:
        first = f"; the first: {failures[0][0]}: {failures[0][1]}" if failures else ""
        raise UsageError(f"none of the {len(failures)} inputs could be scored{first}")
    if writer is not None:
        writer.write_table(records, failures)
    return Run(records, failures, rate, kept, left_out)


def _scored(columns: dict[str, list[Any]], cases: Sequence[Case], run: Run) -> dict[str, list[Any]]:
    """The columns of all cases, for those that could be scored, in the order of their records."""
    position = {case.path: index for index, case in enumerate(cases)}
    rows = [position[row["path"]] for row in run.records]
    return {name: [column[row] for row in rows] for name, column in columns.items()}


def _evaluate(
    detector: Detector,
    dataset: Dataset,
    run: Run,
    threshold: Threshold,
    replicates: int,
    subgroups: dict[str, list[Any]],
    prevalence: float | None,
) -> Evaluation:
    rows = run.records
    scores, labels = [row["score"] for row in rows], [row["label"] for row in rows]
    paths = [row["path"] for row in rows]
    point: ThresholdChoice | None = None
    if threshold == "best-f1":
        point = best_f1(scores, labels, source=f"the cases of {dataset.name} that are evaluated", cases=paths)
    elif threshold == "youden":
        point = youden(scores, labels, source=f"the cases of {dataset.name} that are evaluated", cases=paths)
    elif normals_needed(run.rate) <= len(detector.calibration_):
        point = detector.calibration_.choose(run.rate)
    if point is not None:
        for row in rows:
            row["flagged"] = row["score"] > point.value
    return evaluate(
        scores,
        labels,
        [row["patient"] or row["path"] for row in rows],
        threshold=point,
        p_values=[row["p_value"] for row in rows],
        findings=[row["finding"] for row in rows],
        paths=paths,
        subgroups=subgroups,
        prevalence=prevalence,
        calibration_normals=len(detector.calibration_),
        replicates=replicates,
    )


def _seen_before(detector: Detector, cases: Sequence[Case]) -> tuple[str, ...]:
    """A note where cases under evaluation are byte for byte among those that the model was fitted on."""
    data = detector.manifest_["data"]
    known = {one for part in ("training", "validation", "calibration") for one in data[part]}
    seen = Counter(case.label for case in cases if _digest(case) in known)
    if not seen:
        return ()
    return (
        f"{sum(seen.values())} of the {len(cases)} cases are byte for byte among those this model was fitted or "
        f"calibrated on ({seen[NORMAL]} labelled normal, {seen[ABNORMAL]} abnormal): the figures flatter it",
    )


def _digest(case: Case) -> str | None:
    try:
        return digest(case)
    except InputError:
        return None  # it is among the failures already


def _write_page(
    writer: ScoreWriter,
    title: str,
    detector: Detector,
    dataset: Dataset,
    cases: Sequence[Case],
    run: Run,
    point: ThresholdChoice | None = None,
) -> None:
    """`run.json`, the gallery's pictures and the page, from the folder as it will be found later."""
    folder = writer.path("")
    write_record(folder, title, detector, dataset, cases, run, point)
    write_report(folder)
