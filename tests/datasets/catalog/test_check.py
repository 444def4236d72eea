"""Counts found beside counts published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from unremarkable.datasets.case import Case, Dataset
from unremarkable.datasets.catalog.base import ANY, Counts
from unremarkable.datasets.catalog.check import Row, compare
from unremarkable.datasets.catalog.registry import find_entry


def dataset(*cases: tuple[str | None, int | None, str | None]) -> Dataset:
    made = (Case(f"{number}.png", label, finding, split) for number, (split, label, finding) in enumerate(cases))
    return Dataset("set", Path(), tuple(made), "catalogue")


def against(counts: dict[str, Counts], found: Dataset) -> tuple[str, tuple[Row, ...]]:
    result = compare(replace(find_entry("busi"), counts=counts), found)
    return result.edition, result.rows


FOUND = dataset(
    ("train", 0, "NORMAL"), ("train", 0, "NORMAL"), ("test", 1, "CNV"), ("test", 1, "DME"), (None, None, None)
)


def test_classes_labels_and_wildcards() -> None:
    counts = {("train", "NORMAL"): 2, ("test", "abnormal"): 3, (ANY, ANY): 5, ("", "unlabelled"): 1}
    edition, rows = against({"one": counts}, FOUND)
    assert edition == "one"
    assert [(row.found, row.difference) for row in rows] == [(2, 0), (2, -1), (5, 0), (1, 0)]


def test_what_nothing_is_published_of_is_shown() -> None:
    _, rows = against({"one": {("train", "NORMAL"): 2}}, FOUND)
    assert rows[1:] == (Row("", "unlabelled", None, 1), Row("test", "CNV", None, 1), Row("test", "DME", None, 1))
    assert [row.difference for row in rows] == [0, None, None, None]


def test_the_nearest_edition_is_taken() -> None:
    editions: dict[str, Counts] = {"far": {("train", "NORMAL"): 90}, "near": {("train", "NORMAL"): 3}}
    edition, rows = against(editions, FOUND)
    assert edition == "near"
    assert rows[0] == Row("train", "NORMAL", 3, 2)


def test_agreement_and_gap() -> None:
    entry = replace(find_entry("busi"), counts={"one": {("train", "NORMAL"): 4, ("test", "CNV"): 1}})
    result = compare(entry, FOUND)
    assert not result.agrees
    assert result.gap == pytest.approx(2 / 5)
    assert result.to_dict()["rows"][0] == {
        "split": "train", "class": "NORMAL", "expected": 4, "found": 2, "difference": -2,
    }  # fmt: skip
    whole = compare(replace(entry, counts={"one": {("train", "NORMAL"): 2}}), FOUND)
    assert whole.agrees
    assert whole.gap == 0


def test_nothing_published() -> None:
    result = compare(replace(find_entry("busi"), counts={}), FOUND)
    assert (result.edition, result.agrees) == ("", True)
    assert sum(row.found for row in result.rows) == len(FOUND)
