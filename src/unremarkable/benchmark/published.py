"""The papers' tables beside ours, as one Markdown page in which nothing is typed by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import rankdata

from unremarkable.benchmark.cells import Cell, command, departures
from unremarkable.benchmark.estimates import Grid, Place, read_grid
from unremarkable.benchmark.presets import PaperData, Preset, preset_names, read_preset
from unremarkable.benchmark.protocol import PUBLISHED
from unremarkable.benchmark.store import ABSENT, DONE, UNBUILT, Store
from unremarkable.benchmark.tables import NOTE, SEEDS, Column, columns_of, costs, number, pipe, summary
from unremarkable.methods.registry import method_names

_HEAD = """# Results

Written by `unremarkable bench --results`; nothing here is typed by hand, and it is overwritten. Each paper's table
stands as published, and below each of its methods what this package measured on the same published split. Every
figure of ours has its 95 % interval, and a number that leads to its command and commit at the end of the page.
"""


class _Sources:
    """Numbers for the places that figures come from, in the order they are first used."""

    def __init__(self) -> None:
        self._places: list[Place] = []

    def number(self, place: Place) -> str:
        """The mark of a place, as a link to its entry."""
        if place not in self._places:
            self._places.append(place)
        n = self._places.index(place) + 1
        return f"[[{n}]](#source-{n})"

    def listed(self) -> str:
        """An entry a place: command, commit, machine, and what the cells were."""
        lines = []
        for n, place in enumerate(self._places, 1):
            cells = place.cells
            origins = [cell["provenance"] for cell in cells]
            facts = [
                f"commit {_joined(origin['commit'] or 'unknown' for origin in origins)}"
                f" (version {_joined(origin['unremarkable'] for origin in origins)})",
                _joined(origin["date"] for origin in origins),
                _joined(origin["machine"] for origin in origins),
                f"seeds: {summary(place)}; {place.cost('fit_seconds'):.0f} s to fit each",
                f"tested on {_joined(_counted(cell['counts']) for cell in cells)} cases",
                *dict.fromkeys(cell["selection"] for cell in cells),
                *dict.fromkeys(note for cell in cells for note in cell["notes"]),
            ]
            words = command([Cell.from_dict(cell["cell"]) for cell in cells])
            lines.append(f'<a id="source-{n}"></a>{n}. `{words}`  \n   {"; ".join(facts)}')
        return "\n".join(lines)


def results_page(stores: Sequence[Store]) -> str:
    """The page, from every finished cell of these benchmarks; a cell that is in several is taken once."""
    found: dict[str, Mapping[str, Any]] = {}
    for store in stores:
        for result in store.results():
            if result["status"] == DONE:
                found.setdefault(result["key"], result)
    grid = read_grid(sorted(found.values(), key=lambda result: result["folder"].name))
    sources = _Sources()
    parts = [_HEAD, *(_paper(read_preset(name), grid, sources) for name in preset_names())]
    if grid.columns:
        parts.append(_everything(grid, sources))
    if sources.listed():
        parts.append(f"## Sources\n\n`DATA` is the folder that the data sets lie in.\n\n{sources.listed()}\n")
    failed = _unfinished(stores)
    return "\n".join([*parts, failed] if failed else parts)


def _paper(preset: Preset, grid: Grid, sources: _Sources) -> str:
    """One paper's section."""
    parts = [f"## {preset.title}\n\n{preset.paper}; {preset.source}. {preset.note}\n"]
    for data in preset.data:
        ours = [place for place in grid.places.values() if _is_of(place, data)]
        metrics = [metric for metric in preset.metrics if (data.heading, metric.heading) in preset.published]
        rows = []
        for index, entry in enumerate(preset.methods):
            figures = [preset.published[data.heading, metric.heading][index] for metric in metrics]
            if any(figures):
                rows.append([entry.label, "paper", *(figure.text if figure else "–" for figure in figures)])
            mine = [place for place in ours if place.cells[0]["cell"]["method"] == entry.method]
            rows += [_ours(place, data, metrics, sources) for place in mine]
        named = {entry.method for entry in preset.methods}
        extra = [place for place in ours if place.cells[0]["cell"]["method"] not in named]
        rows += [_ours(place, data, metrics, sources) for place in extra]
        parts.append(f"### {data.heading}\n\n{pipe(['method', 'by', *(m.heading for m in metrics)], rows)}\n")
        if missing := _missing(preset, data, ours):
            parts.append(missing + "\n")
    return "\n".join(parts)


def _is_of(place: Place, data: PaperData) -> bool:
    if not place.cells:
        return False
    cell = place.cells[0]["cell"]
    return cell["data"]["name"] in data.names and cell["protocol"] == PUBLISHED and cell["test"] is None


