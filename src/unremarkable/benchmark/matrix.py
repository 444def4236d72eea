"""What a benchmark is asked for: methods with their options, and data sets, from the command line or a matrix file."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unremarkable.datasets.case import Dataset
from unremarkable.datasets.find import find_dataset
from unremarkable.errors import UsageError, unknown_name

#: settings of the detector that a cell may have, beside the options of its method
SETTINGS = ("size", "intensity", "fit_to", "reduction", "smoothing", "augment", "precision")
_ENTRY = re.compile(r"\s*(?P<name>[^\[\],]+?)\s*(?:\[(?P<options>[^\]]*)\])?\s*(?:,|$)")
_NEXT_OPTION = re.compile(r",(?=\s*[\w-]+\s*=)")
_KEYS = ("methods", "data", "seeds", "protocol", "test", "deduplicate")


@dataclass(frozen=True)
class MethodEntry:
    """A row of the table: a method, the options and settings given for it, and the name that the row bears.

    `seeds` are its own, where those of the benchmark are not meant.
    """

    label: str
    method: str
    options: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] | None = None


@dataclass(frozen=True)
class DataEntry:
    """A column of the table: where a data set lies, how it is read, and its name."""

    name: str
    path: str
    normal: tuple[str, ...] = ()
    abnormal: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    patient_pattern: str | None = None

    def open(self) -> Dataset:
        """Its cases; raises UsageError where there is nothing to be found."""
        return find_dataset(
            self.path,
            normal=self.normal,
            abnormal=self.abnormal,
            columns=self.columns or None,
            patient_pattern=self.patient_pattern,
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataEntry:
        """The inverse of `dataclasses.asdict`."""
        listed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**listed)


@dataclass(frozen=True)
class Matrix:
    """What a matrix file says; None where it is silent."""

    methods: tuple[MethodEntry, ...] = ()
    data: tuple[DataEntry, ...] = ()
    seeds: tuple[int, ...] | None = None
    protocol: str | None = None
    test: tuple[DataEntry, ...] = ()
    deduplicate: bool | None = None


def parse_methods(texts: Sequence[str]) -> tuple[MethodEntry, ...]:
    """Rows from `knn,autoencoder[epochs=5,latent_dim=32]`, given once or several times.

    Raises:
        UsageError: it cannot be read so.
    """
    entries = []
    for text in texts:
        position = 0
        while position < len(text):
            found = _ENTRY.match(text, position)
            if found is None:
                raise UsageError(f"methods {text!r} are not understood; write: knn,autoencoder[epochs=5,latent_dim=32]")
            position = found.end()
            name, inside = found["name"], found["options"]
            options = {}
            for pair in _NEXT_OPTION.split(inside) if inside and inside.strip() else ():
                key, equals, value = pair.partition("=")
                if not equals:
                    raise UsageError(f"{name}[{inside}]: {pair.strip()!r} is not option=value")
                options[key.strip().replace("-", "_")] = value.strip()
            entries.append(MethodEntry(name + (f"[{inside.strip()}]" if options else ""), name, options))
    return tuple(entries)


def parse_data(texts: Sequence[str], root: Path | None, **reading: Any) -> tuple[DataEntry, ...]:
    """Columns from paths, or names below `root`, comma-separated or one by one; `reading` is how each is read.

    Raises:
        UsageError: a path does not exist.
    """
    parts = [
        part.strip()
        for text in texts
        for part in ([text] if Path(text).expanduser().exists() else text.split(","))
        if part.strip()
    ]
    paths = [resolve(part, root) for part in parts]
    names = [path.expanduser().resolve().name for path in paths]
    return tuple(
        DataEntry(name if names.count(name) == 1 else str(path), str(path), **reading)
        for name, path in zip(names, paths, strict=True)
    )


def resolve(name: str, root: Path | None) -> Path:
    """A data set by its path, or by its name below `root`.

    Raises:
        UsageError: there is neither.
    """
    for path in (Path(name).expanduser(), *([root.expanduser() / name] if root else [])):
        if path.exists():
            return path
    if root is not None and root.is_dir():
        known = [entry.name for entry in root.iterdir() if not entry.name.startswith(".")]
        raise UsageError(f"{unknown_name('data set', name, known)} in {root}")
    where = f" (nor {root / name})" if root else "; with --data-root FOLDER names are looked for in that folder"
    raise UsageError(f"there is no data set {name}{where}")


def read_matrix(path: Path, root: Path | None, **reading: Any) -> Matrix:
    """A matrix file: `seeds`, `protocol`, `deduplicate`, `data`, `test` and a table of `methods` with their options.

    A method can have `seeds` of its own.
    TOML, or the same as JSON; see docs/benchmark.md. Relative paths of data are looked for as on the command line.

    Raises:
        UsageError: the file cannot be read, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"the matrix file {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # both decoders' errors are ValueErrors
        raise UsageError(f"the matrix file {path} is neither TOML nor JSON: {error}") from error
    for key in content if isinstance(content, dict) else ():
        if key not in _KEYS:
            raise UsageError(f"{path}: {unknown_name('key', key, _KEYS)}")
    try:
        methods, seeds = content.get("methods", {}), content.get("seeds")
        if not isinstance(methods, dict):
            rows = parse_methods([methods] if isinstance(methods, str) else methods)
        else:
            rows = tuple(
                MethodEntry(
                    label,
                    row.get("method", label),
                    {key: value for key, value in row.items() if key not in ("method", "seeds")},
                    parse_seeds(row["seeds"]) if "seeds" in row else None,
                )
                for label, row in methods.items()
            )
        return Matrix(
            methods=rows,
            data=_data(content.get("data", []), root, reading),
            seeds=None if seeds is None else parse_seeds(seeds),
            protocol=content.get("protocol"),
            test=_data(content.get("test", []), root, reading),
            deduplicate=content.get("deduplicate"),
        )
    except (AttributeError, TypeError) as error:
        raise UsageError(f"the matrix file {path} is not understood: {error}; docs/benchmark.md has one") from error


