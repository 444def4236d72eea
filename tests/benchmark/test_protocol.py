"""Protocols: no patient on both sides, nothing abnormal to learn from, no copies where none are wanted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from unremarkable.benchmark.protocol import Protocol, apply_protocol, data_digest
from unremarkable.datasets.case import Case, Dataset
from unremarkable.errors import UsageError


def dataset(published: bool = False, patients: int = 30) -> Dataset:
    """Three images of every patient, a third of the patients abnormal."""
    cases = [
        Case(
            f"/set/{patient}-{image}.png",
            label=int(patient % 3 == 0),
            finding="lesion" if patient % 3 == 0 else "normal",
            split=("test" if patient % 5 == 0 else "val" if patient % 5 == 1 else "train") if published else None,
            patient=f"p{patient}",
        )
        for patient in range(patients)
        for image in range(3)
    ]
    return Dataset("set", Path("/set"), tuple(cases), "folders")


@pytest.mark.parametrize("text", ["published", "70/15/15", "60/20/20", "kfold:5"])
@pytest.mark.parametrize("published", [False, True])
def test_no_patient_on_both_sides_and_only_normals_to_learn_from(text: str, published: bool) -> None:
    protocol = Protocol(text)
    for fold in range(protocol.folds) if protocol.folds else (None,):
        parts = apply_protocol(protocol, dataset(published), fold)
        assert not {case.patient for case in parts.learning} & {case.patient for case in parts.test}
        assert {case.label for case in parts.learning} == {0}
        assert {case.label for case in parts.test} == {0, 1}


@pytest.mark.parametrize("text", ["published", "70/15/15", "kfold:5"])
def test_methods_that_need_labels_learn_from_both_classes_and_from_no_test_patient(text: str) -> None:
    protocol, data = Protocol(text), dataset(published=text == "published")
    for fold in range(protocol.folds) if protocol.folds else (None,):
        alone, both = (apply_protocol(protocol, data, fold, labelled=labelled) for labelled in (False, True))
        assert both.test == alone.test
        assert tuple(case for case in both.learning if not case.label) == tuple(alone.learning)
        assert {case.label for case in both.learning} == {0, 1}
        assert {case.split for case in both.learning} <= {"train", "val"}
        assert not {case.patient for case in both.learning} & {case.patient for case in both.test}


def test_one_class_tests_on_every_abnormal_case() -> None:
    whole = dataset()
    mixed = tuple(replace(case, label=1) if case.path == "/set/1-0.png" else case for case in whole.cases)
    parts = apply_protocol(Protocol("one-class:60"), replace(whole, cases=mixed))
    assert {case.path for case in parts.test if case.label} == {case.path for case in mixed if case.label}
    assert {"/set/1-1.png", "/set/1-2.png"} <= {case.path for case in parts.test}, "normals of an abnormal patient"
    assert {case.label for case in parts.learning} == {0}
    assert len({case.patient for case in parts.learning}) == 11, "60 % of the 19 patients with normals alone"
    assert len(parts.learning) + len(parts.test) == len(mixed)
    for wrong in ("one-class:0", "one-class:100", "one-class:half"):
        with pytest.raises(UsageError, match="one-class:60"):
            Protocol(wrong)


def test_every_case_is_tested_in_one_fold() -> None:
    whole = dataset()
    tested = [apply_protocol(Protocol("kfold:4"), whole, fold).test for fold in range(4)]
    assert sorted(case.path for part in tested for case in part) == sorted(case.path for case in whole)
    assert all(len({case.patient for case in part if case.label}) in (2, 3) for part in tested), "stratified"


def test_the_published_split_is_kept_and_a_drawn_one_does_not_depend_on_order() -> None:
    parts = apply_protocol(Protocol(), dataset(published=True))
    assert {case.path for case in parts.test} == {c.path for c in dataset(published=True) if c.split == "test"}
    assert {case.split for case in parts.learning} == {"train", "val"}
    drawn, turned = dataset(), dataset()
    turned = Dataset("set", turned.root, turned.cases[::-1], "folders")
    first, second = (apply_protocol(Protocol(), one) for one in (drawn, turned))
    assert {case.path for case in first.test} == {case.path for case in second.test}


def test_external() -> None:
    other = Dataset("other", Path("/other"), tuple(Case(f"/other/{i}", label=i % 2) for i in range(6)), "folders")
    parts = apply_protocol(Protocol("external"), dataset(published=True), other=other)
    assert {case.path for case in parts.test} == {case.path for case in other}
    assert all(case.path.startswith("/set/") for case in parts.learning)


def test_copies_are_left_out_on_both_sides() -> None:
    cases = (
        Case("train-1", 0, split="train"),
        Case("train-copy-of-test", 0, split="train"),
        Case("val-copy-of-test", 0, split="val"),
        Case("test-1", 0, split="test"),
        Case("test-1-again", 0, split="test"),
        Case("test-2", 1, split="test"),
        Case("test-2-as-normal", 0, split="test"),
        Case("unreadable-1", 1, split="test"),
        Case("unreadable-2", 0, split="train"),
    )
    digests = dict(zip((case.path for case in cases), "abbbbccuu", strict=True))
    digests |= {"unreadable-1": "unreadable", "unreadable-2": "unreadable"}
    whole = Dataset("set", Path(), cases, "folders")
    parts = apply_protocol(Protocol(deduplicate=True), whole, digests=digests)
    assert [case.path for case in parts.learning] == ["train-1", "unreadable-2"]
    assert [case.path for case in parts.test] == ["test-1", "test-2", "unreadable-1"]
    assert "2 of the 4 cases" in parts.notes[0]
    assert "2 of the 5 test cases" in parts.notes[0]
    assert "1 pictures" in parts.notes[1]
    assert len(apply_protocol(Protocol(), whole).test) == 5, "only where it is asked for"


@pytest.mark.parametrize("text", ["kfold:1", "kfold:x", "kfold", "70/30", "publshed"])
def test_protocols_that_do_not_exist(text: str) -> None:
    with pytest.raises(UsageError, match="not understood"):
        Protocol(text)


def test_data_that_cannot_keep_a_protocol() -> None:
    normals = Dataset("set", Path("/set"), tuple(Case(f"{i}", 0, split="test") for i in range(4)), "folders")
    with pytest.raises(UsageError, match="no normal cases to learn from"):
        apply_protocol(Protocol(), normals)
    lesions = Dataset("set", Path("/set"), (*normals, *(Case(f"x{i}", 1, split="train") for i in range(4))), "folders")
    with pytest.raises(UsageError, match="no normal cases to learn from"):
        apply_protocol(Protocol(), lesions, labelled=True)
    with pytest.raises(UsageError, match="both normal and abnormal"):
        apply_protocol(Protocol("50/25/25"), normals)
    with pytest.raises(UsageError, match="folds"):
        apply_protocol(Protocol("kfold:9"), normals, 0)


def test_the_digest_of_data_is_its_content_and_labels_wherever_it_lies() -> None:
    here = Dataset("a", Path("/a"), (Case("/a/1", 0), Case("/a/2", 1)), "folders")
    moved = Dataset("b", Path("/b"), (Case("/b/2", 1), Case("/b/1", 0)), "folders")
    relabelled = Dataset("a", Path("/a"), (Case("/a/1", 1), Case("/a/2", 1)), "folders")
    digests = {"/a/1": "x", "/a/2": "y", "/b/1": "x", "/b/2": "y"}
    assert data_digest(here, digests) == data_digest(moved, digests)
    assert data_digest(here, digests) != data_digest(relabelled, digests)
    assert data_digest(here, digests) != data_digest(here, digests | {"/a/1": "z"})