def _ours(place: Place, data: PaperData, metrics: Sequence[Column], sources: _Sources) -> list[str]:
    name = _named(place)
    if place.cells[0]["cell"]["deduplicate"]:
        name += ", without copies"
    figures = [number(place.metric(metric.metric, metric.point, data.finding)) for metric in metrics]
    return [name, f"ours {sources.number(place)}", *figures]


def _missing(preset: Preset, data: PaperData, ours: Sequence[Place]) -> str:
    """Which of the paper's methods have no figure of ours on this data set, and why."""
    if data.name is None:
        return ""
    have = {place.cells[0]["cell"]["method"] for place in ours}
    built = set(method_names())
    unbuilt = [entry.label for entry in preset.methods if entry.method not in built]
    waiting = [entry.label for entry in preset.methods if entry.method in built - have]
    if not ours:
        return f"Ours: {ABSENT}, or not run yet (`{data.name}`)."
    lines = [f"{UNBUILT}: {', '.join(unbuilt)}"] if unbuilt else []
    lines += [f"not run yet: {', '.join(waiting)}"] if waiting else []
    return f"Ours: {'; '.join(lines)}." if lines else ""


def _everything(grid: Grid, sources: _Sources) -> str:
    """Every method on every data set and protocol, in the papers' tables or not, and what it cost."""
    parts = ["## Everything measured\n", NOTE, ""]
    for name in grid.columns:
        columns = columns_of(grid, name)
        places = [place for row in grid.rows if (place := grid.place(row, name)).cells]
        rows = [
            [
                _named(place),
                sources.number(place),
                summary(place),
                *(number(place.metric(c.metric, c.point)) for c in columns),
                *(text for _, text in costs(place)),
            ]
            for place in places
        ]
        header = [
            "method",
            "source",
            SEEDS,
            *(c.heading for c in columns),
            *(heading for heading, _ in costs(places[0])),
        ]
        parts.append(f"### {name}\n\n{pipe(header, rows)}\n")
    return "\n".join([*parts, _ranks(grid)])


def _named(place: Place) -> str:
    """The row's name with every option that is not its method's default: a shortened training must not look whole."""
    said = [f"{key}={value}" for key, value in departures(Cell.from_dict(place.cells[0]["cell"])).items()]
    return ", ".join([place.row, *(words for words in said if words not in place.row)])


def _ranks(grid: Grid) -> str:
    """Average ranks by AUROC, on the most data sets that at least three rows have been tested on; "" without any."""
    done = [place for place in grid.places.values() if place.cells]
    asked = Counter((place.cells[0]["row"], place.column) for place in done)
    area: dict[tuple[str, str], float] = {}
    for place in done:
        # Trained for another time on another set it is still the same row, unless both stand on one.
        row = place.cells[0]["row"]
        name = row if asked[row, place.column] == 1 else place.row
        if (metric := place.metric("auroc")) is not None and metric.mean is not None:
            area[name, place.column] = metric.mean
    names = sorted({name for name, _ in area})
    tested = {name: frozenset(column for one, column in area if one == name) for name in names}
    shared = {columns: [name for name in names if tested[name] >= columns] for columns in tested.values()}
    eligible = [columns for columns, rows in shared.items() if len(columns) > 1 and len(rows) > 2]
    if not eligible:
        return ""
    most = max(eligible, key=lambda found: (len(found), len(shared[found]), sorted(found)))
    columns, rows = sorted(most), shared[most]
    ranks = rankdata([[-area[row, column] for row in rows] for column in columns], axis=1)
    order = sorted(range(len(rows)), key=lambda index: (ranks[:, index].mean(), rows[index]))
    lines = [[rows[i], f"{ranks[:, i].mean():.2f}", *(f"{rank:g}" for rank in ranks[:, i])] for i in order]
    text = (
        f"By AUROC, the {len(rows)} rows that were tested on all of these data sets; 1 is best, ties share. A row's "
        "training may be of another length on each, as the tables above say."
    )
    return f"### Ranks\n\n{text}\n\n{pipe(['method', 'average rank', *columns], lines)}\n"


def _unfinished(stores: Sequence[Store]) -> str:
    """Cells that failed, with their error."""
    failed = [result for store in stores for result in store.results() if result["status"] != DONE]
    lines = [f"- {result['row']} on {result['column']}: {result['error']}" for result in failed]
    return "## Failed\n\n" + "\n".join(lines) + "\n" if lines else ""


def _counted(counts: Mapping[str, int]) -> str:
    return f"{counts['normal']} normal and {counts['abnormal']} abnormal"


def _joined(values: Any) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))
