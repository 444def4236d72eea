"""Methods that learn from labels: what they are given, and that the normals stay divided as for every other method."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from training_toys import AutoencoderToy, LabelledToy, make, pictures, same

from unremarkable.datasets.case import Case, Dataset
from unremarkable.errors import UsageError
from unremarkable.training.batches import Labelled, few
from unremarkable.training.estimate import expected_seconds
from unremarkable.training.labelled import Supervised, choose_labelled, divide_cases, images_of
from unremarkable.training.loop import train
from unremarkable.training.plan import choose_normals, divide
from unremarkable.training.settings import Augment, TrainSettings

SETTINGS = TrainSettings(seed=1, device="cpu", precision="32")


def labelled(count: int, seed: int = 0) -> Labelled:
    """Pictures, every third of them abnormal."""
    return Labelled(pictures(count, seed), (np.arange(count) % 3 == 0).astype(np.float32))


# --- the loop ---


def test_every_image_comes_with_its_own_label() -> None:
    method, data = make(LabelledToy, epochs=2, batch_size=4), labelled(12)
    train(method, data, labelled(7, seed=1), SETTINGS)
    label_of = dict(zip(data.images.mean((1, 2, 3)).tolist(), data.labels.tolist(), strict=True))
    for images, labels in method.given:
        found = images.mean((1, 2, 3)).tolist()
        assert [min(label_of, key=lambda mean, f=f: abs(mean - f)) for f in found] == pytest.approx(found)
        nearest = [label_of[min(label_of, key=lambda mean, f=f: abs(mean - f))] for f in found]
        assert nearest == labels.tolist()
    assert sum(len(labels) for _, labels in method.given) == 24
    assert torch.equal(method.counts, torch.from_numpy(data.labels)), "collected in order"
    assert torch.equal(method.held, torch.from_numpy(labelled(7).labels)), "of the held-out images"


def test_the_held_out_loss_is_that_of_images_and_labels() -> None:
    method, held = make(LabelledToy, epochs=1, batch_size=4), labelled(7, seed=1)
    history = train(method, labelled(12), held, SETTINGS)
    with torch.no_grad():
        expected = method.labelled_loss(torch.from_numpy(held.images), torch.from_numpy(held.labels)).mean()
    assert history.phases[1].epochs[0].held_out == pytest.approx(float(expected), rel=1e-5)


def test_images_are_moved_and_labels_are_not() -> None:
    plain, moved = (make(LabelledToy, epochs=1, batch_size=12) for _ in range(2))
    train(plain, labelled(12), None, SETTINGS)
    train(moved, labelled(12), None, replace(SETTINGS, augment=Augment()))
    assert torch.equal(plain.given[0][1], moved.given[0][1])
    assert not torch.equal(plain.given[0][0], moved.given[0][0])


@pytest.mark.parametrize("fails_at", [2, 5, 9])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path, fails_at: int) -> None:
    options = {"epochs": 4, "batch_size": 4}
    broken, resumed, whole = (make(LabelledToy, **options) for _ in range(3))
    step = broken._step

    def fail(*arguments: object) -> object:
        if len(broken.given) == fails_at:
            raise KeyboardInterrupt
        return step(*arguments)

    broken._step = fail
    with pytest.raises(KeyboardInterrupt):
        train(broken, labelled(12), labelled(5, seed=1), SETTINGS, run=tmp_path)
    train(resumed, labelled(12), labelled(5, seed=1), SETTINGS, run=tmp_path)
    train(whole, labelled(12), labelled(5, seed=1), SETTINGS)
    assert same(resumed, whole)
    assert len(resumed.given) == 12 - fails_at // 3 * 3


def test_labels_go_to_methods_that_need_them_and_to_no_other() -> None:
    with pytest.raises(ValueError, match="labels if, and only if"):
        train(make(AutoencoderToy), labelled(6), None, SETTINGS)
    with pytest.raises(ValueError, match="labels if, and only if"):
        train(make(LabelledToy), pictures(6), None, SETTINGS)
    with pytest.raises(ValueError, match="5 labels for 6 images"):
        Labelled(pictures(6), np.zeros(5, np.float32))


def test_the_time_is_taken_on_both_classes() -> None:
    data = Labelled(pictures(9), np.repeat(np.float32([0, 1]), [7, 2]))
    sample = few(data, 4)
    assert isinstance(sample, Labelled)
    assert sample.labels.tolist() == [0, 0, 1, 1]
    assert len(few(Labelled(pictures(3), np.zeros(3, np.float32)), 8)) == 3
    assert expected_seconds(make(LabelledToy), data, SETTINGS, labelled(4)) > 0


# --- which cases ---


def dataset(splits: bool = False) -> Dataset:
    """40 patients: 20 with normals, 10 with both, 10 with lesions; two images of each kind."""
    cases = []
    for patient in range(40):
        for label in (0, 1):
            if (label and patient < 20) or (not label and patient >= 30):
                continue
            split = ("test" if patient % 5 == 4 else "val" if patient % 5 == 3 else "train") if splits else None
            name = f"{label}-{patient}"
            cases += [Case(f"/set/{name}-{image}.png", label, split=split, patient=f"p{patient}") for image in "ab"]
    return Dataset("set", Path("/set"), tuple(cases), "folders")


def packed(chosen: Supervised, unreadable: int | None = None) -> SimpleNamespace:
    """As if every case had been packed, one image each."""
    count = len(chosen.cases)
    owners = np.array([index for index in range(count) if index != unreadable])
    digests = tuple(case.path for case in chosen.cases)
    return SimpleNamespace(
        case_of=owners, digests=digests, of=lambda part: Rows(np.flatnonzero(np.isin(owners, np.asarray(part))))
    )


class Rows:
    def __init__(self, index: np.ndarray) -> None:
        self.index = index

    def __len__(self) -> int:
        return len(self.index)


@pytest.mark.parametrize("splits", [False, True])
@pytest.mark.parametrize("stops_early", [False, True])
def test_abnormal_cases_follow_their_patients_and_normals_stay_as_they_were(splits: bool, stops_early: bool) -> None:
    chosen = choose_labelled(dataset(splits), "auto", 0, "toy")
    normals = choose_normals(dataset(splits), "auto", 0)
    assert (chosen.training, chosen.validation) == (normals.training, normals.validation)
    data = packed(chosen)
    options = {"stops_early": stops_early, "seed": 0, "insist": False}
    before = divide(normals, data, 5, **options)
    parts = divide_cases(chosen, data, 5, **options).parts
    at = {name: [chosen.cases[index] for index in indices] for name, indices in parts.items()}
    assert parts["calibration"] == before["calibration"]
    for name in ("training", "validation"):
        assert [i for i in parts[name] if not chosen.cases[i].label] == list(before[name])
    patients = [{case.patient for case in part} for part in at.values()]
    assert not patients[0] & patients[1]
    assert not patients[2] & (patients[0] | patients[1])
    assert any(case.label for case in at["training"])
    assert any(case.label for case in at["validation"]) == stops_early
    assert not any(case.split == "test" for case in chosen.cases)


def test_what_calibration_costs_is_said() -> None:
    chosen = choose_labelled(dataset(), "none", 0, "toy")
    division = divide_cases(chosen, packed(chosen), 20, stops_early=True, seed=0, insist=False)
    held = {chosen.cases[i].patient for i in division.parts["calibration"]}
    lost = sum(case.label == 1 and case.patient in held for case in chosen.cases)
    assert lost > 0
    assert any(note.startswith(f"{lost} abnormal cases are left out") for note in division.notes)


def test_a_copy_of_a_calibration_normal_is_not_learnt_as_abnormal() -> None:
    whole = dataset()
    cases = tuple(replace(case, patient=None) for case in whole)
    chosen = choose_labelled(replace(whole, cases=cases), "none", 0, "toy")
    data = packed(chosen)
    first = divide_cases(chosen, data, 5, stops_early=False, seed=0, insist=False)
    copied = first.parts["training"][-1]
    assert chosen.cases[copied].label == 1
    digests = list(data.digests)
    digests[copied] = digests[first.parts["calibration"][0]]
    data.digests = tuple(digests)
    again = divide_cases(chosen, data, 5, stops_early=False, seed=0, insist=False)
    assert again.parts["calibration"] == first.parts["calibration"]
    assert copied not in again.parts["training"]


def test_images_carry_the_label_of_their_case_and_unreadable_ones_are_missing() -> None:
    chosen = choose_labelled(dataset(), "none", 0, "toy")
    data = packed(chosen, unreadable=len(chosen.cases) - 1)
    parts = divide_cases(chosen, data, 5, stops_early=True, seed=0, insist=False).parts
    assert len(chosen.cases) - 1 not in {index for part in parts.values() for index in part}
    images = images_of(chosen, data, parts["training"])
    assert isinstance(images, Labelled)
    assert images.labels.tolist() == [chosen.cases[index].label for index in parts["training"]]


def test_too_few_to_hold_any_out_is_said() -> None:
    whole = dataset()
    lesion = next(case for case in whole if case.patient == "p35")
    cases = (*(case for case in whole if case.patient < "p2" and not case.label), lesion)
    chosen = choose_labelled(replace(whole, cases=cases), "none", 0, "toy")
    division = divide_cases(chosen, packed(chosen), 3, stops_early=True, seed=0, insist=False)
    assert "early stopping goes by normals alone" in division.notes[-1]
    assert len(cases) - 1 in division.parts["training"]


def test_without_labels_it_says_what_is_missing() -> None:
    whole = dataset(splits=True)
    unlabelled = tuple(replace(case, label=None) for case in whole)
    with pytest.raises(UsageError, match=r"toy needs labels: /set has none .*--abnormal"):
        choose_labelled(replace(whole, cases=unlabelled), "auto", 0, "toy")
    normals = tuple(case for case in whole if not case.label)
    with pytest.raises(UsageError, match=r"toy needs labels: /set has no abnormal cases to learn from .*--abnormal"):
        choose_labelled(replace(whole, cases=normals), "auto", 0, "toy")
    tested = tuple(case for case in whole if not case.label or case.split == "test")
    with pytest.raises(UsageError, match=r"no abnormal cases to learn from: all 8 .*--split 70/15/15"):
        choose_labelled(replace(whole, cases=tested), "auto", 0, "toy")
    some = tuple(replace(case, label=case.label or None) for case in whole)
    with pytest.raises(UsageError, match="no normal cases"):
        choose_labelled(replace(whole, cases=some), "auto", 0, "toy")
