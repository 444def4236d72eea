"""`unremarkable robustness MODEL DATA`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unremarkable.cli.common import (
    Abnormal,
    Columns,
    Device,
    Json,
    Model,
    Normal,
    Overwrite,
    PatientPattern,
    Rate,
    Replicates,
    Tested,
    TestedSplit,
    Workers,
    open_data,
    print_json,
    report_failures,
    report_left_out,
    say,
    table,
)
from unremarkable.errors import UsageError

if TYPE_CHECKING:
    from unremarkable.benchmark.robustness import Robustness
    from unremarkable.datasets.case import Case
    from unremarkable.detector import Detector

#: the file that marks a folder as this command's
MARK = "robustness.json"


def robustness(
    model: Model,
    data: Tested,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the table (CSV and JSON) and the figures.")
    ] = None,
    kinds: Annotated[
        str, typer.Option(help="Artefacts, comma-separated: squares, noise, text, rotation, contrast.")
    ] = "squares,noise,text,rotation,contrast",
    levels: Annotated[
        str, typer.Option(help="Strengths, comma-separated, 1 (slight) to 4 (gross); untouched comes always.")
    ] = "1,2,3,4",
    split: TestedSplit = "auto",
    normal: Normal = None,
    abnormal: Abnormal = None,
    columns: Columns = None,
    patient_pattern: PatientPattern = None,
    rate: Rate = None,
    replicates: Replicates = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the artefacts.")] = 0,
    workers: Workers = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Measure what simulated artefacts do to a model: AUROC, false alarms, and the shift of the normals' scores."""
    from unremarkable.benchmark.disturb import conditions
    from unremarkable.files import check_folder

    if output is not None:
        check_folder(output, MARK, overwrite=overwrite)
    chosen = [kind.strip() for kind in kinds.split(",") if kind.strip()], _numbers(levels)
    conditions(*chosen)
    from unremarkable.benchmark.robustness import measure_robustness
    from unremarkable.detector import Detector
    from unremarkable.training.plan import test_cases

    started = time.perf_counter()
    detector = Detector.load(model, device=device)
    dataset = open_data(data, normal, abnormal, columns, patient_pattern)
    if all(case.label is None for case in dataset):
        raise UsageError(
            f"{data} has no labels, and robustness needs to know which images are normal: name the folder that holds "
            "a folder normal, or a manifest with labels"
        )
    cases = test_cases(dataset, split, detector.seed)
    result = measure_robustness(
        detector,
        cases,
        kinds=chosen[0],
        levels=chosen[1],
        rate=rate,
        replicates=replicates,
        seed=seed,
        workers=workers,
        progress=not as_json,
    )
    if output is not None:
        _write(output, detector, cases, result, overwrite)
    if as_json:
        left_out = [{"path": path, "reason": reason} for path, reason in dataset.skipped]
        print_json(result.to_dict() | {"left_out": left_out, "seconds": time.perf_counter() - started})
    else:
        report_left_out(dataset.skipped)
        report_failures(result.failures, result.counts["cases"], "scored")
        counts = result.counts
        print(f"{counts['cases']} cases: {counts['normal']} normal, {counts['abnormal']} abnormal")
        print(table(_rows(result)))
        if output is not None:
            say(f"look at: {(output / 'robustness.png').resolve()} and artefacts.png beside it")
    raise typer.Exit(1 if result.failures else 0)


def _write(output: Path, detector: Detector, cases: tuple[Case, ...], result: Robustness, overwrite: bool) -> None:
    """`robustness.csv`, `robustness.json`, `robustness.png`, and one normal case to look at in `artefacts.png`."""
    import json

    from unremarkable.benchmark.robustness_figures import artefact_figure, robustness_figure
    from unremarkable.datasets.tables import write_rows
    from unremarkable.files import whole_folder

    failed = {path for path, _ in result.failures}
    shown = min((case for case in cases if case.path not in failed), key=lambda case: (case.label, case.path))
    kinds, levels = ([vars(one)[key] for one in result.conditions[1:]] for key in ("kind", "level"))
    with whole_folder(output, MARK, overwrite=overwrite) as folder:
        (folder / MARK).write_text(json.dumps(result.to_dict(), indent=1), encoding="utf-8")
        records = [one.record() for one in result.conditions]
        write_rows(folder / "robustness.csv", records, list(records[0]))
        robustness_figure(result).savefig(folder / "robustness.png", dpi=150)
        if kinds:
            drawn = artefact_figure(
                detector, shown, kinds=list(dict.fromkeys(kinds)), levels=levels, rate=result.rate, seed=result.seed
            )
            drawn.savefig(folder / "artefacts.png", dpi=110)


def _rows(result: Robustness) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("artefact", "level", "AUROC", "normals flagged", "abnormal flagged", "shift of normals (SD)", "map points")
    ]
    for one in result.conditions:
        chance = "" if one.points_by_chance is None else f", by chance {one.points_by_chance:.2f}"
        points = "" if one.points.value is None else f"{one.points.value:.2f}{chance}"
        texts = (one.auroc.text(), one.false_alarms.text(), one.sensitivity.text(), one.shift.text("+.2f"))
        rows.append((one.kind, str(one.level), *texts, points))
    return rows


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"--levels {text!r} is not understood; write whole numbers with commas: 1,2,4") from None
