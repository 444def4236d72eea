"""Fitted detectors joined into one: from which normals, with which input, and that it stands on its own."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from unremarkable import Detector, UsageError
from unremarkable.datasets.find import find_dataset
from unremarkable.datasets.load import digest
from unremarkable.ensemble import fit_ensemble
from unremarkable.methods.ensemble import EnsembleOptions


@pytest.fixture(scope="module")
def other(phantoms: Path) -> Detector:
    """A second detector, of another size, with a score of its own."""
    return Detector("knn", size=48, grid=1, k=1, distance="cosine", reduction="top1", smoothing=0.5).fit(phantoms)


@pytest.fixture(scope="module")
def joined(fitted: Detector, other: Detector, phantoms: Path) -> Detector:
    return fit_ensemble([fitted, other], phantoms)


def learned(*detectors: Detector) -> set[str]:
    return {one for d in detectors for part in ("training", "validation") for one in d.manifest_["data"][part]}


def test_it_looks_only_at_normals_that_no_member_has_learned_from(
    joined: Detector, fitted: Detector, other: Detector, phantoms: Path
) -> None:
    usable = {digest(case) for case in find_dataset(phantoms).select(split="train", label=0)} - learned(fitted, other)
    data = joined.manifest_["data"]
    references = set(data["training"]) - learned(fitted, other)
    assert references | set(data["calibration"]) == usable
    assert references.isdisjoint(data["calibration"])
    assert len(references) == joined.method_.settled()["reference normals"] == len(usable) - len(usable) // 2
    assert learned(fitted, other) < set(data["training"])
    assert any("left out: 41 normals" in note for note in joined.plan_.notes)


def test_members_score_inside_as_they_do_alone(joined: Detector, fitted: Detector, phantoms: Path) -> None:
    from unremarkable.datasets.cache import pack

    cases = find_dataset(phantoms).select(split="test")
    images = torch.from_numpy(np.array(pack(cases, joined.preprocess_).images))
    one, two = joined.method_.members
    half = fitted.plan_.precision == "bf16"
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        inside = one.predict(images)[1]
    smaller = two.fed(images)
    np.testing.assert_allclose(inside, [row.score for row in fitted.score(phantoms / "test")], rtol=1e-4)
    assert smaller.shape[2:] == (48, 48)
    assert two.spec.reduction == "top1"
    assert two.spec.smoothing == 0.5


def test_it_finds_what_is_wrong_and_keeps_its_rate(joined: Detector, phantoms: Path) -> None:
    normal, lesion = (joined.score(phantoms / "test" / name) for name in ("normal", "lesion"))
    assert np.median([row.score for row in lesion]) > np.median([row.score for row in normal])
    assert len({row.score for row in (*normal, *lesion)}) == 16
    assert joined.calibration_.scores.min() > 0


def test_its_folder_needs_nothing_else(fitted: Detector, other: Detector, phantoms: Path, tmp_path: Path) -> None:
    parts = [one.save(tmp_path / name) for one, name in ((fitted, "a"), (other, "b"))]
    before = fit_ensemble(parts, phantoms, combine="z", size=48)
    before.save(tmp_path / "joined")
    for part in parts:
        shutil.rmtree(part)
    after = Detector.load(tmp_path / "joined")
    assert after.preprocess_.size == (48, 48)
    scores = before.score(phantoms / "test"), after.score(phantoms / "test")
    assert [row.score for row in scores[0]] == [row.score for row in scores[1]]
    manifest = json.loads((tmp_path / "joined" / "manifest.json").read_text())
    assert [member["method"] for member in manifest["members"]] == ["knn", "knn"]
    assert str(tmp_path) not in (tmp_path / "joined" / "config.json").read_text()


def test_normals_that_were_all_learned_from_are_refused(fitted: Detector, other: Detector, phantoms: Path) -> None:
    known = learned(fitted)
    cases = [case.path for case in find_dataset(phantoms).select(split="train", label=0) if digest(case) in known]
    with pytest.raises(UsageError, match="learned from every normal"):
        fit_ensemble([fitted, other], cases)


def test_all_of_a_patient_is_left_out(fitted: Detector, other: Detector, phantoms: Path, tmp_path: Path) -> None:
    known = learned(fitted)
    rows = ["path,label,patient"]
    for index, case in enumerate(find_dataset(phantoms).select(split="train", label=0)):
        rows.append(f"{case.path},normal,{'seen' if digest(case) in known or index % 2 else index}")
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    joined = fit_ensemble([fitted, other], tmp_path / "cases.csv")
    calibrated = set(joined.manifest_["data"]["calibration"])
    used = [i for i, c in enumerate(find_dataset(phantoms).select(split="train", label=0)) if digest(c) in calibrated]
    assert used
    assert not [index for index in used if index % 2]


def test_a_rate_that_the_rest_cannot_support(fitted: Detector, other: Detector, phantoms: Path) -> None:
    with pytest.raises(UsageError, match="takes 99 normals for calibration and some more as references, and 19 are"):
        fit_ensemble([fitted, other], phantoms, rate=0.01)


def test_members_that_see_other_values_are_refused(fitted: Detector, phantoms: Path) -> None:
    windowed = Detector("knn", size=64, intensity="range:0/100").fit(phantoms)
    with pytest.raises(UsageError, match="do not see the same values: intensity is"):
        fit_ensemble([fitted, windowed], phantoms)
    with pytest.raises(UsageError, match="two fitted models or more, not 1"):
        fit_ensemble([fitted], phantoms)
    with pytest.raises(UsageError, match="not fitted yet"):
        fit_ensemble([fitted, Detector("knn")], phantoms)


def test_fitted_from_scratch_it_holds_normals_out_for_its_references(phantoms: Path) -> None:
    detector = Detector("ensemble", size=64, members=["knn", "knn:grid=1;k=1"]).fit(phantoms)
    plan = detector.plan_
    assert plan.validation_cases > 0
    assert detector.method_.settled()["reference normals"] == plan.validation_cases
    parts = [set(detector.manifest_["data"][part]) for part in ("training", "validation", "calibration")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60


def test_p_values_are_joined_in_one_way_where_none_is_named() -> None:
    from unremarkable.cli.ensemble import ensemble

    defaults = {inspect.signature(given).parameters["combine"].default for given in (fit_ensemble, ensemble)}
    assert defaults == {EnsembleOptions().combine}
