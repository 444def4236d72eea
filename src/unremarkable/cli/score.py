"""`unremarkable score MODEL PATH… -o OUT`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

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
    Workers,
    check_new,
    open_data,
    print_json,
    report_failures,
    report_left_out,
    say,
)


def score(
    model: Model,
    paths: Annotated[list[str], typer.Argument(help="Images, folders, a manifest or an NPZ file.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to write scores.csv, maps and report.html to.")
    ],
    normal: Normal = None,
    abnormal: Abnormal = None,
    columns: Columns = None,
    patient_pattern: PatientPattern = None,
    rate: Rate = None,
    maps: Maps = "overlay",
    reconstructions: Reconstructions = False,
    batch_size: BatchSize = 32,
    workers: Workers = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Score images: a p-value, a verdict and a heat map for each, and a page to look at."""
    check_new(output, overwrite)
    from unremarkable.detector import Detector
    from unremarkable.report.run import score_to_folder

    started = time.perf_counter()
    detector = Detector.load(model, device=device)
    dataset = open_data(
        paths[0] if len(paths) == 1 else paths, normal, abnormal, columns, patient_pattern, need_labels=False
    )
    result = score_to_folder(
        detector,
        dataset,
        dataset.cases,
        output,
        rate=rate,
        maps=maps,
        reconstructions=reconstructions,
        batch=batch_size,
        workers=workers,
        overwrite=overwrite,
        progress=not as_json,
    )
    seconds = time.perf_counter() - started
    flagged = [row["path"] for row in result.records if row.get("flagged")]
    if as_json:
        print_json(
            {
                "output": str(output),
                "seconds": seconds,
                "false_alarm_rate": result.rate,
                "scores": result.records,
                "failures": [{"path": path, "error": reason} for path, reason in result.failures],
                "left_out": [{"path": path, "reason": reason} for path, reason in result.left_out],
            }
        )
    else:
        report_left_out(result.left_out)
        report_failures(result.failures, len(result.records), "scored")
        verdict = f"{len(flagged)} flagged at a false-alarm rate of {result.rate:g}"
        if any(row["flagged"] is None for row in result.records):
            verdict = f"no verdicts: the calibration normals are too few for a false-alarm rate of {result.rate:g}"
        say(f"{len(result.records)} scored in {seconds:.0f} s; {verdict}")
        say(f"look at: {(output / 'report.html').resolve()}")
    raise typer.Exit(1 if result.failures else 0)
