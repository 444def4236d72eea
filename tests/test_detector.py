"""Detector: what it learns from, that it is deterministic, and that a saved one is the same one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from unremarkable import Detector, UsageError
from unremarkable.datasets.find import find_dataset
from unremarkable.methods.registry import DEFAULT, DEFAULT_OPTIONS
from unremarkable.scoring.scores import CaseScore


def test_the_readme_example(phantoms: Path, tmp_path: Path) -> None:
    detector = Detector("knn", size=64).fit(phantoms / "train" / "normal")
    scores = detector.score(phantoms / "test")
    frame = scores.to_frame()
    assert list(frame.columns[:4]) == ["path", "score", "p_value", "flagged"]
    assert len(frame) == 16
    assert frame.p_value.between(0, 1, inclusive="right").all()
    detector.save(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        "calibration.json",
        "config.json",
        "manifest.json",
        "weights.safetensors",
    ]


def test_without_a_method_it_is_the_default_one_whose_options_can_be_changed() -> None:
    default = Detector()
    assert (default.method, vars(default.options)) == (DEFAULT, vars(default.options) | DEFAULT_OPTIONS)
    changed = Detector(stages=(-1,))
    assert (changed.method, changed.options.stages, changed.options.backbone) == (
        DEFAULT,
        (-1,),
        default.options.backbone,
    )
    assert Detector(DEFAULT).options != default.options, "a method that is named comes as its page has it"


def test_a_saved_detector_gives_the_same_scores(fitted: Detector, model: Path, phantoms: Path) -> None:
    before, after = fitted.score(phantoms / "test"), Detector.load(model).score(phantoms / "test")
    assert [row.score for row in before] == [row.score for row in after]
    assert [row.p_value for row in before] == [row.p_value for row in after]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.maps, other.maps)


@pytest.mark.parametrize("method", ["knn", "autoencoder"])
def test_two_fits_with_one_seed_give_identical_weight_files(phantoms: Path, tmp_path: Path, method: str) -> None:
    options = {"epochs": 2} if method == "autoencoder" else {}
    files = []
    for name in ("a", "b"):
        folder = Detector(method, size=64, seed=3, **options).fit(phantoms).save(tmp_path / name)
        files.append((folder / "weights.safetensors").read_bytes())
    assert files[0] == files[1]


def test_scores_do_not_depend_on_batch_size(fitted: Detector, phantoms: Path) -> None:
    cases = find_dataset(phantoms).select(split="test")
    by_batch = [
        [row.score for row in fitted.stream(cases, batch=size) if isinstance(row, CaseScore)] for size in (1, 32)
    ]
    np.testing.assert_allclose(*by_batch, atol=1e-5, rtol=1e-5)


def test_abnormal_and_test_cases_are_not_learned_from(fitted: Detector, phantoms: Path) -> None:
    from unremarkable.datasets.cache import digest

    dataset = find_dataset(phantoms)
    data = fitted.manifest_["data"]
    used = {*data["training"], *data["validation"], *data["calibration"]}
    assert used == {digest(case) for case in dataset.select(split="train", label=0)}
    assert set(data["training"]).isdisjoint(data["calibration"])


def test_copies_of_a_picture_are_not_divided(phantoms: Path, tmp_path: Path) -> None:
    originals = sorted((phantoms / "train" / "normal").glob("*.png"))
    for copy in range(3):
        for file in originals[:20]:
            (tmp_path / f"{copy}-{file.name}").write_bytes(file.read_bytes())
    detector = Detector("knn", size=64).fit(tmp_path)
    data = detector.manifest_["data"]
    assert set(data["training"]).isdisjoint(data["calibration"])


def test_calibration_is_large_enough_for_the_rate_that_is_asked_for(phantoms: Path) -> None:
    assert Detector("knn", size=64).fit(phantoms, rate=0.04).plan_.calibration_cases == 24
    with pytest.raises(UsageError, match="99 for calibration"):
        Detector("knn", size=64).fit(phantoms, rate=0.01)


def test_a_rate_that_cannot_be_supported(fitted: Detector, phantoms: Path) -> None:
    with pytest.raises(UsageError, match="at least 99"):
        fitted.score(phantoms / "test", rate=0.01)


def test_too_few_normals_for_any_verdict_still_score(phantoms: Path, tmp_path: Path) -> None:
    for file in sorted((phantoms / "train" / "normal").glob("*.png"))[:10]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    detector = Detector("knn", size=64).fit(tmp_path)
    assert any("too few" in note for note in detector.plan_.notes)
    assert {row.flagged for row in detector.score(phantoms / "test")} == {None}


def test_one_image_is_too_few(phantoms: Path) -> None:
    with pytest.raises(UsageError, match="too few"):
        Detector("knn", size=64).fit(next((phantoms / "train" / "normal").glob("*.png")))


def test_volumes_are_scored_as_one_case_and_their_maps_come_back(phantoms: Path, tmp_path: Path) -> None:
    import nibabel

    rng = np.random.default_rng(0)
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    for index in range(6):
        volume = rng.integers(0, 900, (40, 48, 5)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(volume, affine), tmp_path / f"{index}.nii.gz")
    detector = Detector("knn", size=64).fit(tmp_path)
    scores = detector.score(tmp_path / "0.nii.gz")
    row = scores.rows[0]
    assert len(row.slice_scores) == 5
    assert row.score == row.slice_scores.max()
    scores.save(tmp_path / "out")
    written = nibabel.load(tmp_path / "out" / "maps" / "0.nii.gz")
    assert written.shape == (40, 48, 5)
    np.testing.assert_allclose(written.affine, affine)


def test_constant_and_sixteen_bit_images(phantoms: Path, tmp_path: Path) -> None:
    detector = Detector("knn", size=64).fit(phantoms)
    tifffile.imwrite(tmp_path / "black.tif", np.zeros((50, 70), np.uint16))
    tifffile.imwrite(tmp_path / "deep.tif", np.arange(3500, dtype=np.uint16).reshape(50, 70))
    tifffile.imwrite(tmp_path / "nan.tif", np.full((50, 70), np.nan, np.float32))
    scores = detector.score(tmp_path)
    assert len(scores) == 2
    assert all(np.isfinite(row.score) for row in scores)
    assert [Path(path).name for path, _ in scores.failures] == ["nan.tif"]


def test_an_unfitted_detector_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not fitted"):
        Detector("knn").save(tmp_path / "m")


def test_the_constructor_only_stores_options() -> None:
    detector = Detector("knn", k=5)
    assert detector.options.k == 5
    assert not [name for name in vars(detector) if name.endswith("_")]
    with pytest.raises(UsageError, match="'k'"):
        Detector("knn", kk=5)
