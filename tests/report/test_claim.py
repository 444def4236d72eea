from __future__ import annotations

from collections.abc import Callable

from unremarkable.evaluation import Evaluation
from unremarkable.report.claim import checklist
from unremarkable.report.folder import RunFolder

Make = Callable[..., RunFolder]


def _answers(run: RunFolder) -> dict[int, str | None]:
    return {item.number: item.answer for _, items in checklist(run) for item in items}


def test_all_44_items_once_and_in_order(evaluation: Evaluation, run_of: Make) -> None:
    found = checklist(run_of(evaluation))
    assert [item.number for _, items in found for item in items] == list(range(1, 45))
    assert all(items for _, items in found)
    assert dict(found)["Partitions"][1].name == "Level at which partitions are disjoint"
    assert dict(found)["Other information"][-1].name == "Funding and the role of funders"


def test_what_the_software_cannot_know_is_left_to_the_authors(evaluation: Evaluation, run_of: Make) -> None:
    answers = _answers(run_of(evaluation))
    assert all(answers[number] is None for number in (2, 4, 5, 11, 13, 16, 34, 44))
    assert "torch 2.13" in (answers[23] or "")
    assert f"AUROC {evaluation.metrics['auroc'].value:.3f}" in (answers[37] or "")
    assert "41 training, 19 calibration" in (answers[19] or "")
    assert "1 could not be" in (answers[35] or "")


def test_testing_elsewhere_is_external_and_without_labels_nothing_is_claimed(
    evaluation: Evaluation, run_of: Make
) -> None:
    inside = _answers(run_of(evaluation))
    assert inside[32]
    assert inside[33] is None
    run = run_of(evaluation)
    elsewhere = dict(run.record) | {"data": dict(run.record["data"]) | {"name": "another"}}
    outside = _answers(RunFolder(elsewhere, run.metrics, run.rows, run.gallery))
    assert outside[32] is None
    assert outside[33]
    bare = _answers(run_of(None))
    assert all(bare[number] is None for number in (28, 29, 32, 33, 37, 38, 39))
