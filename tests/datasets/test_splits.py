"""Splits: whole patients, complete, stratified, and the same for any order."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from unremarkable.datasets.case import Case
from unremarkable.datasets.splits import hold_out, k_folds, split_cases
from unremarkable.errors import UsageError


def some_cases(seed: int, patients: int) -> list[Case]:
    """Patients with one to five images each, some with findings, one in ten without an identifier."""
    rng = np.random.default_rng(seed)
    cases = []
    for number in range(patients):
        label = int(rng.random() < 0.4)
        finding = rng.choice(["a", "b", "c"]) if label else "normal"
        name = None if rng.random() < 0.1 else f"p{number}"
        cases += [Case(f"/d/{number}_{i}.png", label, finding, patient=name) for i in range(rng.integers(1, 6))]
    return cases


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("fractions", [(0.7, 0.15, 0.15), (0.5, 0.0, 0.5), (0.34, 0.33, 0.33), (1.0, 0.0, 0.0)])
def test_properties(seed: int, fractions: tuple[float, float, float]) -> None:
    cases = some_cases(seed, 40 + 10 * seed)
    drawn = split_cases(cases, fractions, seed)
    assert [replace(case, split=None) for case in drawn] == cases

    splits = defaultdict(set)
    strata = {}
    for case in drawn:
        splits[case.group].add(case.split)
        strata[case.group] = case.finding
    assert all(len(found) == 1 for found in splits.values())

    of_group = {group: next(iter(found)) for group, found in splits.items()}
    for split, fraction in zip(("train", "val", "test"), fractions, strict=True):
        count = sum(found == split for found in of_group.values())
        assert abs(count - fraction * len(of_group)) < 1
        for finding in ("a", "b", "c", "normal"):
            members = [group for group in of_group if strata[group] == finding]
            count = sum(of_group[group] == split for group in members)
            assert abs(count - fraction * len(members)) < 2

    shuffled = [cases[i] for i in np.random.default_rng(seed).permutation(len(cases))]
    again = {case.path: case.split for case in split_cases(shuffled, fractions, seed)}
    assert again == {case.path: case.split for case in drawn}


def test_seed_and_place() -> None:
    cases = [Case(f"/here/{i}.png") for i in range(60)]
    moved = [Case(f"there/deep/{i}.png") for i in range(60)]
    splits = [case.split for case in split_cases(cases, seed=1)]
    assert splits == [case.split for case in split_cases(moved, seed=1)]
    assert splits != [case.split for case in split_cases(cases, seed=2)]


def test_a_study_is_kept_whole_where_no_patient_is_named() -> None:
    cases = [Case(f"/d/{i}.png", study=f"s{i // 4}") for i in range(40)]
    studies = defaultdict(set)
    for case in split_cases(cases):
        studies[case.study].add(case.split)
    assert all(len(splits) == 1 for splits in studies.values())


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1), (0.5, 0.5)])
def test_bad_fractions(fractions: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="sum to 1"):
        split_cases([Case("a")], fractions)  # type: ignore[arg-type]


def test_few_and_none() -> None:
    assert split_cases([]) == ()
    assert [case.split for case in split_cases([Case("a.png")])] == ["train"]


@pytest.mark.parametrize("seed", range(5))
def test_hold_out(seed: int) -> None:
    cases = some_cases(seed, 50)
    kept, held = hold_out(cases, share=0.2, seed=seed)
    assert {case.path for case in (*kept, *held)} == {case.path for case in cases}
    assert len(kept) + len(held) == len(cases)
    assert not {case.group for case in kept} & {case.group for case in held}
    assert 0.2 * len(cases) - 1 <= len(held) <= 0.2 * len(cases) + 5
    again = hold_out(cases[::-1], share=0.2, seed=seed)[1]
    assert {case.path for case in again} == {case.path for case in held}
    assert len(hold_out(cases, count=30, seed=seed)[1]) in range(30, 35)


def test_hold_out_needs_two_groups_and_a_sane_request() -> None:
    one = [Case(f"{i}.png", patient="p") for i in range(5)]
    with pytest.raises(UsageError, match="one patient"):
        hold_out(one, share=0.2)
    two = [Case("a.png"), Case("b.png")]
    assert tuple(map(len, hold_out(two, share=0.01))) == (1, 1)
    for wrong in ({}, {"share": 0.2, "count": 1}, {"share": 1.0}, {"count": 2}, {"count": 0}):
        with pytest.raises(UsageError):
            hold_out(two, **wrong)  # type: ignore[arg-type]


def test_folds_keep_groups_whole_and_every_class_in_its_share() -> None:
    cases = [
        Case(f"{patient}-{image}", label=patient % 4 == 0, patient=f"p{patient}")
        for patient in range(40)
        for image in range(2)
    ]
    folds = k_folds(cases, 5, seed=3)
    of_patient = {}
    for case, fold in zip(cases, folds, strict=True):
        assert of_patient.setdefault(case.patient, fold) == fold
    assert all(list(of_patient.values()).count(fold) == 8 for fold in range(5))
    abnormal = [of_patient[f"p{patient}"] for patient in range(0, 40, 4)]
    assert all(abnormal.count(fold) == 2 for fold in range(5))
    turned = dict(zip((c.path for c in cases[::-1]), k_folds(cases[::-1], 5, seed=3), strict=True))
    assert turned == dict(zip((c.path for c in cases), folds, strict=True))


@pytest.mark.parametrize("k", [0, 1, 5])
def test_folds_that_cannot_be(k: int) -> None:
    with pytest.raises(UsageError, match="folds"):
        k_folds([Case(str(i)) for i in range(4)], k)
