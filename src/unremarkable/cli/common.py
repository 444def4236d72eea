"""What several commands share: option types, printing, and the summary of a run over many cases."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from unremarkable.errors import UsageError

if TYPE_CHECKING:
    from unremarkable.datasets.case import Dataset
    from unremarkable.evaluation.intervals import Interval

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]
Normal = Annotated[
    list[str] | None,
    typer.Option("--normal", help="Name or pattern of a class that is normal, where it is not recognised; repeatable."),
]
Abnormal = Annotated[
    list[str] | None,
    typer.Option("--abnormal", help="Name or pattern of a class that is abnormal; others are left out; repeatable."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="Column of a manifest by its role, as path=FILE_NAME; repeatable."),
]
PatientPattern = Annotated[
    str | None,
    typer.Option(help="Regular expression that finds the patient in each path; its first group is the patient."),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--false-alarm-rate",
        help="Share of normals that the verdict may flag; refused where the calibration normals are too few. "
        "Default: 0.05, and no verdict where they are too few for that.",
    ),
]
Model = Annotated[Path, typer.Argument(help="Model folder that fit wrote.")]
Tested = Annotated[str, typer.Argument(help="Labelled folder, manifest or NPZ.")]
TestedSplit = Annotated[
    str, typer.Option(help="Which cases: test, val, train, all, auto (the test split; drawn as fit draws it).")
]
Maps = Annotated[
    Literal["none", "overlay", "full"],
    typer.Option(
        help="overlay: a picture of each image with its heat map, and a NIfTI map for a volume; full: also a float32 "
        "TIFF on each flat image's own pixel grid."
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per forward pass; scores do not depend on it.")]
Reconstructions = Annotated[
    bool,
    typer.Option(
        "--reconstructions", help="Also write reconstructions/NAME.png: the image as it would look without findings."
    ),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Files read at once. Default: by the processor.")]
Replicates = Annotated[int, typer.Option(min=0, help="Bootstrap replicates of each interval; 0 for none.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def say(text: str = "") -> None:
    """A line for the person at the terminal; stdout stays free for results."""
    print(text, file=sys.stderr)


def table(rows: Iterable[Sequence[str]], indent: int = 2) -> str:
    """Columns of text, aligned; the last one as long as it likes."""
    rows = [list(row) for row in rows]
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return "\n".join(
        " " * indent + "".join(f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=False)) + row[-1]
        for row in rows
    )


def interval_text(interval: Interval) -> str:
    """A metric as "0.912  (0.880 to 0.941)", or why there is none, or no interval."""
    if interval.value is None:
        return f"undefined: {interval.reason}"
    if interval.low is None or interval.high is None:
        return f"{interval.value:.3f}  ({interval.reason})"
    return f"{interval.value:.3f}  ({interval.low:.3f} to {interval.high:.3f})"


def print_json(content: Any) -> None:
    """One JSON document on stdout; numbers that JSON has no words for become null."""
    from unremarkable.files import to_json

    print(to_json(content))


def open_data(
    data: str | Sequence[str],
    normal: Sequence[str] | None,
    abnormal: Sequence[str] | None,
    columns: Sequence[str] | None,
    patient_pattern: str | None,
    *,
    need_labels: bool = True,
) -> Dataset:
    """The data set that the user named, read as the shared options say."""
    from unremarkable.datasets.find import find_dataset

    return find_dataset(
        data if isinstance(data, str) else list(data),
        normal=normal or (),
        abnormal=abnormal or (),
        columns=parse_settings(columns or (), "--column") or None,
        patient_pattern=patient_pattern,
        need_labels=need_labels,
    )


def parse_settings(pairs: Sequence[str], flag: str = "--set") -> dict[str, str]:
    """`option=value` pairs as the user gave them to `flag`.

    Raises:
        UsageError: a pair without "=".
    """
    settings = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(f"{flag} {pair!r} is not understood; write {flag} option=value")
        settings[key.strip()] = value.strip()
    return settings


def check_new(path: Path, overwrite: bool) -> None:
    """Refuse an output that exists, before any work is done for it.

    Raises:
        UsageError: it exists and may not be replaced.
    """
    if path.exists() and not overwrite and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(f"{path} exists already; give another -o, or --overwrite to replace it")


def report_failures(failures: Sequence[tuple[str, str]], done: int, verb: str) -> None:
    """Say which inputs failed and why; at most ten lines, the rest as a count."""
    if not failures:
        return
    say(f"{len(failures)} of {len(failures) + done} inputs could not be {verb}:")
    _list(failures)


def report_left_out(left_out: Sequence[tuple[str, str]]) -> None:
    """Say which files were not taken for inputs, and why."""
    if left_out:
        say(f"left out, not images to score: {len(left_out)}")
        _list(left_out)


def _list(items: Sequence[tuple[str, str]]) -> None:
    for path, reason in items[:10]:
        say(f"  {path}: {reason}")
    if len(items) > 10:
        say(f"  … and {len(items) - 10} more")
