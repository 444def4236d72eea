"""Write everything that a benchmark folder shows of its finished cells."""

from __future__ import annotations

from pathlib import Path

from unremarkable.benchmark.estimates import Grid, read_grid
from unremarkable.benchmark.published import results_page
from unremarkable.benchmark.store import Store
from unremarkable.benchmark.tables import cells_csv, latex, markdown, table_csv
from unremarkable.files import whole_file


def write_tables(store: Store) -> Grid:
    """`table.md`, `table.csv`, `table.tex`, `cells.csv` and `report.html`, from the finished cells; the table itself.

    Needs neither data nor methods, and runs no cell.
    """
    from unremarkable.benchmark.page import write_page

    results = store.results()
    grid = read_grid(results, store.blanks)
    for name, text in (
        ("table.md", markdown(grid)),
        ("table.csv", table_csv(grid)),
        ("table.tex", latex(grid)),
        ("cells.csv", cells_csv(results)),
    ):
        _write(store.folder / name, text)
    write_page(store.folder / "report.html", grid, results)
    return grid


def write_results(target: Path, runs: list[Path]) -> None:
    """Write the page of the papers' tables beside ours, from these benchmarks.

    Raises:
        UsageError: one of them is none.
    """
    text = results_page([Store.open(run) for run in runs])
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(target, text)


def _write(path: Path, text: str) -> None:
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
