"""MKD: its equations by hand, its gradient maps against finite differences, and what may move and what may not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter, grey_opening
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods.base import Collect, Phase
from unremarkable.methods.mkd import MKD, MKDOptions, opened, terms
from unremarkable.methods.registry import make_options, method_class

SIDE = 64


def build(size: tuple[int, int] = (SIDE, SIDE), **options: Any) -> MKD:
    torch.manual_seed(0)
    return MKD(MKDOptions(**{"direction_weight": 3.0} | options), size, 1).eval()


def images(count: int) -> Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def pairs(method: MKD, batch: Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    """Activations at all four critical points, fetched without the method's own help."""
    normalised = (batch.expand(-1, 3, -1, -1) - method.source.backbone.mean) / method.source.backbone.std
    clones = method.cloner(normalised)
    return [(s.double().numpy(), c.double().numpy()) for s, c in zip(method.source(batch), clones, strict=True)]


def total(of: list[tuple[np.ndarray, np.ndarray]], weight: float) -> np.ndarray:
    """Eq. 1, 3 and 4 for each image, one after the other."""
    losses = []
    for n in range(len(of[0][0])):
        vectors = [(s[n].ravel(), c[n].ravel()) for s, c in of]
        values = sum(((s - c) ** 2).sum() / s.size for s, c in vectors)
        directions = sum(1 - s @ c / np.sqrt((s @ s) * (c @ c)) for s, c in vectors)
        losses.append(values + weight * directions)
    return np.array(losses)


def test_is_registered_and_reads_its_options_from_text() -> None:
    assert method_class("mkd") is MKD
    options = make_options(MKD, {"cloner": "equal", "direction-weight": "none", "map": "gbp"})
    assert options == MKDOptions(cloner="equal", map="gbp")


def test_the_papers_example_of_why_direction_counts() -> None:
    """Section 3: two clones equally far from the source, one across and one along it."""
    root = 2**0.5
    source = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    for clone, direction in (([0.0, 0.0, 1.0], 1.0), ([0.0, root + 1, 0.0], 0.0)):
        values, directions = terms([(source, torch.tensor(clone).view(1, 3, 1, 1))])
        torch.testing.assert_close(values, torch.tensor([2 / 3]))
        torch.testing.assert_close(directions, torch.tensor([direction]))


@pytest.mark.parametrize("scored", [3, 4])
def test_score_and_map_by_hand(scored: int) -> None:
    method = build(scored=scored)
    batch = images(2)
    compared = pairs(method, batch)[-scored:]
    expected = np.zeros((2, 1, SIDE, SIDE))
    for s, c in compared:
        cosine = (s * c).sum(1) / np.sqrt((s**2).sum(1) * (c**2).sum(1))
        local = torch.from_numpy(((s - c) ** 2).mean(1) + 3 * (1 - cosine))
        expected += F.interpolate(local[:, None], (SIDE, SIDE), mode="bilinear").numpy()
    with torch.no_grad():
        prediction = method.predict(batch)
    np.testing.assert_allclose(prediction.score, total(compared, 3.0), rtol=1e-5)
    np.testing.assert_allclose(prediction.map, expected, rtol=1e-4)


