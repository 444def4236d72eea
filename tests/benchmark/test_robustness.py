"""Robustness on simulated slices, against the detector's own scores and values by hand."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from unremarkable.benchmark.disturb import UNTOUCHED, conditions, score_conditions
from unremarkable.benchmark.robustness import Robustness, mean_interval, measure_robustness
from unremarkable.benchmark.robustness_figures import artefact_figure, robustness_figure
from unremarkable.datasets.artefacts import add_artefact, case_seed
from unremarkable.datasets.case import Case
from unremarkable.datasets.find import find_dataset
from unremarkable.detector import Detector
from unremarkable.errors import UsageError
from unremarkable.imaging.image import Image
from unremarkable.imaging.preprocess import Preprocess
from unremarkable.scoring.calibration import Calibration


@pytest.fixture(scope="module")
def cases(phantoms: Path) -> tuple[Case, ...]:
    return find_dataset(phantoms).select(split="test")


@pytest.fixture(scope="module")
def result(fitted: Detector, cases: tuple[Case, ...]) -> Robustness:
    return measure_robustness(fitted, cases, kinds=("squares", "noise"), levels=(4, 0, 2), rate=0.1, replicates=200)


class Noisy(Preprocess):
    """Another way in for the artefact: model input that bears it when it comes from Preprocess."""

    def __call__(self, image: Image) -> np.ndarray:
        inputs = super().__call__(image)
        return np.stack([add_artefact(one, "noise", 4, case_seed(inputs, 0)).image for one in inputs])


def test_the_untouched_condition_is_the_plain_evaluation(
    fitted: Detector, cases: tuple[Case, ...], result: Robustness
) -> None:
    rows = list(fitted.stream(cases, rate=0.1))
    plain = result.conditions[0]
    assert (plain.kind, plain.level) == (UNTOUCHED, 0)
    labels = [row.case.label for row in rows]
    assert plain.auroc.value == pytest.approx(roc_auc_score(labels, [row.score for row in rows]))
    assert plain.false_alarms.value == np.mean([row.flagged for row in rows if row.case.label == 0])
    assert plain.sensitivity.value == np.mean([row.flagged for row in rows if row.case.label == 1])
    assert plain.shift.value == 0
    assert plain.points.value is None
    assert result.counts == {"cases": 16, "normal": 8, "abnormal": 8, "patients": 16}


def test_conditions_come_in_order_and_each_is_what_scoring_the_altered_images_gives(
    fitted: Detector, cases: tuple[Case, ...], result: Robustness
) -> None:
    wanted = [(UNTOUCHED, 0), ("squares", 2), ("squares", 4), ("noise", 2), ("noise", 4)]
    assert [(one.kind, one.level) for one in result.conditions] == wanted
    noisy = copy.copy(fitted)
    noisy.preprocess_ = Noisy(**vars(fitted.preprocess_))
    scores = [row.score for row in noisy.stream(cases)]
    found = result.conditions[-1]
    labels = np.array([case.label for case in cases])
    assert found.auroc.value == pytest.approx(roc_auc_score(labels, scores))
    clean = np.array([row.score for row in fitted.stream(cases)])
    unit = fitted.calibration_.scores.std(ddof=1)
    assert found.shift.value == pytest.approx(((np.array(scores) - clean)[labels == 0] / unit).mean(), rel=1e-4)
    assert found.shift.low < found.shift.value < found.shift.high


def test_gross_artefacts_are_flagged_and_pointed_at(result: Robustness) -> None:
    by_name = {(one.kind, one.level): one for one in result.conditions}
    gross = by_name["squares", 4]
    assert gross.false_alarms.value == 1
    assert gross.false_alarms.low is not None  # of eight without exception: exact, not a width of nothing
    assert gross.false_alarms.low < 0.7
    assert gross.points.value == 1
    assert gross.points_by_chance is not None
    assert 0.15 < gross.points_by_chance < 0.9
    shifts = [by_name[kind, level].shift.value or 0 for kind in ("squares", "noise") for level in (2, 4)]
    assert shifts[0] < shifts[1]
    assert shifts[2] < shifts[3]
    assert by_name["noise", 4].points.value is None


def test_order_and_company_of_the_cases_change_nothing(fitted: Detector, cases: tuple[Case, ...]) -> None:
    settings = {"kinds": ("text",), "levels": (3,), "rate": 0.1, "replicates": 0}
    one = measure_robustness(fitted, cases, **settings).to_dict()
    other = measure_robustness(fitted, cases[::-1], workers=1, **settings).to_dict()
    assert one == other


def test_peaks_are_looked_up_on_the_maps_own_grid() -> None:
    """A predictor whose map peaks at a known place, three times coarser than the image."""
    image = np.full((1, 1, 48, 48), 0.5, np.float32)
    place = case_seed(image, 0)
    mask = add_artefact(image[0], "squares", 4, place).mask
    assert mask is not None
    blocks = mask.reshape(16, 3, 16, 3).any(axis=(1, 3))

    def peak_at(target: tuple[int, int]) -> np.ndarray:
        heat = np.zeros((16, 16), np.float32)
        heat[target] = 1
        predict = lambda images: (np.repeat(heat[None], len(images), axis=0), np.ones(len(images)), None)  # noqa: E731
        return score_conditions(predict, image, [(UNTOUCHED, 0), ("squares", 4)], 0)

    on, off = tuple(np.argwhere(blocks)[0]), tuple(np.argwhere(~blocks)[0])
    assert peak_at(on)[1].tolist() == pytest.approx([1, 1, blocks.mean()])
    assert peak_at(off)[1].tolist() == pytest.approx([1, 0, blocks.mean()])
    assert np.isnan(peak_at(on)[0, 1:]).all()


def test_a_volume_scores_as_its_most_anomalous_slice_and_bears_one_artefact() -> None:
    volume = np.random.default_rng(0).uniform(size=(5, 1, 32, 32)).astype(np.float32)
    seen: list[np.ndarray] = []

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, None]:
        seen.extend(images)
        return np.zeros((len(images), 4, 4), np.float32), images.mean(axis=(1, 2, 3)), None

    found = score_conditions(predict, volume, [(UNTOUCHED, 0), ("squares", 3)], 0)
    assert found[0, 0] == pytest.approx(volume.mean(axis=(1, 2, 3)).max(), rel=1e-5)
    altered = np.array(seen[5:])
    places = (altered != volume).any(axis=1)
    assert np.array_equal(places, np.repeat(places[:1], 5, axis=0))


def test_a_case_that_cannot_be_read_is_reported_and_the_rest_measured(
    fitted: Detector, cases: tuple[Case, ...], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    mixed = (Case(str(broken), label=0), *cases[:2], *cases[-2:])
    found = measure_robustness(fitted, mixed, kinds=("noise",), levels=(1,), rate=0.1, replicates=0)
    assert [path for path, _ in found.failures] == [str(broken)]
    assert found.counts["cases"] == 4
    with pytest.raises(UsageError, match=r"none of the 1 cases could be scored; the first: .*broken\.png"):
        measure_robustness(fitted, mixed[:1], kinds=("noise",), levels=(1,))


def test_one_class_and_too_few_normals_leave_metrics_undefined_with_the_reason(
    fitted: Detector, cases: tuple[Case, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    normals = [case for case in cases if case.label == 0][:3]
    abnormal = [case for case in cases if case.label == 1][:3]
    settings = {"kinds": ("squares",), "levels": (2,), "replicates": 0}
    only = measure_robustness(fitted, normals, rate=0.1, **settings).conditions[1]
    assert only.auroc.value is None
    assert only.false_alarms.value is not None
    without = measure_robustness(fitted, abnormal, rate=0.1, **settings).conditions[1]
    for interval in (without.auroc, without.false_alarms, without.shift, without.points):
        assert interval.value is None
        assert interval.reason
    assert without.sensitivity.value is not None
    monkeypatch.setattr(fitted, "calibration_", Calibration(np.ones(4)))
    few = measure_robustness(fitted, normals, **settings).conditions[1]
    assert "too few" in (few.false_alarms.reason or "")
    assert "do not vary" in (few.shift.reason or "")
    json.dumps(measure_robustness(fitted, normals, **settings).to_dict(), allow_nan=False)


def test_wrong_requests_are_refused(fitted: Detector, cases: tuple[Case, ...]) -> None:
    with pytest.raises(UsageError, match="unknown artefact 'blur'"):
        measure_robustness(fitted, cases, kinds=("blur",))
    with pytest.raises(UsageError, match="unknown artefact level 9"):
        measure_robustness(fitted, cases, levels=(9,))
    with pytest.raises(UsageError, match="labelled cases"):
        measure_robustness(fitted, [replace(cases[0], label=None)])
    with pytest.raises(UsageError, match="at least one artefact"):
        conditions(["noise"], [0])


def test_mean_interval_against_hand_and_theory() -> None:
    values = np.random.default_rng(0).normal(2, 1, 400)
    names = [str(i) for i in range(400)]
    found = mean_interval(values, names)
    assert found.value == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    # Four copies of each patient's value say nothing new.
    copies = mean_interval(np.repeat(values, 4), [name for name in names for _ in range(4)])
    assert (copies.low, copies.high) == pytest.approx((found.low, found.high))
    assert mean_interval(np.ones(3), ["a", "a", "a"]).low is None
    assert mean_interval(values, names, replicates=0).low is None


def test_figures_show_every_kind(fitted: Detector, cases: tuple[Case, ...], result: Robustness) -> None:
    figure = robustness_figure(result)
    assert [len(axes.lines) for axes in figure.axes] == [3, 3, 3]  # two kinds and the reference
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["squares", "noise"]
    drawn = artefact_figure(fitted, cases[0], kinds=("text",), levels=(1, 3), rate=0.1)
    assert len(drawn.axes) == 6
    assert drawn.axes[1].get_title().startswith("1\np = ")
