"""Cells: one fit and one test each. What a cell depends on is its key; whatever else changes does not run it again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from unremarkable.benchmark.matrix import SETTINGS, DataEntry, MethodEntry, labelled
from unremarkable.benchmark.protocol import EXTERNAL, PUBLISHED, Protocol, apply_protocol, content, data_digest
from unremarkable.datasets.case import Dataset
from unremarkable.errors import UsageError, unknown_name
from unremarkable.methods.registry import make_options, method_class


@dataclass(frozen=True)
class Cell:
    """One cell, in values that JSON can hold.

    `method` is the method's registered name and `row` the table's; `options` are all of the method's, `given` those
    that were asked for; `data_digest` stands for the content of the data.
    """

    row: str
    method: str
    options: dict[str, Any]
    given: dict[str, Any]
    settings: dict[str, Any]
    seed: int
    data: DataEntry
    test: DataEntry | None
    protocol: str
    deduplicate: bool
    fold: int | None
    data_digest: str
    device: str = "auto"

    @property
    def column(self) -> str:
        """The data set with the protocol, as a table names it."""
        return column_name(
            self.data.name, Protocol(self.protocol, self.deduplicate), self.test.name if self.test else None
        )

    @property
    def key(self) -> str:
        """What the result depends on, as one short name."""
        what = (self.method, self.options, self.settings, self.seed, self.data_digest)
        text = json.dumps([*what, self.protocol, self.deduplicate, self.fold], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def slug(self) -> str:
        """The name of the cell's folder; ends with the key."""
        fold = "" if self.fold is None else f"-fold{self.fold}"
        readable = re.sub(r"[^A-Za-z0-9.=]+", "-", f"{self.row} {self.column}").strip("-")
        return f"{readable[:80].strip('-')}-seed{self.seed}{fold}-{self.key}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cell:
        """The inverse of `to_dict`."""
        test = values["test"]
        entries = {"data": DataEntry.from_dict(values["data"]), "test": test and DataEntry.from_dict(test)}
        return cls(**{**values, **entries})


def column_name(data: str, protocol: Protocol, test: str | None = None) -> str:
    """A data set with the protocol where it is not the published one."""
    parts = [f"{data} → {test}" if test else data]
    if protocol.text not in (PUBLISHED, EXTERNAL):
        parts.append(protocol.text)
    return ", ".join([*parts, *(["without copies"] if protocol.deduplicate else [])])


def command(cells: Sequence[Cell]) -> str:
    """The command that makes these cells, of one row and column, anywhere: from data in a folder of one's own."""
    first = cells[0]
    given = ",".join(f"{key}={_text(value)}" for key, value in first.given.items())
    seeds = sorted({cell.seed for cell in cells})
    words = ["unremarkable", "bench", "--methods", first.method + (f"[{given}]" if given else "")]
    words += ["--data", first.data.name, "--data-root", "DATA"]
    words += ["--seeds", str(len(seeds)) if seeds == list(range(len(seeds))) else f"{','.join(map(str, seeds))},"]
    words += ["--protocol", first.protocol] if first.protocol != PUBLISHED else []
    words += ["--test", first.test.name] if first.test else []
    words += ["--deduplicate"] if first.deduplicate else []
    for flag, values in (("--normal", first.data.normal), ("--abnormal", first.data.abnormal)):
        words += [word for value in values for word in (flag, value)]
    if first.data.patient_pattern:
        words += ["--patient-pattern", first.data.patient_pattern]
    return shlex.join([*words, "-o", "RUN"])