def test_training_compares_all_critical_points_and_moves_the_cloner_alone() -> None:
    method = build().train()
    (phase,) = method.phases()
    assert isinstance(phase, Phase)
    assert phase.validate is not None
    assert not method.source.backbone.training
    before = {key: value.clone() for key, value in method.state_dict().items()}
    (optimizer,) = phase.optimizers().values()
    assert optimizer.param_groups[0]["lr"] == 1e-3
    seen = []

    def update(_: str, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen.append(loss.item())

    batch = images(4)
    for _ in range(4):
        losses = phase.step(batch, update)  # type: ignore[arg-type]
    assert seen[-1] < seen[0]
    assert float(losses["loss"]) == pytest.approx(float(losses["values"] + 3 * losses["direction"]), rel=1e-5)
    moved = {key for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert {key.split(".")[0] for key in moved} == {"cloner"}

    method.eval()
    with torch.no_grad():
        np.testing.assert_allclose(phase.validate(batch), total(pairs(method, batch), 3.0), rtol=1e-5)


def test_the_weight_brings_both_terms_to_one_size() -> None:
    method = build(direction_weight=None)
    batch = images(6)
    first, _ = method.phases()
    assert isinstance(first, Collect)
    before = pairs(method, batch)
    with torch.no_grad():
        first.collect(iter(batch.split(4)))
    values, both = total(before, 0.0).sum(), total(before, float(method.weight)).sum()
    assert both == pytest.approx(2 * values, rel=1e-5)


def test_a_gradient_map_is_the_scores_slope() -> None:
    """Eq. 5 by differences of the score, along the gradient's left and right half."""
    method = build(map="gradients")
    image = images(1)
    _, gradient = method._gradient(image)
    left, right = gradient.clone(), gradient.clone()
    left[..., SIDE // 2 :] = 0
    right[..., : SIDE // 2] = 0
    for half in (left, right):
        direction = half / half.norm()
        with torch.no_grad():
            up, down = (method.loss(image + step * direction, 3).double() for step in (1e-2, -1e-2))
        assert float((up - down) / 2e-2) == pytest.approx(float(half.norm()), rel=0.03)


def test_guided_backpropagation_keeps_what_is_positive_at_each_relu_of_the_cloner() -> None:
    image = images(1)
    guided, plain = build(map="gbp"), build(map="gradients")
    hooked = build(map="gradients")
    for module in hooked.cloner.modules():
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(lambda _, __, out: out.register_hook(lambda g: g.clamp_min(0)) and None)
    _, found = guided._gradient(image)
    torch.testing.assert_close(found, hooked._gradient(image)[1])
    assert not torch.allclose(found, plain._gradient(image)[1])


def test_a_gradient_map_is_smoothed_and_opened() -> None:
    """Eq. 6 with scipy's filters and a cross, the ellipse of 3 x 3 pixels."""
    method = build(map="gradients")
    batch = images(2)
    prediction = method.predict(batch)
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    for image, found in zip(batch.split(1), prediction.map, strict=True):
        saliency = method._gradient(image)[1].abs().sum(1)[0].numpy()
        expected = grey_opening(gaussian_filter(saliency, 4), footprint=cross)
        np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(prediction.score, total(pairs(method, batch)[-3:], 3.0), rtol=1e-5)


@pytest.mark.parametrize("kind", ["gradients", "smoothgrad", "gbp"])
def test_gradient_maps_do_not_depend_on_the_batch(kind: str) -> None:
    method = build(map=kind, noise_samples=2)
    batch = images(3)
    with torch.no_grad():
        together, alone = method.predict(batch), [method.predict(image) for image in batch.split(1)]
        assert torch.equal(together.map, torch.cat([each.map for each in alone]))
        assert torch.equal(together.map, method.predict(batch).map)
    assert not together.map.requires_grad
    assert all(parameter.grad is None for parameter in method.parameters())


def test_opening_takes_away_what_is_smaller_than_a_cross() -> None:
    maps = torch.zeros(1, 1, 9, 9)
    maps[0, 0, 1, 1] = 5.0  # one pixel
    maps[0, 0, 4:7, 5] = maps[0, 0, 5, 4:7] = 2.0  # a cross
    cleaned = opened(maps)
    assert cleaned[0, 0, 1, 1] == 0
    assert torch.equal(cleaned[0, 0, 3:], maps[0, 0, 3:])


def test_smoothgrad_is_the_mean_over_copies_with_five_percent_of_noise() -> None:
    method = build(map="smoothgrad", noise_samples=4, sigma=0.0)
    image = 0.2 + 0.5 * images(1)
    span = float(image.max() - image.min())
    copies = list(method._noisy(image))
    noise = torch.stack(copies) - image
    assert float(noise.std()) == pytest.approx(0.05 * span, rel=0.05)
    assert not torch.equal(copies[0], copies[1])
    gradient = torch.stack([method._gradient(copy)[1] for copy in copies]).mean(0)
    torch.testing.assert_close(method.predict(image).map, opened(gradient.abs()))


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": "vgg16"},
        {"backbone": "vgg16", "cloner": "equal", "map": "gradients"},
        {"cloner": "equal", "map": "gbp"},
        {"backbone": "resnet18", "cloner": "equal"},
    ],
    ids=str,
)
def test_other_sources_and_cloners(options: dict[str, Any]) -> None:
    """On random weights: those of VGG and ResNet do not come with the installation."""
    method = build(**options)
    with torch.no_grad():
        prediction = method.predict(images(2))
        left, right = method.feature_pairs(images(2))
    assert prediction.map.shape == (2, 1, SIDE, SIDE)
    assert prediction.score.isfinite().all()
    assert left.shape == right.shape == (2, sum(method.source.channels), 2, 2)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"cloner": "tiny"}, "unknown cloner"),
        ({"map": "gradient"}, "did you mean 'gradients'"),
        ({"scored": 3, "critical": 2}, "1 ≤ scored ≤ critical ≤ 4"),
        ({"direction_weight": -1.0}, "direction_weight"),
        ({"sigma": -1.0}, "sigma"),
        ({"noise_samples": 0}, "noise_samples must be positive"),
        ({"size": (32, 64)}, "at least 64"),
        ({"size": (96, 72)}, "that 32 divides"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        build(**options)
