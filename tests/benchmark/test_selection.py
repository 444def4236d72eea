"""Selection without labels: what it sees, what it chooses, and what the oracle says of it afterwards."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unremarkable.benchmark import oracle, selection
from unremarkable.benchmark.criteria import Measure, check_candidates, held_out_loss
from unremarkable.benchmark.matrix import MethodEntry, parse_methods
from unremarkable.benchmark.oracle import judge
from unremarkable.benchmark.selection import (
    HELD_OUT_LOSS,
    POOL,
    SYNTHETIC,
    Candidate,
    Choice,
    Selection,
    blind,
    choose,
    select,
)
from unremarkable.benchmark.selection_figure import selection_figure
from unremarkable.benchmark.store import Store
from unremarkable.datasets.case import Case, Dataset
from unremarkable.datasets.find import find_dataset
from unremarkable.errors import UsageError
from unremarkable.evaluation.intervals import Interval
from unremarkable.training.history import Epoch, History, PhaseHistory


def candidate(label: str, loss: float | None = None, pool: float | None = None, **more: Any) -> Candidate:
    def interval(value: float | None) -> Interval:
        return Interval(value, None, None, "there is no pool" if value is None else None)

    synthetic = more.pop("synthetic", 0.9)
    return Candidate(label, more.pop("method", "ae"), {}, loss, interval(pool), interval(synthetic), **more)


def chosen(*candidates: Candidate) -> dict[str, str | None]:
    return {choice.criterion: choice.chosen for choice in choose(candidates)}


def test_each_criterion_chooses_by_its_own_best() -> None:
    found = chosen(candidate("a", 0.1, 0.6), candidate("b", 0.2, 0.7), candidate("c", 0.3, 0.5, synthetic=0.95))
    assert found == {HELD_OUT_LOSS: "a", POOL: "b", SYNTHETIC: "c"}


def test_losses_of_different_methods_are_not_compared() -> None:
    choices = choose([candidate("a", 0.1, 0.6), candidate("b", 0.2, 0.7, method="other")])
    assert choices[0] == Choice(HELD_OUT_LOSS, None, "losses of different methods do not compare")
    assert "no loss" in (choose([candidate("a", 0.1, 0.6), candidate("b", None, 0.7)])[0].reason or "")


def test_a_missing_value_or_a_failed_candidate_is_no_choice() -> None:
    choices = choose([candidate("a", 0.1), candidate("b", 0.2)])
    assert choices[1] == Choice(POOL, None, "there is no pool")
    found = chosen(candidate("a", 0.3, 0.6), candidate("b", 0.1, 0.9, failure="out of memory"))
    assert found == {HELD_OUT_LOSS: "a", POOL: "a", SYNTHETIC: "a"}


def test_ties_and_chance_are_said() -> None:
    tied = choose([candidate("a", 0.1, 0.6), candidate("b", 0.1, 0.6)])
    assert [choice.chosen for choice in tied] == ["a"] * 3
    assert all("2 candidates are equal" in (choice.note or "") for choice in tied)
    unsure = replace(candidate("a", 0.2, 0.6), pool=Interval(0.6, 0.45, 0.7))
    assert "0.5" in (choose([unsure, candidate("b", 0.3, 0.5)])[1].note or "")


def test_selection_is_given_no_label(phantoms: Path) -> None:
    dataset = find_dataset(phantoms)
    seen = blind(dataset)
    assert len(seen.normals) == 60
    assert len(seen.pool) == 16
    for case in (*seen.normals, *seen.pool):
        bare = Case(case.path, split=case.split, patient=case.patient, study=case.study)
        assert case == bare
    assert {case.split for case in seen.pool} == {None}


def test_the_labels_of_the_pool_change_nothing(phantoms: Path) -> None:
    """What is seen is equal, and so is what is measured, whatever the test labels say; what chooses cannot judge."""
    dataset = find_dataset(phantoms)
    liar = [
        replace(case, label=1 - case.label, finding="x", masks=()) if case.split == "test" else case for case in dataset
    ]
    told, lied = blind(dataset), blind(replace(dataset, cases=tuple(liar)))
    assert told == lied
    answers = []
    for seen in (told, lied):
        found = Measure(seen, {"size": "32"}, replicates=0)(MethodEntry("knn", "knn"))
        answers.append(replace(found, seconds=0.0))
    assert answers[0] == answers[1]
    assert len(answers[0].pool_scores) == 16
    assert (answers[0].synthetic.value or 0) > 0.5
    made = select(parse_methods(["knn,knn[k=3]"]), told, lambda entry: replace(answers[0], label=entry.label))
    assert made.counts == {"normals": 60, "pool": 16}
    json.dumps(made.to_dict(), allow_nan=False)
    assert not hasattr(selection, "judge")
    assert "benchmark.selection" in Path(oracle.__file__).read_text()


def test_what_is_kept_is_that_of_the_same_request_alone(phantoms: Path, tmp_path: Path) -> None:
    seen, store = blind(find_dataset(phantoms)), Store.open(tmp_path / "run", create=True)
    measure = Measure(seen, {"size": "32"}, replicates=100, store=store)
    first = measure(MethodEntry("knn", "knn"))
    assert measure(MethodEntry("of another name", "knn")) == replace(first, label="of another name")
    assert len(store.results()) == 1
    for other in (replace(measure, seed=1), replace(measure, common={"size": "48"}), replace(measure, replicates=0)):
        assert other(MethodEntry("knn", "knn")).seconds != first.seconds
    fewer = blind(replace(find_dataset(phantoms), cases=find_dataset(phantoms).cases[1:]))
    assert fewer.identity != seen.identity
    broken = replace(measure, common={"size": "40"})(MethodEntry("autoencoder", "autoencoder"))
    assert broken.failure
    assert len(store.results()) == 4, "what failed is tried again"


def test_copies_of_the_normals_are_left_out_of_the_pool(phantoms: Path) -> None:
    dataset = find_dataset(phantoms)
    normal = dataset.select(split="train")[0]
    pool = Dataset("pool", phantoms, (Case(normal.path), *dataset.select(split="test")), "files")
    seen = blind(dataset, pool)
    assert len(seen.pool) == 16
    assert any(note.startswith("1 of the pool's 17 cases are byte for byte") for note in seen.notes)


def test_unlabelled_data_has_no_pool_of_its_own(phantoms: Path) -> None:
    cases = tuple(Case(case.path) for case in find_dataset(phantoms).select(split="train"))
    seen = blind(Dataset("plain", phantoms, cases, "files"))
    assert seen.pool == ()
    measure = Measure(seen, {"size": "32"}, replicates=0)
    found = measure(MethodEntry("knn", "knn"))
    assert found.pool.value is None
    assert "--pool" in (found.pool.reason or "")
    assert found.synthetic.value is not None
    assert found.loss is None


def test_a_candidate_that_cannot_be_fitted_is_recorded(phantoms: Path) -> None:
    seen = blind(find_dataset(phantoms))
    measure = Measure(seen, {"size": "40"}, replicates=0)
    found = measure(MethodEntry("autoencoder", "autoencoder"))
    assert "multiples of 16" in (found.failure or "")
    with pytest.raises(UsageError, match=r"no candidate could be fitted; autoencoder: .*multiples of 16"):
        select([MethodEntry("autoencoder", "autoencoder"), MethodEntry("b", "autoencoder")], seen, measure)


def test_wrong_requests_are_refused_before_anything_is_fitted(phantoms: Path) -> None:
    seen = blind(find_dataset(phantoms))
    measure = Measure(seen)
    with pytest.raises(UsageError, match="unknown method 'nkn'; did you mean 'knn'"):
        check_candidates(parse_methods(["knn,nkn"]), {})
    with pytest.raises(UsageError, match="unknown option of knn 'girth'"):
        check_candidates(parse_methods(["knn[girth=3]"]), {})
    with pytest.raises(UsageError, match="unknown option of these candidates 'sise'; did you mean 'size'"):
        check_candidates(parse_methods(["knn"]), {"sise": "32"})
    with pytest.raises(UsageError, match="at least two"):
        select(parse_methods(["knn"]), seen, measure)
    with pytest.raises(UsageError, match="knn is given twice"):
        select(parse_methods(["knn,knn"]), seen, measure)


def test_held_out_loss_is_that_of_the_kept_weights_of_the_last_judged_phase() -> None:
    def phase(*losses: float | None) -> PhaseHistory:
        return PhaseHistory("p", [Epoch(i + 1, {}, loss, {}, 1.0) for i, loss in enumerate(losses)])

    assert held_out_loss(History([phase(9.0), phase(0.5, 0.2, 0.3), phase(None)])) == 0.2
    assert held_out_loss(History([phase(None)])) is None
    assert held_out_loss(History([])) is None
    assert held_out_loss(History([phase(float("nan"))])) is None


def judged_selection() -> tuple[Selection, dict[str, Case]]:
    """Four cases, two abnormal: a ranks all four pairs right, b three of them, c none."""
    scores = {"a": [1, 2, 3, 4], "b": [1, 3, 2, 4], "c": [4, 3, 2, 1]}
    candidates = tuple(
        Candidate(label, "m", {}, pool_scores={f"p{i}": float(v) for i, v in enumerate(values)})
        for label, values in scores.items()
    )
    choices = (Choice(HELD_OUT_LOSS, None, "no loss"), Choice(POOL, "b"), Choice(SYNTHETIC, "c"))
    cases = {f"p{i}": Case(f"p{i}", label=int(i > 1)) for i in range(4)}
    return Selection(candidates, choices, {"normals": 1, "pool": 4}), cases


def test_regret_by_hand() -> None:
    made, cases = judged_selection()
    found = judge(made, cases, replicates=0)
    assert {label: interval.value for label, interval in found.auroc.items()} == {"a": 1.0, "b": 0.75, "c": 0.0}
    assert found.best == "a"
    assert found.regret == {HELD_OUT_LOSS: None, POOL: 0.25, SYNTHETIC: 1.0}
    assert found.blindfold == pytest.approx(1 - 1.75 / 3)
    assert found.counts == {"normal": 2, "abnormal": 2}
    assert "chooses nothing" in found.to_dict()["oracle"]


def test_the_oracle_compares_on_shared_cases_and_needs_both_classes() -> None:
    made, cases = judged_selection()
    fewer = replace(made.candidates[0], pool_scores={"p0": 1.0, "p2": 3.0, "p3": 4.0})
    found = judge(replace(made, candidates=(fewer, *made.candidates[1:])), cases, replicates=0)
    assert found.auroc["b"].value == 1.0  # p1, on which b was wrong, is not judged
    assert found.counts == {"normal": 1, "abnormal": 2}
    failed = replace(made.candidates[2], failure="broken", pool_scores={})
    without = replace(made, candidates=(*made.candidates[:2], failed), choices=made.choices[:2])
    assert set(judge(without, cases, replicates=0).auroc) == {"a", "b"}
    with pytest.raises(UsageError, match="both classes"):
        judge(made, {path: replace(case, label=0) for path, case in cases.items()})


def test_contamination_keeps_the_order_as_documented() -> None:
    """π · AUROC + (1 − π) / 2, in expectation: on large samples to two decimals."""
    rng = np.random.default_rng(0)
    from unremarkable.evaluation.metrics import auroc

    held = rng.normal(size=20_000)
    for distance in (0.5, 1.0, 2.0):
        abnormal = rng.normal(distance, size=6_000)
        pool = np.concatenate([rng.normal(size=14_000), abnormal])
        true = auroc([*held, *abnormal], [0] * len(held) + [1] * len(abnormal))
        seen = auroc([*held, *pool], [0] * len(held) + [1] * len(pool))
        assert seen == pytest.approx(0.3 * true + 0.35, abs=0.01)


def test_the_figure_marks_each_choice() -> None:
    candidates = [candidate("a", 0.1, 0.6), candidate("b", 0.2, 0.7), candidate("c", failure="broken")]
    figure = selection_figure(Selection(tuple(candidates), choose(candidates), {}))
    assert [axes.get_title() for axes in figure.axes] == ["chooses a", "chooses b", "chooses a"]
    assert [sum(line.get_marker() == "D" for line in axes.lines) for axes in figure.axes] == [1, 1, 1]