def make_cells(
    methods: Sequence[MethodEntry],
    data: Sequence[DataEntry],
    seeds: Sequence[int],
    protocol: Protocol,
    tests: Sequence[DataEntry] = (),
    *,
    common: Mapping[str, Any] | None = None,
    device: str = "auto",
    progress: bool = False,
) -> tuple[Cell, ...]:
    """Every cell of the matrix, data set by data set, checked before the first one runs.

    Args:
        seeds: of the rows that have none of their own.
        tests: data sets to test on, with the protocol "external".
        common: options and settings for every row that knows them and does not set them itself.

    Raises:
        UsageError: an unknown method or option, no data, or a protocol that the data cannot keep.
    """
    if not methods or not data:
        raise UsageError("a benchmark takes at least one of --methods and one of --data, a --matrix, or a --preset")
    if (protocol.text == EXTERNAL) != bool(tests):
        raise UsageError("the protocol external fits on --data and tests on --test: it takes both")
    rows = [read_entry(entry, common or {}) for entry in methods]
    unused = {key for key in common or {} if not any(key in given for _, given, _, _ in rows)}
    if unused:
        known = {field.name for entry in methods for field in dataclasses.fields(method_class(entry.method).Options)}
        raise unknown_name("option of these methods", min(unused), {*known, *SETTINGS})
    cells: dict[str, Cell] = {}
    found: dict[str, tuple[Dataset, dict[str, str]]] = {}

    def look(entry: DataEntry) -> tuple[Dataset, dict[str, str]]:
        if repr(entry) not in found:
            dataset = entry.open()
            found[repr(entry)] = dataset, content(dataset.cases, progress=progress)
        return found[repr(entry)]

    for column in data:
        dataset, digests = look(column)
        for other in tests or (None,):
            looked = look(other) if other else None
            identity = data_digest(dataset, digests) + (data_digest(*looked) if looked else "")
            both = digests | (looked[1] if looked else {})
            folds = (None,) if protocol.folds is None else range(protocol.folds)
            for fold in folds:
                apply_protocol(protocol, dataset, fold, looked and looked[0], both)
            wanted = dict.fromkeys([*seeds, *(seed for entry, *_ in rows for seed in entry.seeds or ())])
            for seed, fold, (entry, given, options, settings) in product(wanted, folds, rows):
                if seed not in (entry.seeds or seeds):
                    continue
                cell = Cell(
                    row=entry.label,
                    method=entry.method,
                    options=options,
                    given=given,
                    settings=settings,
                    seed=seed,
                    data=column,
                    test=other,
                    protocol=protocol.text,
                    deduplicate=protocol.deduplicate,
                    fold=fold,
                    data_digest=identity,
                    device=device,
                )
                cells.setdefault(cell.key, cell)
    return tuple(cells.values())


def read_entry(
    entry: MethodEntry, common: Mapping[str, Any]
) -> tuple[MethodEntry, dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The entry, what was given for it, all options of its method, and the settings of its detector."""
    cls = method_class(entry.method)
    known = {field.name for field in dataclasses.fields(cls.Options)} | set(SETTINGS)
    given = {key: value for key, value in common.items() if key in known} | entry.options
    unknown = set(given) - known
    if unknown:
        raise unknown_name(f"option of {entry.method}", min(unknown), known)
    options = make_options(cls, {key: value for key, value in given.items() if key not in SETTINGS})
    settings = {key: _setting(key, given[key]) for key in SETTINGS if key in given}
    settings.setdefault("size", cls.default_size)
    plain = json.loads(json.dumps(dataclasses.asdict(options)))
    added = {key: value for key, value in common.items() if key in given and key not in entry.options}
    return replace(entry, label=labelled(entry.label, added)), given, plain, settings


def departures(cell: Cell) -> dict[str, str]:
    """Options and size that are not the method's defaults, written as on the command line."""
    cls = method_class(cell.method)
    usual = json.loads(json.dumps(dataclasses.asdict(cls.Options()))) | {"size": cls.default_size}
    chosen = cell.options | cell.settings
    return {key: _text(chosen[key]) for key in usual if key in chosen and chosen[key] != usual[key]}


def _setting(key: str, value: Any) -> Any:
    """A setting of the detector by its kind; text as the command line gives it."""
    kinds: dict[str, Any] = {"size": int, "smoothing": float}
    try:
        if key == "augment" and isinstance(value, str):
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[value.lower()]
        return kinds.get(key, lambda same: same)(value)
    except (ValueError, KeyError):
        raise UsageError(f"{key}: {value!r} is not understood") from None


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
