"""patchcore on radiographs: it keeps what its plan said, and tells findings from normals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unremarkable import Detector
from unremarkable.datasets.find import find_dataset
from unremarkable.evaluation.evaluation import evaluate
from unremarkable.training.plan import Plan


@pytest.fixture(scope="module")
def fitted(real_data: Path) -> tuple[Detector, Plan]:
    plans: list[Plan] = []
    detector = Detector("patchcore", size=128).fit(real_data / "covid19-xray", on_plan=plans.append)
    return detector, plans[0]


def test_the_plan_says_the_memory_and_the_bank_has_the_size_it_said(fitted: tuple[Detector, Plan]) -> None:
    detector, plan = fitted
    note = next(note for note in plan.notes if note.startswith("memory:"))
    bank = detector.method_.bank
    assert isinstance(bank, torch.Tensor)
    assert f"keeps {len(bank):,} patch features" in note
    assert f"of all {plan.training_images * 16 * 16:,}" in note


def test_findings_score_higher(fitted: tuple[Detector, Plan], real_data: Path) -> None:
    """A published test set at half the size: enough to tell a broken method from a working one."""
    cases = find_dataset(real_data / "covid19-xray").select(split="test")
    rows = list(fitted[0].stream(cases))
    found = evaluate([row.score for row in rows], [row.case.label for row in rows], replicates=0)
    assert found.metrics["auroc"].value > 0.8
