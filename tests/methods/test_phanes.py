"""PHANES: its suspicion, threshold, losses and map in numpy, and what each phase moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.base import Collect, Phase
from unremarkable.methods.equalisation import equalise
from unremarkable.methods.holes import widened
from unremarkable.methods.phanes import PHANES, PHANESOptions

TINY = {"widths": (4, 6), "latent_dim": 3, "width": 4, "blocks": 1, "rates": (1, 2), "holes": (8, 12)}


def small(channels: int = 1, **options: Any) -> PHANES:
    torch.manual_seed(0)
    return PHANES(PHANESOptions(**TINY | options), (32, 32), channels)


class Difference(nn.Module):
    """Stands for the perceptual distance: the squared difference at each pixel."""

    def maps(self, images: Tensor, others: Tensor) -> Tensor:
        return (images - others).square().mean(1, keepdim=True)


def perceived(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of `(C, H, W)`; 16 is four stages of vectors that are at most 4 apart."""
    return gaussian_filter(((a - b) ** 2).mean(0), 2, mode="reflect", truncate=4) / 16


@pytest.mark.parametrize("channels", [1, 3])
def test_suspicion_by_hand(channels: int) -> None:
    method = small(channels).eval()
    method.perceptual = Difference()
    images = torch.rand(2, channels, 32, 32)
    with torch.no_grad():
        found, rebuilt = method.suspicion(images)[:, 0].numpy(), method.rebuild(images)
    flat, flat_rebuilt = equalise(images).numpy(), equalise(rebuilt).numpy()
    for i in range(2):
        residual = np.abs(flat_rebuilt[i] - flat[i]).mean(0)
        largest = np.sort(residual, axis=None)[-51]  # 5 % of 1024 pixels are as large
        expected = np.minimum(residual / largest, 1) * perceived(images[i].numpy(), rebuilt[i].numpy())
        np.testing.assert_allclose(found[i], expected, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_no_more_of_the_held_out_pixels_lie_above_the_threshold(share: float) -> None:
    method = small(false_positives=share).eval()
    method.perceptual = Difference()
    images = torch.rand(5, 1, 32, 32)
    _, collect, _ = method.phases()
    assert isinstance(collect, Collect)
    assert collect.held_out
    with torch.no_grad():
        collect.collect(iter(images.split(2)))
        above = (torch.cat([method.suspicion(part) for part in images.split(2)]) > method.threshold).double()
    assert share - 0.001 < above.mean() <= share
    assert method.settled() == {"cut out above": float(method.threshold)}


@pytest.mark.parametrize("channels", [1, 3])
def test_map_and_reconstruction_by_hand(channels: int) -> None:
    method = small(channels).eval()
    method.perceptual = Difference()
    images = torch.rand(2, channels, 32, 32)
    with torch.no_grad():
        suspicion = method.suspicion(images)
        method.threshold = suspicion.flatten().quantile(0.9)
        mask = widened(suspicion, method.threshold)
        filled = method.inpainter(images * (1 - mask) + mask, mask).clamp(0, 1).numpy()
        prediction = method.predict(images)
    x, m = images.numpy(), mask.numpy()
    assert 0.1 < m.mean() < 0.9
    for i in range(2):
        healed = (1 - m[i]) * x[i] + m[i] * filled[i]
        np.testing.assert_allclose(prediction.reconstruction[i].numpy(), healed, rtol=1e-5, atol=1e-6)
        expected = np.abs(healed - x[i]).mean(0) * perceived(healed, x[i])
        np.testing.assert_allclose(prediction.map[i, 0].numpy(), expected, rtol=1e-3, atol=1e-8)
        assert float(prediction.score[i]) == pytest.approx(expected.mean(), rel=1e-3)


def test_what_is_not_suspicious_is_left_as_it_is() -> None:
    method, images = small().eval(), torch.rand(2, 1, 32, 32)
    method.threshold.fill_(1e6)
    with torch.no_grad():
        prediction = method.predict(images)
    assert torch.equal(prediction.reconstruction, images)
    assert (prediction.score == 0).all()


class Answer(nn.Module):
    """Stands for the discriminator: a quarter of the image's brightness."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(1, keepdim=True) / 4


class Distance(nn.Module):
    """Stands for content and style loss."""

    def forward(self, images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        return (images - others).square().mean(), (images.mean() - others.mean()).abs()


def test_inpainting_losses_by_hand() -> None:
    method = small(style_weight=3.0, content_weight=0.2, adversarial_weight=0.5)
    method.discriminator, method.style = Answer(), Distance()
    images, filled, mask = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32)
    x, y, m = (tensor.double().numpy() for tensor in (images, filled, mask))
    z = (1 - m) * x + m * y
    expected = np.abs(y - x).mean() + 3 * abs(y.mean() - x.mean()) + 0.2 * ((y - x) ** 2).mean()
    expected += 0.5 * (m * (z / 4 - 1) ** 2).sum() / m.sum()
    loss, parts = method._inpainter_loss(images, filled, torch.lerp(images, filled, mask), mask)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert parts["l1"].item() == pytest.approx(np.abs(y - x).mean(), rel=1e-5)

    soft = np.stack([gaussian_filter(1 - one[0], 10, mode="reflect", truncate=4)[None] for one in m])
    expected = ((z / 4 - soft) ** 2).mean() + ((x / 4 - 1) ** 2).mean()
    loss, told_apart = method._discriminator_loss(images, torch.lerp(images, filled, mask), mask)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert told_apart.item() == pytest.approx((m * (x - z) / 4).sum() / m.sum(), rel=1e-3, abs=1e-6)


def test_published_settings() -> None:
    options = PHANESOptions()
    assert (options.style_weight, options.content_weight, options.adversarial_weight) == (250, 0.1, 0.01)
    assert (options.width, options.blocks, options.rates, options.holes) == (64, 8, (1, 2, 4, 8), (20, 40))
    assert options.learning_rate == options.inpainting_learning_rate == 5e-5
    assert options.false_positives == 0.05


def test_training_masks_hold_a_rectangle_and_more_than_scoring_ones() -> None:
    method, images = small().train(), torch.rand(2, 1, 32, 32)
    method.perceptual = Difference()
    with torch.no_grad():
        suspicion = method.eval().suspicion(images)
        method.threshold = suspicion.flatten().quantile(0.95)
    method.train()
    mask = method._training_mask(images)
    assert (mask >= widened(suspicion, method.threshold) - 1e-5).all()
    assert ((mask == 1).sum((1, 2, 3)) >= 64).all(), "8 x 8 pixels at least"


class Recorder:
    """An `Update` that notes which networks each of its calls changed, weights and statistics, bit for bit."""

    def __init__(self, method: PHANES, phase: Phase) -> None:
        self.method, self.step, self.optimizers = method, 0, phase.optimizers()
        self.changed: list[tuple[str, set[str]]] = []

    def __call__(self, optimizer: str, loss: Tensor) -> None:
        before = {key: value.clone() for key, value in self.method.state_dict().items()}
        self.optimizers[optimizer].zero_grad()
        loss.backward()
        self.optimizers[optimizer].step()
        after = self.method.state_dict()
        moved = {key.split(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}
        self.changed.append((optimizer, moved))


@pytest.mark.parametrize(("index", "networks"), [(0, ["encoder", "decoder"]), (2, ["inpainter", "discriminator"])])
def test_each_step_moves_its_own_network(index: int, networks: list[str]) -> None:
    method = small().train()
    method.threshold.fill_(0.01)
    phase = method.phases()[index]
    assert isinstance(phase, Phase)
    update = Recorder(method, phase)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    losses = phase.step(torch.rand(4, 1, 32, 32), update)
    assert update.changed == [(network, {network}) for network in networks]
    after = method.state_dict()
    moved = {key.split(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}
    assert moved == set(networks), "no running statistics of the others either"
    assert {adversary.loss for adversary in phase.adversaries} <= losses.keys()
    assert all(p.requires_grad for name in networks for p in getattr(method, name).parameters())


def test_the_discriminator_teaches_the_generator() -> None:
    """With every other weight at zero, and the absolute error left, it is the discriminator's answer that differs."""
    gradients = []
    for weight in (0.0, 1.0):
        method = small(style_weight=0.0, content_weight=0.0, adversarial_weight=weight)
        filled = torch.full((1, 1, 32, 32), 0.5, requires_grad=True)
        images, mask = torch.full((1, 1, 32, 32), 0.2), torch.ones(1, 1, 32, 32)
        loss, _ = method._inpainter_loss(images, filled, torch.lerp(images, filled, mask), mask)
        gradients.append(torch.autograd.grad(loss, filled)[0])
    assert not torch.allclose(*gradients)


def test_validation_is_the_squared_error_of_the_healed_image() -> None:
    method, images = small().eval(), torch.rand(3, 1, 32, 32)
    method.threshold.fill_(0.01)
    phase = method.phases()[2]
    assert isinstance(phase, Phase)
    assert phase.validate is not None
    with torch.no_grad():
        expected = [np.mean((a - b) ** 2) for a, b in zip(images.numpy(), method.heal(images).numpy(), strict=True)]
        np.testing.assert_allclose(phase.validate(images).numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("options", [{"rates": (1, 8)}, {"holes": (8, 33)}])
def test_images_too_small_are_refused(options: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(UsageError, match=r"phanes with rates up to .* takes sides of at least 3[36]; not 32x32"):
        small(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"false-positives": "0"}, "false_positives lies between 0 and 1"),
        ({"holes": "20"}, "holes are the shortest and the longest side"),
        ({"holes": "20,10"}, "holes are the shortest and the longest side"),
        ({"rates": "1,2,4", "width": "4"}, "their number divides"),
        ({"rates": "0"}, "rates are at least 1"),
        ({"blocks": "0"}, "blocks must be at least 1"),
        ({"style-weight": "-1"}, "style_weight must be a number of at least 0"),
        ({"features": "vgg16"}, "value of features"),
        ({"embedding": "-1"}, "embedding must be a number of at least 0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_options(PHANES, options)
