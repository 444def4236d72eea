"""`unremarkable fit DATA -o MODEL`."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from unremarkable.cli.common import (
    Abnormal,
    Columns,
    Device,
    Json,
    Normal,
    Overwrite,
    PatientPattern,
    Rate,
    Seed,
    check_new,
    open_data,
    parse_settings,
    print_json,
    say,
    table,
)
from unremarkable.methods.registry import DEFAULT, DEFAULT_OPTIONS

_DEFAULT_TEXT = f"{DEFAULT} with {', '.join(f'{name}={value}' for name, value in DEFAULT_OPTIONS.items())}"


class FitCommand(TyperCommand):
    """Its help ends with every method's options and their defaults, read from the methods themselves."""

    def get_help(self, ctx: Any) -> str:
        """The usual help, then the methods."""
        return f"{super().get_help(ctx)}\n\nMethod options (--set option=value), with their defaults:\n{_all_options()}"


def fit(
    data: Annotated[
        str,
        typer.Argument(
            help="Folder of scans, manifest (CSV, Parquet) or NPZ; normals only, unless the method needs labels."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Model folder to write.")],
    method: Annotated[
        str | None, typer.Option(help=f"`unremarkable methods` lists them. Default: {_DEFAULT_TEXT}.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A method's option, as option=value; repeatable.")
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="Which normals to learn from: published (the data's own training split), A/B/C (drawn by patient, "
            "train/validation/test shares), none (all of them), auto (published, else 70/15/15 for labelled data, "
            "else none)."
        ),
    ] = "auto",
    normal: Normal = None,
    abnormal: Abnormal = None,
    columns: Columns = None,
    patient_pattern: PatientPattern = None,
    size: Annotated[int | None, typer.Option(help="Side of the square input in px. Default: the method's own.")] = None,
    intensity: Annotated[
        str,
        typer.Option(
            help="How values become [0, 1]: dtype, percentile, a CT window (brain, lung, bone, …, "
            "window:CENTRE/WIDTH), range:LOW/HIGH, auto (by the data)."
        ),
    ] = "auto",
    fit_to: Annotated[
        Literal["resize", "pad"], typer.Option(help="Stretch to the square, or keep the aspect.")
    ] = "resize",
    reduction: Annotated[
        Literal["published", "max", "mean", "top1", "top10"],
        typer.Option(help="How a map becomes a score; top1 and top10 are the means of its top 1 % and 10 %."),
    ] = "published",
    smoothing: Annotated[float, typer.Option(help="Sigma in map px of a Gaussian over the map; 0 for none.")] = 0.0,
    augment: Annotated[bool, typer.Option(help="Move, flip and zoom the training images.")] = False,
    rate: Rate = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, 32 or bf16: of training, and of scoring where a method allows.")
    ] = "auto",
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget an interrupted fit instead of resuming it.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Learn what normal looks like. An interrupted fit goes on where it was when the command is repeated."""
    check_new(output, overwrite)
    chosen = parse_settings(settings or [])
    from unremarkable.detector import Detector
    from unremarkable.training.checkpoint import discard

    started = time.perf_counter()
    detector = Detector(
        method,
        size=size,
        intensity=intensity,
        fit_to=fit_to,
        reduction=reduction,
        smoothing=smoothing,
        augment=augment,
        seed=seed,
        device=device,
        precision=precision,
        **chosen,
    )
    run = output.with_name(f"{output.name}.run")
    if restart:
        discard(run)
    detector.fit(
        open_data(data, normal, abnormal, columns, patient_pattern),
        split=split,
        rate=rate,
        run=run,
        progress=not as_json,
        on_plan=None if as_json else lambda plan: say(table(plan.lines())),
    )
    detector.save(output)
    seconds = time.perf_counter() - started
    discard(run, keep_log=True)
    warnings = detector.history_.warnings
    if as_json:
        print_json(
            {"model": str(output), "seconds": seconds, "plan": detector.plan_.to_dict()} | {"warnings": warnings}
        )
        return
    say(f"fitted in {seconds:.0f} s: {output}")
    for name, value in detector.method_.settled().items():
        say(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    for warning in warnings:
        say(f"warning: {warning}")
    if run.is_dir():
        say(f"losses: tensorboard --logdir {run}")
    say(f"next: unremarkable score {output} FOLDER -o RESULTS")


def _all_options() -> str:
    from unremarkable.methods.registry import method_class, method_names

    parts = []
    for name in method_names():
        cls = method_class(name)
        rows = [
            (f"{field.name}={field.default}", field.metadata.get("help", ""))
            for field in dataclasses.fields(cls.Options)
        ]
        parts.append(f"\n{name}:\n{table(rows)}")
    return "\n".join(parts)
