"""`unremarkable ensemble MODEL MODEL … --data NORMALS -o OUT`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from unremarkable.cli.common import (
    Abnormal,
    Columns,
    Device,
    Json,
    Normal,
    Overwrite,
    PatientPattern,
    Rate,
    check_new,
    open_data,
    print_json,
    say,
    table,
)


def ensemble(
    models: Annotated[list[Path], typer.Argument(help="Folders of fitted models, two or more.")],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="Folder, manifest or NPZ with normals; those that a model learned from are left out. The data that "
            "the models were fitted on will do.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Model folder to write; it needs none of the others.")],
    combine: Annotated[
        Literal["fisher", "cauchy", "minimum", "z"], typer.Option(help="How the models' p-values become one.")
    ] = "z",
    split: Annotated[str, typer.Option(help="Which normals, as for fit: published, A/B/C, none, auto.")] = "auto",
    normal: Normal = None,
    abnormal: Abnormal = None,
    columns: Columns = None,
    patient_pattern: PatientPattern = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the input in px; each model resizes it. Default: the largest model's.")
    ] = None,
    rate: Rate = None,
    seed: Annotated[int | None, typer.Option(help="Of whatever is drawn. Default: the first model's.")] = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Join fitted models into one, and calibrate it on normals that none of them has learned from."""
    check_new(output, overwrite)
    from unremarkable.ensemble import fit_ensemble

    started = time.perf_counter()
    detector = fit_ensemble(
        models,
        open_data(data, normal, abnormal, columns, patient_pattern),
        combine=combine,
        size=size,
        split=split,
        seed=seed,
        rate=rate,
        device=device,
        progress=not as_json,
        on_plan=None if as_json else lambda plan: say(table(plan.lines())),
    )
    detector.save(output)
    seconds = time.perf_counter() - started
    if as_json:
        print_json({"model": str(output), "seconds": seconds, "plan": detector.plan_.to_dict()})
        return
    say(f"joined in {seconds:.0f} s: {output}")
    say(f"next: unremarkable score {output} FOLDER -o RESULTS")
