"""What several commands share: option types, printing, and the summary of a run over many cases."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from unremarkable.errors import UsageError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Normal = Annotated[
    list[str] | None,
    typer.Option("--normal", help="Name of a class folder that is normal, where it is not recognised; repeatable."),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--false-alarm-rate",
        help="Share of normals that the verdict may flag; refused where the calibration normals are too few. "
        "Default: 0.05, and no verdict where they are too few for that.",
    ),
]


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


def print_json(content: Any) -> None:
    """One JSON document on stdout; numbers that JSON has no words for become null."""
    print(json.dumps(_plain(content), indent=1, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if (isinstance(value, float) and value != value) or value in (float("inf"), float("-inf")):
        return None
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


def parse_settings(pairs: Sequence[str]) -> dict[str, str]:
    """`option=value` pairs as the user gave them.

    Raises:
        UsageError: a pair without "=".
    """
    settings = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(f"--set {pair!r} is not understood; write --set option=value")
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
    for path, reason in failures[:10]:
        say(f"  {path}: {reason}")
    if len(failures) > 10:
        say(f"  … and {len(failures) - 10} more")
