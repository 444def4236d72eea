"""`unremarkable report RUN`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unremarkable.cli.common import Json, Overwrite, check_new, print_json, say


def report(
    run: Annotated[Path, typer.Argument(help="Folder that score, evaluate or bench wrote.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="HTML file to write. Default: report.html in the folder.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Make the page of a run again: one HTML file with figures, pictures, model card and CLAIM checklist."""
    page = run / "report.html"
    if output is not None:
        page = output / "report.html" if output.is_dir() else output
        check_new(page, overwrite)
    from unremarkable.benchmark.store import MARK

    if (run / MARK).is_file():
        _benchmark(run, page)
    else:
        from unremarkable.report.html import write_report

        write_report(run, page)
    if as_json:
        print_json({"report": str(page.resolve())})
    else:
        say(f"look at: {page.resolve()}")


def _benchmark(folder: Path, page: Path) -> None:
    from unremarkable.benchmark.estimates import read_grid
    from unremarkable.benchmark.page import write_page
    from unremarkable.benchmark.store import Store

    store = Store.open(folder)
    results = store.results()
    page.parent.mkdir(parents=True, exist_ok=True)
    write_page(page, read_grid(results, store.blanks), results)
