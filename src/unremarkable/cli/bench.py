"""`unremarkable bench --methods … --data … -o RUN`."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unremarkable.cli.common import (
    Abnormal,
    Device,
    Json,
    Normal,
    PatientPattern,
    parse_settings,
    print_json,
    say,
    table,
)
from unremarkable.errors import UsageError

if TYPE_CHECKING:
    from unremarkable.benchmark.cells import Cell
    from unremarkable.benchmark.estimates import Grid
    from unremarkable.benchmark.runner import Tally
    from unremarkable.benchmark.store import Store


def bench(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN]...", help="With --results: the benchmarks to read.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the benchmark, new or one to go on with.")
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(help="Methods, as knn,autoencoder[epochs=5,size=64]; repeatable. Options as in --set."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="Labelled data sets: paths, or names below --data-root, comma-separated; repeatable."),
    ] = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder in which data sets are looked for by name.")] = None,
    matrix: Annotated[
        Path | None, typer.Option(help="TOML or JSON file with methods, their options, data, seeds, protocol.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="A paper's own comparison: hetero-ae-table1, gan-study-table3, ra-table1, ra-table2, ra-table3, "
            "detection-system."
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="How many seeds, or which: 4,7. Default: 1.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="option=value for every method that knows it (size, reduction, … too); repeatable."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="published (the data's own split; 70/15/15 by patient where there is none), 70/15/15 or other shares, "
            "kfold:5 (by patient), one-class:60 (60 % of the normals learn, all else is tested), external (fit on "
            "--data, test on --test). Default: published."
        ),
    ] = None,
    test: Annotated[
        list[str] | None, typer.Option(help="Data sets to test on, each with every one of --data; implies external.")
    ] = None,
    deduplicate: Annotated[
        bool, typer.Option("--deduplicate", help="Learn from no byte-for-byte copy of a test case; test each once.")
    ] = False,
    normal: Normal = None,
    abnormal: Abnormal = None,
    patient_pattern: PatientPattern = None,
    device: Device = "auto",
    jobs: Annotated[
        int, typer.Option(min=1, help="Cells that run at a time, each on its share of the processors.")
    ] = 1,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run cells again that failed in an earlier run.")
    ] = False,
    tables: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Write the tables of a benchmark again; run nothing.")
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the papers' tables beside those of each RUN; run nothing."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Methods × data sets × seeds → one table. Interrupted at any moment, the same command goes on."""
    from unremarkable.benchmark.outputs import write_results, write_tables
    from unremarkable.benchmark.store import Blank, Store

    if results is not None:
        if not runs:
            raise UsageError("--results FILE takes the benchmarks to read: unremarkable bench --results FILE RUN...")
        write_results(results, runs)
        say(f"look at: {results.resolve()}")
        return
    if runs:
        raise UsageError(f"{runs[0]} is not expected here; the benchmark's folder is given with -o")
    if tables is not None:
        store = Store.open(tables)
        _report(store, write_tables(store), None, as_json)
        return
    if output is None:
        raise UsageError("say where the benchmark lies, or is to lie: -o RUN")
    cells, gaps = _plan(
        methods or [],
        data or [],
        data_root,
        matrix,
        preset,
        seeds,
        parse_settings(settings or []),
        protocol,
        test or [],
        deduplicate,
        {"normal": tuple(normal or ()), "abnormal": tuple(abnormal or ()), "patient_pattern": patient_pattern},
        device,
        progress=not as_json,
    )
    from unremarkable.benchmark.runner import run_cells

    store = Store.open(output, create=True)
    typed = shlex.join(["unremarkable", *sys.argv[1:]])
    with _watcher(as_json) as watcher:
        origin = {"typed": typed}
        tally = run_cells(cells, store, retry_failed=retry_failed, watcher=watcher, provenance=origin, jobs=jobs)
    store.note([Blank(*gap) for gap in gaps])
    _report(store, write_tables(store), tally, as_json)
    raise typer.Exit(1 if tally.failed else 0)