def overridden(rows: Sequence[MethodEntry], common: Mapping[str, Any]) -> tuple[MethodEntry, ...]:
    """Rows of a file or preset, with those of their options replaced that the command line sets for all."""
    changes = [{key: value for key, value in common.items() if key in row.options} for row in rows]
    return tuple(
        replace(row, label=labelled(row.label, change), options=row.options | change)
        for row, change in zip(rows, changes, strict=True)
    )


def labelled(label: str, options: Mapping[str, Any]) -> str:
    """The name of a row with options that it does not tell yet: no row may look like one that was run otherwise."""
    if not options:
        return label
    said = ",".join(f"{key}={value}" for key, value in options.items())
    return f"{label[:-1]},{said}]" if label.endswith("]") and "=" in label else f"{label}[{said}]"


def parse_seeds(value: object) -> tuple[int, ...]:
    """`3` → 0, 1, 2; `[4, 7]` or "4,7" → those; "4," → 4.

    Raises:
        UsageError: it is neither.
    """
    listed = value if isinstance(value, list | tuple) else [one for one in str(value).split(",") if one.strip()]
    try:
        numbers = [int(str(one)) for one in listed]
    except ValueError:
        raise UsageError(
            f"seeds {value!r} are not understood: a number of seeds, or the seeds themselves: 4,7"
        ) from None
    if len(numbers) == 1 and not isinstance(value, list | tuple) and "," not in str(value):
        numbers = list(range(numbers[0]))
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise UsageError(f"seeds {value!r}: at least one, none negative, none twice")
    return tuple(numbers)


def _data(value: Any, root: Path | None, reading: Mapping[str, Any]) -> tuple[DataEntry, ...]:
    """A list of names or paths, or a table from names to a `path` and how it is read."""
    if not isinstance(value, dict):
        return parse_data([value] if isinstance(value, str) else value, root, **reading)
    entries = []
    for name, how in value.items():
        path = str(resolve(how.get("path", name), root))
        entries.append(DataEntry.from_dict({**reading, **how, "name": name, "path": path}))
    return tuple(entries)
