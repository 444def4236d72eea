"""From scored cases to the sections of metrics.json."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from sklearn.metrics import f1_score, roc_auc_score

from unremarkable import Detector
from unremarkable.datasets.case import ABNORMAL, NORMAL, Case, Dataset
from unremarkable.evaluation.localisation import Localisation
from unremarkable.evaluation.pixels import ON_TEST_LABELS
from unremarkable.imaging.image import Image
from unremarkable.imaging.preprocess import Preprocess
from unremarkable.report.run import evaluate_to_folder
from unremarkable.scoring.scores import CaseScore, without_pixels

SIDE = 32
PREPROCESS = Preprocess(size=(SIDE, SIDE))


def scored(case: Case, rng: np.random.Generator, rebuilt: bool = False) -> CaseScore:
    """A map at the image's own size, so that restoring it changes nothing; 2 higher in the first box."""
    maps = rng.random((1, SIDE, SIDE)).astype(np.float32)
    for x, y, width, height in case.boxes[:1]:
        maps[0, int(y) : int(y + height), int(x) : int(x + width)] += 0.6
    picture = rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    image = without_pixels(Image(np.zeros((SIDE, SIDE), np.uint8), "HW", case.path))
    back = np.minimum(picture, 200) if rebuilt else None
    return CaseScore(case, 1.0, 0.5, None, np.ones(1), maps, 0, picture, back, image)


def some_cases() -> list[Case]:
    boxes = [((4.0, 4.0, 10.0, 9.0),), ((15.0, 12.0, 8.0, 8.0), (2.0, 2.0, 4.0, 4.0)), ((1.0, 20.0, 12.0, 6.0),)]
    normal = [Case(f"n{index}", NORMAL, "normal") for index in range(4)]
    return [*normal, *(Case(f"a{index}", ABNORMAL, "nodule", boxes=box) for index, box in enumerate(boxes))]


def test_sections() -> None:
    rng = np.random.default_rng(0)
    rows = [scored(case, rng) for case in some_cases()]
    with Localisation(PREPROCESS, 0.95, annotated=True) as localisation:
        for row in rows:
            localisation.add(row)
        found = localisation.to_dict(replicates=100)
    assert found is not None
    assert localisation.notes() == ()
    assert set(found) == {"pixel", "lesion", "localisation"}
    json.dumps(found, allow_nan=False)
    masks = []
    for row in rows:
        mask = np.zeros((SIDE, SIDE), bool)
        for x, y, width, height in row.case.boxes:
            mask[int(y) : int(y + height), int(x) : int(x + width)] = True
        masks.append(mask)
    marked, values = np.stack(masks).ravel(), np.stack([row.maps[0] for row in rows]).ravel()
    assert found["pixel"]["auroc"]["value"] == pytest.approx(roc_auc_score(marked, values))
    assert found["pixel"]["dice"]["value"] == pytest.approx(f1_score(marked, values > 0.95))
    auroc = found["pixel"]["auroc"]
    assert auroc["low"] < auroc["value"] < auroc["high"]
    about = found["localisation"]
    assert about["counts"] == {
        "cases": 7,
        "normal": 4,
        "abnormal": 3,
        "unannotated": 0,
        "lesions": 4,
        "ra_detected": 3,
    }
    assert about["threshold"]["value"] == 0.95
    assert set(about["chosen_on_test_labels"]) == set(ON_TEST_LABELS)
    assert about["by_finding"]["nodule"]["cases"] == 3
    assert "froc" not in about["by_finding"]["nodule"]["metrics"]
    curve = about["froc"]
    assert len(curve["thresholds"]) == len(curve["false_positives"]) == len(curve["sensitivity"]) > 10


def test_what_cannot_be_measured_is_left_out_and_said() -> None:
    rng = np.random.default_rng(1)
    unknown = Case("unknown", ABNORMAL)
    outside = Case("outside", ABNORMAL, boxes=((99.0, 0.0, 2.0, 2.0),))
    broken = scored(Case("broken", NORMAL), rng)
    broken.maps[0, 0, 0] = np.inf
    with Localisation(PREPROCESS, 0.95, annotated=True) as localisation:
        for case in (*some_cases(), unknown, outside):
            localisation.add(scored(case, rng))
        localisation.add(broken)
        found = localisation.to_dict(replicates=0)
    assert found is not None
    assert found["localisation"]["counts"]["cases"] == 7
    assert found["localisation"]["counts"]["unannotated"] == localisation.unannotated == 1
    assert [path for path, _ in localisation.left_out] == ["outside", "broken"]
    first, second = localisation.notes()
    assert first.startswith("1 case")
    assert "outside: the box" in second


def test_reconstructions_of_normals_alone() -> None:
    rng = np.random.default_rng(2)
    rows = [scored(case, rng, rebuilt=True) for case in some_cases()]
    with Localisation(PREPROCESS, 0.95, annotated=False) as localisation:
        for row in rows:
            localisation.add(row)
        found = localisation.to_dict(replicates=100)
    assert found is not None
    assert set(found) == {"reconstruction"}
    expected = [np.abs(row.picture / 255 - np.minimum(row.picture, 200) / 255).mean() for row in rows[:4]]
    assert found["reconstruction"]["l1"]["value"] == pytest.approx(np.mean(expected))
    with Localisation(PREPROCESS, 0.95, annotated=False) as localisation:
        localisation.add(scored(some_cases()[0], rng))
        assert localisation.to_dict() is None


@pytest.fixture(scope="module")
def masked(phantoms: Path) -> Dataset:
    """The phantoms' test cases, which have mask files."""
    from unremarkable.datasets.find import find_dataset

    found = find_dataset(phantoms)
    return replace(found, cases=found.select(split="test"))


def test_evaluate_to_folder_writes_the_sections(masked: Dataset, fitted: Detector, tmp_path: Path) -> None:
    run = evaluate_to_folder(fitted, masked, masked.cases, tmp_path / "out", replicates=100, maps="none")
    assert run.localisation is not None
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    for section in ("pixel", "lesion", "localisation"):
        assert written[section] == run.localisation[section]
    assert written["localisation"]["threshold"]["value"] == fitted.calibration_.map_low
    assert "auroc" in written["metrics"]
    assert 0.8 < written["pixel"]["auroc"]["value"] <= 1


def test_without_masks_nothing_is_added(masked: Dataset, fitted: Detector, tmp_path: Path) -> None:
    cases = [replace(case, masks=()) for case in masked.cases]
    run = evaluate_to_folder(fitted, masked, cases, tmp_path / "out", replicates=0, maps="none")
    assert run.localisation is None
    assert "pixel" not in json.loads((tmp_path / "out" / "metrics.json").read_text())


def test_a_mask_of_another_size_is_a_note_and_not_the_end(masked: Dataset, fitted: Detector, tmp_path: Path) -> None:
    Picture.fromarray(np.full((9, 9), 255, np.uint8)).save(tmp_path / "small.png")
    cases = list(masked.cases)
    place = next(index for index, case in enumerate(cases) if case.label == ABNORMAL)
    cases[place] = replace(cases[place], masks=(str(tmp_path / "small.png"),))
    run = evaluate_to_folder(fitted, masked, cases, None, replicates=0)
    assert len(run.records) == len(cases)
    assert run.failures == []
    assert any("9 × 9" in note for note in run.notes)
    assert run.localisation["localisation"]["counts"]["cases"] == len(cases) - 1
