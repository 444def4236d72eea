from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from unremarkable import Detector, UsageError
from unremarkable.datasets.find import find_dataset
from unremarkable.methods.classifier import Classifier, ClassifierOptions, best_youden
from unremarkable.scoring.thresholds import youden
from unremarkable.training.batches import Labelled
from unremarkable.training.loop import train
from unremarkable.training.settings import TrainSettings


def build(**options: object) -> Classifier:
    """With a last layer that has an opinion; it starts at zero."""
    torch.manual_seed(0)
    method = Classifier(ClassifierOptions(**options), (64, 64), 1)
    last = next(module for name, module in method.head.named_modules() if name.endswith("linear"))
    assert not last.weight.any()
    assert not last.bias.any()
    with torch.no_grad():
        last.weight.normal_(0.002, 0.005)
    return method


@pytest.fixture(scope="module")
def plain() -> Classifier:
    return build().eval()


def logits_of(method: Classifier, images: Tensor) -> Tensor:
    with torch.no_grad():
        return method.head(method.backbone(images)[0])


# --- loss ---


def test_the_loss_is_the_weighted_cross_entropy(plain: Classifier) -> None:
    method = copy.deepcopy(plain)
    labels = torch.tensor([0.0, 0, 0, 1])
    method._weigh([(torch.zeros(3), labels[:3]), (torch.zeros(1), labels[3:])])
    assert method.weights.tolist() == pytest.approx([4 / (2 * 3), 4 / (2 * 1)])
    images = torch.rand(4, 1, 64, 64)
    p = 1 / (1 + np.exp(-logits_of(method, images).double().numpy()))
    expected = [-2 / 3 * math.log(1 - p[0]), -2 / 3 * math.log(1 - p[1]), -2 / 3 * math.log(1 - p[2])]
    expected.append(-2 * math.log(p[3]))
    with torch.no_grad():
        np.testing.assert_allclose(method._loss(images, labels).numpy(), expected, rtol=1e-4)


def test_without_class_weights_every_image_counts_alike() -> None:
    method = build(class_weights=False)
    assert [phase.name for phase in method.phases()] == ["classification", "threshold"]
    assert method.weights.tolist() == [1, 1]


def test_training_images_of_one_class_are_refused(plain: Classifier) -> None:
    with pytest.raises(UsageError, match="classifier needs labels"):
        copy.deepcopy(plain)._weigh([(torch.zeros(2), torch.ones(2))])


def test_adam_as_published_over_everything(plain: Classifier) -> None:
    (adam,) = plain._optimizers().values()
    assert isinstance(adam, torch.optim.Adam)
    assert adam.defaults["lr"] == 1e-4
    assert adam.defaults["weight_decay"] == 0
    assert len(adam.param_groups[0]["params"]) == len(list(plain.parameters()))
    train_phase = plain.phases()[1]
    assert (train_phase.patience, train_phase.batch_size, train_phase.epochs) == (10, 32, 50)
    assert plain.backbone.net._conv_head.out_channels == plain.head.linear.in_features == 1280


# --- score and map ---


