"""`unremarkable data list|describe|get|check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unremarkable.cli.common import Abnormal, Columns, Json, Normal, PatientPattern, open_data, print_json, say, table
from unremarkable.errors import UsageError

if TYPE_CHECKING:
    from unremarkable.datasets.catalog.registry import Likeness

app = typer.Typer(
    help="Public data sets, and a look at data before learning from it.", no_args_is_help=True, rich_markup_mode=None
)

Name = Annotated[str, typer.Argument(help="Data set, as `data list` names it.")]


@app.callback()
def _group() -> None:
    """Public data sets, and a look at data before learning from it."""


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the public data sets that can be read as their publishers ship them."""
    from unremarkable.datasets.catalog.page import to_dict
    from unremarkable.datasets.catalog.registry import ENTRIES

    if as_json:
        print_json({"data_sets": [to_dict(entry) for entry in ENTRIES.values()]})
        return
    rows = [("NAME", "GET", "WHAT")]
    rows += [(e.name, "yes" if e.downloads else "", f"{e.title}: {e.modality}") for e in ENTRIES.values()]
    print(table(rows, indent=0))


@app.command()
def describe(name: Name, as_json: Json = False) -> None:
    """Say what a data set is, where to get it, what it should hold, and what counts as normal."""
    from unremarkable.datasets.catalog.page import describe as in_words
    from unremarkable.datasets.catalog.page import to_dict
    from unremarkable.datasets.catalog.registry import find_entry

    entry = find_entry(name)
    if as_json:
        print_json(to_dict(entry))
        return
    print(entry.name)
    print(table(in_words(entry)))


@app.command()
def get(
    name: Name,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that the file goes to.")] = Path(),
    file: Annotated[
        str | None, typer.Option("--file", help="Which file, where there are several; the first of `data describe`.")
    ] = None,
) -> None:
    """Fetch a data set that its publisher gives to anyone; goes on where an interrupted download stopped."""
    from rich.console import Console
    from rich.progress import Progress

    from unremarkable.datasets.catalog.fetch import get as fetch
    from unremarkable.datasets.catalog.registry import find_entry

    entry = find_entry(name)
    with Progress(console=Console(stderr=True), transient=True) as bars:
        bar = bars.add_task(name, total=None)
        path = fetch(entry, output, file, lambda done, total: bars.update(bar, completed=done, total=total))
    say(f"{name}: {path} ({entry.licence or 'licence: see ' + entry.homepage}; cite {entry.citation})")


@app.command()
def check(
    data: Annotated[str, typer.Argument(help="Folder, manifest or NPZ.")],
    as_name: Annotated[
        str | None, typer.Option("--as", help="Compare its counts with those published of this data set, and no more.")
    ] = None,
    normal: Normal = None,
    abnormal: Abnormal = None,
    columns: Columns = None,
    patient_pattern: PatientPattern = None,
    as_json: Json = False,
) -> None:
    """Unreadable files, duplicates, sizes, and shortcuts that would separate the classes without looking."""
    if as_name is not None:
        if normal or abnormal or columns or patient_pattern:
            raise UsageError(f"--as {as_name} reads the data as published; leave out the options that say otherwise")
        _compare(data, as_name, as_json)
        return
    from unremarkable.datasets.audit import audit

    result = audit(open_data(data, normal, abnormal, columns, patient_pattern), progress=not as_json)
    alike = _recognise(data)
    if as_json:
        print_json({**result.to_dict(), "recognised": [{"name": one.entry.name, "gap": one.gap} for one in alike]})
    else:
        print("\n".join([*result.lines(), *(_likeness(data, one) for one in alike)]))
    raise typer.Exit(1 if result.unreadable else 0)


def _recognise(data: str) -> list[Likeness]:
    from unremarkable.datasets.catalog.registry import recognise

    return recognise(data) if Path(data).expanduser().exists() else []


def _likeness(data: str, one: Likeness) -> str:
    fit = "" if one.gap is None else "; its counts are the published ones" if one.gap == 0 else "; its counts differ"
    how = "" if one.gap == 0 else f": unremarkable data check {data} --as {one.entry.name}"
    return f"looks like {one.entry.name} ({one.entry.title}){fit}{how}"


def _compare(data: str, name: str, as_json: bool) -> None:
    """Print the table; exit code 1 where a published number is not met."""
    from unremarkable.datasets.catalog.check import compare
    from unremarkable.datasets.catalog.registry import find_entry

    entry = find_entry(name)
    dataset = entry.read(data)
    result = compare(entry, dataset)
    if as_json:
        print_json({**result.to_dict(), "notes": list(dataset.notes), "left_out": len(dataset.skipped)})
    else:
        rows: list[Any] = [("SPLIT", "CLASS", "PUBLISHED", "FOUND", "DIFFERENCE")]
        for row in result.rows:
            published = "" if row.expected is None else f"{row.expected:,}"
            apart = "" if row.difference is None else f"{row.difference:+,}" if row.difference else "0"
            rows.append((row.split or "-", row.name, published, f"{row.found:,}", apart))
        print(f"{entry.name}{f', {result.edition}' if result.edition else ''}: {len(dataset):,} cases")
        print(table(rows))
        print(f"published counts: {entry.counted or 'none known for certain'}")
        for note in dataset.notes:
            print(note)
        if dataset.skipped:
            print(f"left out: {len(dataset.skipped)}, such as {': '.join(dataset.skipped[0])}")
    raise typer.Exit(0 if result.agrees else 1)
