"""`unremarkable select DATA --candidates METHODS`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unremarkable.cli.common import (
    Abnormal,
    Columns,
    Device,
    Json,
    Normal,
    Overwrite,
    PatientPattern,
    Replicates,
    Seed,
    open_data,
    parse_settings,
    print_json,
    report_left_out,
    say,
    table,
)

if TYPE_CHECKING:
    from unremarkable.benchmark.matrix import MethodEntry
    from unremarkable.benchmark.oracle import Oracle
    from unremarkable.benchmark.selection import Candidate, Selection
    from unremarkable.benchmark.store import Store

#: the file that marks a folder as this command's
MARK = "selection.json"


def select(
    data: Annotated[str, typer.Argument(help="Folder, manifest or NPZ; fitted on its normals.")],
    candidates: Annotated[
        list[str],
        typer.Option(
            help="Methods with options, as 'knn,autoencoder[latent_dim=16,epochs=20]', or a file as bench reads it; "
            "repeatable."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the table (CSV and JSON) and the figure.")
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(help="Unlabelled images, some of them abnormal. Default: the test split, its labels not read."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="option=value for every candidate that knows the option; also size; repeatable."),
    ] = None,
    oracle: Annotated[
        bool,
        typer.Option(
            "--oracle",
            help="After the choice, judge it by the pool's labels. This reads test labels; it chooses nothing.",
        ),
    ] = False,
    normal: Normal = None,
    abnormal: Abnormal = None,
    columns: Columns = None,
    patient_pattern: PatientPattern = None,
    replicates: Replicates = 2000,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Choose among methods, options or epochs by three criteria that need no anomaly label.

    Interrupted with -o given, the same command goes on: no finished candidate is fitted twice.
    """
    from unremarkable.files import check_folder

    if output is not None:
        check_folder(output, MARK, overwrite=overwrite)
    from unremarkable.benchmark.criteria import Measure, check_candidates
    from unremarkable.benchmark.oracle import judge
    from unremarkable.benchmark.selection import blind
    from unremarkable.benchmark.selection import select as select_among

    started = time.perf_counter()
    entries = _entries(candidates)
    common = {key.replace("-", "_"): value for key, value in parse_settings(settings or []).items()}
    check_candidates(entries, common)
    dataset = open_data(data, normal, abnormal, columns, patient_pattern)
    pooled = open_data(pool, normal, abnormal, columns, patient_pattern, need_labels=False) if pool else None
    seen = blind(dataset, pooled, seed)
    run = None if output is None else output.with_name(f"{output.name}.run")
    with _kept(run) as store:
        measure = Measure(seen, common, seed, device, replicates, progress=not as_json, store=store)
        selection = select_among(entries, seen, measure, None if as_json else _say_done)
    judged = None
    if oracle:
        labelled = {case.path: case for case in (pooled or dataset).cases if case.label is not None}
        judged = judge(selection, labelled, replicates=replicates, seed=seed)
    if output is not None:
        _write(output, selection, judged, overwrite)
    if run is not None:
        shutil.rmtree(run)
    failed = [(one.label, one.failure) for one in selection.candidates if one.failure]
    if as_json:
        extra: dict[str, Any] = {} if judged is None else {"oracle": judged.to_dict()}
        print_json(selection.to_dict() | extra | {"seconds": time.perf_counter() - started})
    else:
        report_left_out(dataset.skipped)
        for note in selection.notes:
            say(f"note: {note}")
        print(
            f"{selection.counts['normals']} normals to fit on, {selection.counts['pool']} unlabelled cases in the pool"
        )
        print(table(_rows(selection)))
        print("\nchosen without a label")
        print(table(_choices(selection)))
        if judged is not None:
            print("\noracle: made with the pool's labels, after the choice; it chooses nothing")
            print(table(_oracle_rows(selection, judged)))
        if output is not None:
            say(f"look at: {(output / 'selection.png').resolve()}")
    raise typer.Exit(1 if failed else 0)


@contextmanager
def _kept(run: Path | None) -> Iterator[Store | None]:
    """Where finished candidates wait for the others, for this process alone; nowhere without an output."""
    from unremarkable.benchmark.store import Store

    if run is None:
        yield None
        return
    store = Store.open(run, create=True)
    with store.locked():
        yield store


def _entries(texts: list[str]) -> list[MethodEntry]:
    from unremarkable.benchmark.matrix import parse_methods, read_matrix

    entries: list[MethodEntry] = []
    for text in texts:
        path = Path(text)
        entries += read_matrix(path, None).methods if path.is_file() else parse_methods([text])
    return entries


def _say_done(candidate: Candidate) -> None:
    say(f"{candidate.label}: {candidate.failure or f'{candidate.seconds:.0f} s'}")


def _write(output: Path, selection: Selection, judged: Oracle | None, overwrite: bool) -> None:
    """`selection.csv`, `selection.json`, `selection.png`, and apart from them `oracle.json`."""
    import json

    from unremarkable.benchmark.selection_figure import selection_figure
    from unremarkable.datasets.tables import write_rows
    from unremarkable.files import whole_folder

    with whole_folder(output, MARK, overwrite=overwrite) as folder:
        (folder / MARK).write_text(json.dumps(selection.to_dict(), indent=1), encoding="utf-8")
        records = [one.record() for one in selection.candidates]
        write_rows(folder / "selection.csv", records, list(records[0]))
        selection_figure(selection).savefig(folder / "selection.png", dpi=150)
        if judged is not None:
            (folder / "oracle.json").write_text(json.dumps(judged.to_dict(), indent=1), encoding="utf-8")


def _rows(selection: Selection) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("candidate", "held-out loss", "AUROC, pool", "AUROC, synthetic", "seconds")]
    for one in selection.candidates:
        loss = "none" if one.loss is None else f"{one.loss:.4g}"
        texts = (loss, one.pool.text(), one.synthetic.text(), f"{one.seconds:.0f}")
        rows.append((one.label, *(texts if one.failure is None else ("", "", "", f"failed: {one.failure}"))))
    return rows


def _choices(selection: Selection) -> list[tuple[str, str]]:
    return [
        (
            choice.criterion,
            f"none: {choice.reason}" if choice.chosen is None else _with_note(choice.chosen, choice.note),
        )
        for choice in selection.choices
    ]


def _oracle_rows(selection: Selection, judged: Oracle) -> list[tuple[str, str]]:
    rows = [(label, f"AUROC {interval.text()}") for label, interval in judged.auroc.items()]
    for choice in selection.choices:
        regret = judged.regret[choice.criterion]
        short = "none chosen" if regret is None else f"{choice.chosen} falls short by {regret:.3f}"
        rows.append((f"by {choice.criterion}", short))
    return [*rows, ("at random", f"falls short by {judged.blindfold:.3f} on average"), ("best", judged.best)]


def _with_note(text: str, note: str | None) -> str:
    return text if note is None else f"{text} ({note})"