def test_the_score_is_the_logit_and_does_not_saturate(plain: Classifier) -> None:
    images = torch.rand(5, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(plain.predict(images).score, logits_of(plain, images), rtol=1e-5, atol=1e-5)
    sure = copy.deepcopy(plain)
    with torch.no_grad():
        sure.head.linear.bias.fill_(50.0)
        scores = sure.predict(images).score
    assert scores.sigmoid().unique().numel() == 1, "as probabilities they are all 1"
    assert scores.unique().numel() == 5


@pytest.mark.parametrize("explanation", ["grad-cam", "grad-cam++"])
def test_the_map_of_the_plain_head_by_hand(plain: Classifier, explanation: str) -> None:
    method = copy.deepcopy(plain)
    method.options = replace(method.options, explanation=explanation)
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        found = method.predict(images).map[:, 0].double().numpy()
        features = method.backbone(images)[0].double().numpy()
    # The gradient of a mean and a linear layer is w_k / (h w) everywhere.
    gradient = method.head.linear.weight[0].detach().double().numpy() / features[0, 0].size
    if explanation == "grad-cam":
        weights = np.broadcast_to(gradient, (2, len(gradient)))
    else:
        g, total = gradient, features.sum((2, 3))
        weights = g**2 / (2 * g**2 + total * g**3) * np.maximum(g, 0) * features[0, 0].size
    expected = np.einsum("nk,nkhw->nhw", weights, features).clip(0)
    assert expected.max() > 0
    probability = 1 / (1 + np.exp(-logits_of(method, images).double().numpy()))
    expected *= (probability / expected.max((1, 2)))[:, None, None]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("attention", ["se", "transformer"])
def test_the_gradient_through_attention_is_the_true_one(attention: str) -> None:
    method = build(attention=attention, backbone="resnet18", width=16, heads=2).eval()
    images = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        features = method.backbone(images)[0].double()
        head = copy.deepcopy(method.head).double()
        slopes = torch.zeros(features.numel(), dtype=torch.float64)
        for index in range(0, features.numel(), 31):  # by finite differences
            step = torch.zeros(features.numel(), dtype=torch.float64)
            step[index] = 1e-5
            step = step.reshape(features.shape)
            slopes[index] = (head(features + step) - head(features - step)) / 2e-5
    probe = features.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(head(probe).sum(), probe)
    torch.testing.assert_close(slopes[::31], gradient.reshape(-1)[::31], rtol=1e-4, atol=1e-8)
    expected = (gradient.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).clamp_min(0)
    expected *= head(features).detach().sigmoid() / expected.max()
    with torch.no_grad():
        torch.testing.assert_close(method.predict(images).map.double(), expected, rtol=1e-3, atol=1e-6)


def test_its_operations_can_be_counted(plain: Classifier) -> None:
    from unremarkable.benchmark.measure import flops

    assert flops(plain) > 1e7


@pytest.mark.parametrize("backbone", ["resnet50", "densenet121", "efficientnet-lite1"])
def test_the_papers_backbones(backbone: str) -> None:
    method = build(backbone=backbone).eval()
    with torch.no_grad():
        prediction = method.predict(torch.rand(2, 1, 64, 64))
    assert prediction.map.shape == (2, 1, 2, 2)
    assert prediction.score.isfinite().all()


def test_weights_that_are_not_here_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNREMARKABLE_CACHE", str(tmp_path))
    monkeypatch.delenv("UNREMARKABLE_WEIGHTS", raising=False)
    with pytest.raises(UsageError, match=r"no densenet121-a639ec97\.pth .*unremarkable weights get densenet121"):
        build(backbone="densenet121").prepare()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"dropout": 1.0}, "dropout"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"epochs": 0}, "epochs"),
        ({"width": 20, "heads": 8}, "width"),
    ],
)
def test_options_out_of_range(option: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Detector("classifier", **option)


# --- threshold ---


def test_the_threshold_is_the_one_of_the_reporting_mode() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores, labels = rng.integers(0, 8, 30) / 2, rng.random(30) < 0.4
        found = best_youden(torch.from_numpy(scores), torch.from_numpy(labels))
        assert ((scores > float(found[0])) == (scores > youden(scores, labels, source="made").value)).all()
        assert float(found[1]) == pytest.approx((scores > float(found[0]))[labels].mean())
        assert float(found[2]) == pytest.approx((scores <= float(found[0]))[~labels].mean())


def test_the_threshold_by_hand() -> None:
    scores = torch.tensor([0.0, 1, 2, 3, 4])
    abnormal = torch.tensor([False, False, True, False, True])
    # above 1.5: 2 of 2 found, 2 of 3 spared; above 3.5: 1 of 2, 3 of 3
    assert best_youden(scores, abnormal).tolist() == pytest.approx([1.5, 1, 2 / 3])
    assert best_youden(scores, abnormal | True).numel() == 0


# --- learning ---


def squares(count: int, seed: int) -> tuple[Labelled, list[tuple[int, int]]]:
    """Grey noise of 128 pixels; every second image with a bright square of 32, whose corner is told."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0.4, 0.08, (count, 1, 128, 128)).clip(0, 1).astype(np.float32)
    corners = []
    for index in range(count):
        row, column = (int(at) for at in rng.integers(0, 97, 2))
        corners.append((row, column))
        if index % 2:
            images[index, 0, row : row + 32, column : column + 32] = 0.95
    return Labelled(images, (np.arange(count) % 2).astype(np.float32)), corners


@pytest.fixture(scope="module")
def trained() -> Classifier:
    torch.manual_seed(0)
    method = Classifier(ClassifierOptions(epochs=3, batch_size=8, learning_rate=1e-3), (128, 128), 1)
    method.prepare()
    train(method, squares(32, 0)[0], squares(8, 1)[0], TrainSettings(device="cpu", precision="32"))
    return method


@pytest.mark.parametrize("explanation", ["grad-cam", "grad-cam++"])
def test_the_map_of_a_planted_bright_square_lies_on_the_square(trained: Classifier, explanation: str) -> None:
    method = copy.deepcopy(trained)
    method.options = replace(method.options, explanation=explanation)
    data, corners = squares(16, 2)
    with torch.no_grad():
        prediction = method.predict(torch.from_numpy(data.images))
    scores = prediction.score.numpy()
    assert scores[1::2].min() > scores[::2].max(), "it tells the classes apart"
    maps = torch.nn.functional.interpolate(prediction.map, (128, 128), mode="bilinear")[:, 0].numpy()
    hits = 0
    for index in range(1, 16, 2):
        row, column = corners[index]
        peak = np.unravel_index(maps[index].argmax(), (128, 128))
        # A location of the map stands for 32 pixels: its centre may lie half of that beside the square.
        hits += row - 16 <= peak[0] < row + 48 and column - 16 <= peak[1] < column + 48
        on_it = np.zeros((128, 128), bool)
        on_it[row : row + 32, column : column + 32] = True
        assert maps[index][on_it].mean() > 1.3 * maps[index][~on_it].mean()
    assert hits >= 7
    assert maps[1::2].mean() > 1.5 * maps[::2].mean()


def test_what_was_settled_is_kept_with_the_weights(trained: Classifier) -> None:
    settled = trained.settled()
    assert settled["sensitivity at the Youden threshold"] == settled["specificity at the Youden threshold"] == 1
    threshold = settled["Youden threshold"]
    assert settled["Youden threshold as a probability"] == pytest.approx(1 / (1 + math.exp(-threshold)), rel=1e-5)
    again = Classifier(trained.options, (128, 128), 1)
    assert again.settled() == {}
    again.load_weights(trained.state_dict())
    assert again.settled() == settled


def test_ranking_holds_in_bfloat16(trained: Classifier) -> None:
    images = torch.from_numpy(squares(24, 3)[0].images)
    with torch.no_grad():
        exact = trained.predict(images).score
        with torch.autocast("cpu", torch.bfloat16):
            half = trained.predict(images).score
    assert half.dtype == torch.float32
    ranks = [scores.argsort().argsort().double() for scores in (exact, half)]
    assert torch.corrcoef(torch.stack(ranks))[0, 1] > 0.97
    assert half.unique().numel() == 24


# --- as a user meets it ---


@pytest.fixture(scope="module")
def folder(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated slices without a split: 60 normals and 8 with lesions."""
    root = tmp_path_factory.mktemp("labelled")
    for name, source in (("normal", "train/normal"), ("lesion", "test/lesion")):
        (root / name).mkdir()
        for file in sorted((phantoms / source).glob("*.png")):
            (root / name / file.name).write_bytes(file.read_bytes())
    return root


def test_fit_save_load_and_score(folder: Path, tmp_path: Path) -> None:
    detector = Detector("classifier", size=32, epochs=1, batch_size=8, device="cpu").fit(folder)
    plan = dict(detector.plan_.lines())
    assert (detector.plan_.abnormal_training, detector.plan_.abnormal_validation) == (6, 1)
    assert "with its 6 abnormal cases" in plan["cases"]
    assert f"({detector.plan_.abnormal_training} abnormal)" in plan["split"]
    assert plan["split"].endswith("normals for calibration")
    assert detector.manifest_["labels"]["training"] == "learnt from, and gone by for early stopping"
    assert detector.manifest_["settled"] == detector.method_.settled()

    knn = Detector("knn", size=32).fit(folder)
    assert knn.manifest_["data"]["calibration"] == detector.manifest_["data"]["calibration"]
    assert knn.plan_.abnormal_training == 0
    assert detector.map_range[1] == 1.0, "the strongest colour is a probability of 1"
    assert knn.map_range[1] != 1.0
    assert "cases" not in dict(knn.plan_.lines())

    loaded = Detector.load(detector.save(tmp_path / "model"))
    before, after = detector.score(folder), loaded.score(folder)
    assert [row.score for row in before] == [row.score for row in after]
    assert loaded.plan_ == detector.plan_


def test_normals_alone_are_a_clear_error(folder: Path, phantoms: Path) -> None:
    for data in (folder / "normal", phantoms):
        with pytest.raises(UsageError, match="classifier needs labels"):
            Detector("classifier", size=32).fit(data)


def test_methods_that_learn_from_normals_are_given_no_abnormal_image(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unremarkable import detector as module

    dataset = find_dataset(folder)
    abnormal = {case.path for case in dataset.select(label=1)}
    packed = []
    monkeypatch.setattr(module, "pack", lambda cases, *a, **k: packed.extend(cases) or pack(cases, *a, **k))
    from unremarkable.datasets.cache import pack

    Detector("knn", size=32).fit(dataset)
    assert packed
    assert not {case.path for case in packed} & abnormal
