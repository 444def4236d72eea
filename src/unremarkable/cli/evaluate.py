"""`unremarkable evaluate MODEL DATA`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from unremarkable.cli.common import (
    Abnormal,
    BatchSize,
    Columns,
    Device,
    Json,
    Maps,
    Model,
    Normal,
    Overwrite,
    PatientPattern,
    Rate,
    Reconstructions,
    Replicates,
    Tested,
    TestedSplit,
    Workers,
    check_new,
    interval_text,
    open_data,
    print_json,
    report_failures,
    report_left_out,
    say,
    table,
)

if TYPE_CHECKING:
    from unremarkable.evaluation.evaluation import Evaluation
    from unremarkable.evaluation.subgroups import Subgroups


def evaluate(
    model: Model,
    data: Tested,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for scores.csv, maps, metrics.json and report.html.")
    ] = None,
    split: TestedSplit = "auto",
    normal: Normal = None,
    abnormal: Abnormal = None,
    columns: Columns = None,
    patient_pattern: PatientPattern = None,
    rate: Rate = None,
    threshold: Annotated[
        Literal["normals", "best-f1", "youden"],
        typer.Option(
            help="normals: from the calibration normals, at the false-alarm rate; best-f1 and youden choose it on the "
            "labels that are evaluated, as the papers do, and say so."
        ),
    ] = "normals",
    replicates: Replicates = 2000,
    prevalence: Annotated[
        float | None,
        typer.Option(
            help="Share of abnormal cases where the model will be used (0.05 for 5 %): adds PPV and NPV there."
        ),
    ] = None,
    subgroup: Annotated[
        list[str] | None,
        typer.Option("--subgroup", help="Column to give results by, with the worst gap; repeatable."),
    ] = None,
    maps: Maps = "overlay",
    reconstructions: Reconstructions = False,
    batch_size: BatchSize = 32,
    workers: Workers = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Measure a model on labelled data, with 95 % intervals by patient."""
    if output is not None:
        check_new(output, overwrite)
    from unremarkable.detector import Detector
    from unremarkable.report.run import evaluate_to_folder
    from unremarkable.training.plan import test_cases

    started = time.perf_counter()
    detector = Detector.load(model, device=device)
    dataset = open_data(data, normal, abnormal, columns, patient_pattern)
    result = evaluate_to_folder(
        detector,
        dataset,
        test_cases(dataset, split, detector.seed),
        output,
        rate=rate,
        threshold=threshold,
        replicates=replicates,
        prevalence=prevalence,
        subgroups=subgroup or (),
        maps=maps,
        reconstructions=reconstructions,
        batch=batch_size,
        workers=workers,
        overwrite=overwrite,
        progress=not as_json,
    )
    evaluation = result.evaluation
    assert evaluation is not None
    if as_json:
        print_json(
            evaluation.to_dict()
            | (result.localisation or {})
            | {
                "failures": [{"path": path, "error": reason} for path, reason in result.failures],
                "left_out": [{"path": path, "reason": reason} for path, reason in result.left_out],
                "notes": list(result.notes),
                "seconds": time.perf_counter() - started,
            }
        )
    else:
        report_left_out(result.left_out)
        report_failures(result.failures, len(result.records), "scored")
        for note in result.notes:
            say(f"note: {note}")
        counts = evaluation.counts
        print(
            f"{counts['cases']} cases of {counts['patients']} patients: "
            f"{counts['normal']} normal, {counts['abnormal']} abnormal"
        )
        print(table(metric_rows(evaluation) + localisation_rows(result.localisation or {})))
        for column, found in evaluation.subgroups.items():
            print(f"by {column}:")
            print(table(subgroup_rows(found)))
        if output is not None:
            say(f"look at: {(output / 'report.html').resolve()}")
    raise typer.Exit(1 if result.failures else 0)


def metric_rows(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Name and value with interval of each metric, then how the operating point was chosen."""
    from unremarkable.evaluation.names import name_of

    rows = [(name_of(key), interval_text(interval)) for key, interval in evaluation.metrics.items()]
    if evaluation.prevalence is not None:
        rows.append(("prevalence", f"{evaluation.prevalence:g}, as stated"))
    if evaluation.threshold is None:
        return [*rows, ("verdicts", "none: the calibration normals are too few for the false-alarm rate")]
    warning = "; chosen on the test labels, which flatters it" if evaluation.test_labels_used else ""
    return [*rows, ("threshold", f"{evaluation.threshold.value:.4g}, {evaluation.threshold.describe()}{warning}")]


def localisation_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """The chief pixel and lesion metrics, of what `Run.localisation` holds."""
    from unremarkable.evaluation.intervals import Interval
    from unremarkable.evaluation.names import name_of

    shown = [("pixel", "auroc"), ("pixel", "auprc"), ("pixel", "dice"), ("pixel", "best_dice"), ("lesion", "froc")]
    chosen = found.get("localisation", {}).get("chosen_on_test_labels", {})
    rows = []
    for section, key in shown:
        if section in found:
            note = "  at a threshold chosen on the test labels" if key in chosen else ""
            rows.append((f"{section} {name_of(key)}", interval_text(Interval(**found[section][key])) + note))
    return rows


def subgroup_rows(found: Subgroups) -> list[tuple[str, ...]]:
    """Each value of a column with its results, then the worst gap of each metric."""
    from unremarkable.evaluation.names import name_of

    rows: list[tuple[str, ...]] = []
    for value, one in found.values.items():
        counts = f"{one.normal} normal, {one.abnormal} abnormal"
        shown = [
            f"{name_of(name)} {interval_text(metric)}"
            for name, metric in one.metrics.items()
            if metric.value is not None
        ]
        rows.append((value, counts, "; ".join([*shown, *([one.note] if one.note else [])])))
    if found.missing:
        rows.append(("no value", f"{found.missing} left out", ""))
    for name, gap in found.gaps.items():
        if gap.highest is None:
            rows.append(("worst gap", name_of(name), f"none: {gap.difference.reason}"))
        else:
            rows.append(
                ("worst gap", name_of(name), f"{interval_text(gap.difference)}, {gap.highest} above {gap.lowest}")
            )
    return rows
