from __future__ import annotations

import math

import pytest

from unremarkable.datasets.case import Case
from unremarkable.errors import UsageError
from unremarkable.evaluation.columns import case_columns, grouped

CASES = [
    Case("1.png", 0, "normal", "test", "p1", extra={"sex": "F", "age": "61"}),
    Case("2.png", 1, "mass", "test", "p2", extra={"sex": "M"}),
]


def test_columns_of_cases() -> None:
    columns = case_columns(CASES, ["sex", "finding", "age", "patient"])
    assert columns == {
        "sex": ["F", "M"],
        "finding": ["normal", "mass"],
        "age": ["61", None],
        "patient": ["p1", "p2"],
    }
    with pytest.raises(UsageError, match="did you mean 'sex'"):
        case_columns(CASES, ["sexe"])
    with pytest.raises(UsageError, match="'study' is empty"):
        case_columns(CASES, ["study"])
    # Not attributes of a case that are no columns.
    with pytest.raises(UsageError, match="unknown subgroup column"):
        case_columns(CASES, ["group"])


def test_words_and_few_numbers_are_their_own_groups_in_order() -> None:
    assert grouped("x", ["b", "a", None, " b ", "NaN", ""]).of_case == ("b", "a", None, "b", None, None)
    assert grouped("x", ["b", "a"]).names == ("a", "b")
    numbers = grouped("x", [10, 9, math.nan, 10])
    assert numbers.names == ("9", "10")
    assert numbers.of_case == ("10", "9", None, "10")
    assert not numbers.cut_at_quartiles
    assert grouped("x", [True, False]).names == ("False", "True")


def test_many_numbers_are_divided_at_their_quartiles() -> None:
    ages = [*range(20, 100), None]
    found = grouped("age", ages)
    assert found.cut_at_quartiles
    assert found.names == ("20 to 39", "40 to 59", "60 to 79", "80 to 99")
    assert [found.of_case.count(name) for name in found.names] == [20, 20, 20, 20]
    assert found.of_case[-1] is None
    # Most are alike: quartiles that fall together make fewer groups.
    skewed = grouped("dose", [0] * 90 + list(range(1, 21)))
    assert skewed.names == ("0 to 0", "1 to 20")


def test_names_of_cases_are_no_groups() -> None:
    with pytest.raises(UsageError, match="60 different values"):
        grouped("patient", [f"p{i}" for i in range(60)])