def _plan(
    methods: list[str],
    data: list[str],
    root: Path | None,
    matrix: Path | None,
    preset: str | None,
    seeds: str | None,
    common: dict[str, str],
    protocol: str | None,
    test: list[str],
    deduplicate: bool,
    reading: dict[str, Any],
    device: str,
    *,
    progress: bool,
) -> tuple[tuple[Cell, ...], list[tuple[str, str, str]]]:
    """The cells to run, and what of a preset cannot be run here; the command line goes before the matrix file."""
    from unremarkable.benchmark.cells import column_name, make_cells
    from unremarkable.benchmark.matrix import Matrix, overridden, parse_data, parse_methods, parse_seeds, read_matrix
    from unremarkable.benchmark.presets import read_preset
    from unremarkable.benchmark.protocol import EXTERNAL, PUBLISHED, Protocol

    asked = read_matrix(matrix, root, **reading) if matrix else Matrix()
    rows = (*overridden(asked.methods, common), *parse_methods(methods))
    columns = parse_data(data, root, **reading) or asked.data
    others = parse_data(test, root, **reading) or asked.test
    chosen = Protocol(
        protocol or asked.protocol or (EXTERNAL if others else PUBLISHED), deduplicate or bool(asked.deduplicate)
    )
    gaps: list[tuple[str, str, str]] = []
    if preset is not None:
        comparison = read_preset(preset)
        if root is None or not root.is_dir():
            raise UsageError(f"--preset {preset} takes --data-root FOLDER, the folder that its data sets lie in")
        built, there = comparison.at_hand(root)
        rows, columns = (*overridden(built, common), *rows), (*there, *columns)
        gaps = [(row, column_name(name, chosen), reason) for row, name, reason in comparison.gaps(root)]
        if not rows or not columns:
            return (), gaps
    numbers = asked.seeds or (0,)
    if seeds is not None:
        numbers, rows = parse_seeds(seeds), tuple(replace(row, seeds=None) for row in rows)
    cells = make_cells(rows, columns, numbers, chosen, others, common=common, device=device, progress=progress)
    return cells, gaps


def _watcher(quiet: bool) -> Any:
    from contextlib import nullcontext

    if quiet:
        return nullcontext()
    from unremarkable.benchmark.progress import shown

    return shown()


def _report(store: Store, grid: Grid, tally: Tally | None, as_json: bool) -> None:
    """The table, and where the rest is."""
    from unremarkable.benchmark.estimates import as_records
    from unremarkable.benchmark.store import DONE
    from unremarkable.benchmark.tables import SEEDS, columns_of, costs, number, summary

    failed = [result for result in store.results() if result["status"] != DONE]
    if as_json:
        counts = {} if tally is None else {name: len(getattr(tally, name)) for name in ("done", "kept", "failed")}
        errors = [{"cell": result["folder"].name, "error": result["error"]} for result in failed]
        seconds = {} if tally is None else {"seconds": tally.seconds}
        print_json({"run": str(store.folder), **counts, **seconds, "table": as_records(grid), "failures": errors})
        return
    for name in grid.columns:
        places = [place for row in grid.rows if (place := grid.place(row, name)).blank != ""]
        columns = columns_of(grid, name)
        prices = [heading for heading, _ in costs(places[0])]
        rows = [["method", SEEDS, *(column.heading for column in columns), *prices]]
        for place in places:
            # The interval of the first alone, or no terminal would be wide enough; the files have them all.
            figures = [number(place.metric(c.metric, c.point), interval=c is columns[0]) for c in columns]
            shown = [*figures, *(text for _, text in costs(place))] if place.cells else [""] * (len(rows[0]) - 2)
            rows.append([place.row, summary(place), *shown])
        print(f"{name}\n{table(rows)}\n")
    for result in failed:
        say(f"failed: {result['folder'].name}: {result['error']}")
    if tally is not None:
        say(f"{len(tally.done)} cells run, {len(tally.kept)} kept from before, {len(tally.failed)} failed")
    say(f"look at: {(store.folder / 'report.html').resolve()}")
