"""The papers' own comparisons as data: methods, data sets, metrics, and the figures that were published.

Each TOML file here is one table of one paper. `published` holds, for each data set and metric, one figure a method:
a number as printed (times `scale` it is a share), `[mean, sd]`, "found/all", or "" where the paper has none.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from unremarkable.benchmark.matrix import DataEntry, MethodEntry
from unremarkable.benchmark.store import ABSENT, UNBUILT
from unremarkable.benchmark.tables import Column
from unremarkable.errors import unknown_name
from unremarkable.methods.registry import method_names


@dataclass(frozen=True)
class Figure:
    """A published figure: its value as a share, its standard deviation or None, and how a table shows it."""

    value: float
    sd: float | None
    text: str


@dataclass(frozen=True)
class PaperData:
    """A data set as the paper heads it; `name` in the catalogue, None where the paper does not say; one finding.

    `folders` are other names that its folder may bear.
    """

    heading: str
    name: str | None = None
    finding: str | None = None
    folders: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name of its folder."""
        return (*([self.name] if self.name else []), *self.folders)

    def folder(self, root: Path) -> Path | None:
        """Where it lies in `root`; None where it does not."""
        return next((root / name for name in self.names if (root / name).exists()), None)


@dataclass(frozen=True)
class Preset:
    """One table of one paper. `published[data, metric]`, by their headings, has a figure or None for each method."""

    name: str
    title: str
    paper: str
    source: str
    note: str
    metrics: tuple[Column, ...]
    methods: tuple[MethodEntry, ...]
    data: tuple[PaperData, ...]
    published: Mapping[tuple[str, str], tuple[Figure | None, ...]] = field(default_factory=dict)

    def at_hand(self, root: Path) -> tuple[tuple[MethodEntry, ...], tuple[DataEntry, ...]]:
        """The methods that are built, and the data sets that lie in `root`, read as the catalogue reads them."""
        built = set(method_names())
        found = {folder: data.name for data in self.data if (folder := data.folder(root))}
        entries = tuple(DataEntry(folder.name, f"{name}:{folder}") for folder, name in found.items())
        return tuple(entry for entry in self.methods if entry.method in built), entries

    def gaps(self, root: Path) -> list[tuple[str, str, str]]:
        """Row, data set and reason, for each pair that cannot be run with what is in `root`."""
        built = set(method_names())
        places = {data.name: data.folder(root) for data in self.data if data.name}
        return [
            (entry.label, folder.name if folder else name, UNBUILT if folder else ABSENT)
            for name, folder in places.items()
            for entry in self.methods
            if entry.method not in built or folder is None
        ]


def preset_names() -> list[str]:
    """Every preset."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in files(__name__).iterdir() if entry.name.endswith(".toml")
    )


def read_preset(name: str) -> Preset:
    """One preset.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in preset_names():
        raise unknown_name("preset", name, preset_names())
    values = tomllib.loads((files(__name__) / f"{name}.toml").read_text(encoding="utf-8"))
    scale = values.get("scale", 1.0)
    return Preset(
        name=name,
        title=values["title"],
        paper=values["paper"],
        source=values["source"],
        note=values["note"],
        metrics=tuple(
            Column(one["key"], one["heading"], one.get("point", "best-f1"), one.get("lower_is_better", False))
            for one in values["metrics"]
        ),
        methods=tuple(MethodEntry(one["heading"], one["method"], one.get("options", {})) for one in values["methods"]),
        data=tuple(PaperData(**one | {"folders": tuple(one.get("folders", ()))}) for one in values["data"]),
        published={
            (data, metric): tuple(_figure(one, scale) for one in figures)
            for data, rows in values["published"].items()
            for metric, figures in rows.items()
        },
    )


def _figure(value: Any, scale: float) -> Figure | None:
    if value == "":
        return None
    if isinstance(value, str):
        found, whole = map(int, value.split("/"))
        return Figure(found / whole, None, value)
    mean, sd = value if isinstance(value, list) else (value, None)
    mean, sd = mean * scale, None if sd is None else sd * scale
    digits = 4 if scale != 1 else 3
    text = f"{mean:.{digits}f}" + ("" if sd is None else f" ± {sd:.{digits}f}")
    return Figure(mean, sd, text)
