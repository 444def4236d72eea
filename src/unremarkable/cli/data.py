"""`unremarkable data check FOLDER`."""

from __future__ import annotations

from typing import Annotated

import typer

from unremarkable.cli.common import Abnormal, Columns, Json, Normal, PatientPattern, open_data, print_json

app = typer.Typer(help="Look at data before learning from it.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Look at data before learning from it."""


@app.command()
def check(
    data: Annotated[str, typer.Argument(help="Folder, manifest or NPZ.")],
    normal: Normal = None,
    abnormal: Abnormal = None,
    columns: Columns = None,
    patient_pattern: PatientPattern = None,
    as_json: Json = False,
) -> None:
    """Unreadable files, duplicates, sizes, and shortcuts that would separate the classes without looking."""
    from unremarkable.datasets.audit import audit

    result = audit(open_data(data, normal, abnormal, columns, patient_pattern), progress=not as_json)
    if as_json:
        print_json(result.to_dict())
    else:
        print("\n".join(result.lines()))
    raise typer.Exit(1 if result.unreadable else 0)
