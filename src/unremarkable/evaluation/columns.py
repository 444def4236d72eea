"""A column of a manifest as groups of cases: its values by name, numbers divided at their quartiles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unremarkable.datasets.case import Case
from unremarkable.errors import UsageError, unknown_name

#: fields of every case that can be asked for beside the columns of a manifest
_FIELDS = ("finding", "split", "patient", "study")
_MISSING = frozenset({"", "nan", "none", "null", "na", "n/a"})
#: different values beyond which words name cases rather than groups, and numbers measure rather than name
_MOST_WORDS, _MOST_NUMBERS = 50, 10


@dataclass(frozen=True)
class Grouping:
    """The group of each case, `(N,)`, None where it has no value; the groups in order; whether numbers were divided."""

    of_case: tuple[str | None, ...]
    names: tuple[str, ...]
    cut_at_quartiles: bool


def case_columns(cases: Sequence[Case], names: Iterable[str]) -> dict[str, list[Any]]:
    """The value of each case in each named column: finding, split, patient, study, or one of the manifest's others.

    Raises:
        UsageError: a column that no case has, or one that `grouped` refuses.
    """
    known = {name for case in cases for name in case.extra} | set(_FIELDS)
    columns: dict[str, list[Any]] = {}
    for name in names:
        if name not in known:
            raise unknown_name("subgroup column", name, known)
        columns[name] = [case.extra.get(name) if name not in _FIELDS else getattr(case, name) for case in cases]
        grouped(name, columns[name])
    return columns


def grouped(column: str, values: Sequence[Any]) -> Grouping:
    """The values `(N,)` of a column as groups; more than ten different numbers (ages) are divided at their quartiles.

    None, NaN and empty text are missing.

    Raises:
        UsageError: no case has a value, or there are more than fifty different words.
    """
    texts = [_text(value) for value in values]
    different = {text for text in texts if text is not None}
    if not different:
        raise UsageError(f"subgroup column {column!r} is empty for every one of the {len(values)} cases")
    numbers = {text: _number(text) for text in different}
    if any(map(math.isnan, numbers.values())):
        if len(different) > _MOST_WORDS:
            raise UsageError(
                f"subgroup column {column!r} has {len(different)} different values; at most {_MOST_WORDS} can be told "
                "apart"
            )
        return Grouping(tuple(texts), tuple(sorted(different)), False)
    if len(different) <= _MOST_NUMBERS:
        return Grouping(tuple(texts), tuple(sorted(different, key=numbers.__getitem__)), False)
    edges = np.quantile([numbers[text] for text in texts if text is not None], (0.25, 0.5, 0.75))
    part = {text: int(np.searchsorted(edges, number)) for text, number in numbers.items()}
    spans = {mine: [numbers[text] for text in different if part[text] == mine] for mine in sorted(set(part.values()))}
    names = {mine: f"{min(span):g} to {max(span):g}" for mine, span in spans.items()}
    return Grouping(tuple(None if text is None else names[part[text]] for text in texts), tuple(names.values()), True)


def _text(value: Any) -> str | None:
    text = str(value).strip()
    return None if value is None or text.casefold() in _MISSING else text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
