"""SALAD: its losses, who moves when, its centre, its turns, and its score."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from updates import Watcher

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.autoencoder import ssim_map
from unremarkable.methods.salad import SALAD, SALADOptions, quarter_turns


def small(channels: int = 1, **options: float) -> SALAD:
    torch.manual_seed(0)
    return SALAD(SALADOptions(**{"width": 4, "latent_dim": 3} | options), (16, 16), channels)


class Linear(nn.Module):
    """Images to codes through a matrix."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.matrix


class Back(Linear):
    """Codes to images through a matrix and a tanh."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.tanh(images @ self.matrix).view(-1, 1, 16, 16)


class Brightness(nn.Module):
    """A discriminator whose logit is a weight times the mean of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, self.weight * images.mean((1, 2, 3))


def array(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().double().numpy()


def test_losses_are_those_of_the_docstring() -> None:
    weights = {"reconstruction": 2.0, "structure": 3.0, "consistency": 5.0, "centre": 7.0, "rotation": 11.0}
    method = small(**{f"{name}_weight": weight for name, weight in weights.items()}, adversarial_weight=13.0).train()
    method.encoder, method.generator = Linear(torch.randn(256, 3) / 16), Back(torch.randn(3, 256))
    method.discriminator = Brightness()
    method.centre.copy_(torch.tensor([0.5, -0.5, 1.0]))
    method.begun.fill_(True)
    a, b = array(method.encoder.matrix), array(method.generator.matrix)
    head, offset = array(method.rotation.weight), array(method.rotation.bias)
    images, update = torch.rand(5, 1, 16, 16), Watcher(method)
    torch.manual_seed(3)
    order = torch.randperm(5)
    assert order.tolist() != [0, 1, 2, 3, 4]
    torch.manual_seed(3)
    losses = {name: float(loss) for name, loss in method.phases()[0].step(images, update).items()}

    x = 2 * array(images) - 1
    z = x.reshape(5, -1) @ a
    rebuilt = np.tanh(z @ b)
    centre = 0.9 * np.array([0.5, -0.5, 1.0]) + 0.1 * z.mean(0)
    turned = np.stack([np.rot90(x[int(order[i]), 0], i) for i in range(5)]).reshape(5, -1)
    answers = turned @ a @ head.T + offset
    chosen = answers[np.arange(5), [0, 1, 2, 3, 0]]
    weight = float(method.discriminator.weight.detach())
    assert weight != 2.0
    ssim = ssim_map(images, torch.from_numpy((rebuilt.reshape(5, 1, 16, 16) + 1) / 2).float())
    expected = {
        "reconstruction": np.abs(x.reshape(5, -1) - rebuilt).mean(),
        "structure": 1 - float(ssim.mean()),
        "consistency": ((z - rebuilt @ a) ** 2).mean(),
        "centre": ((z - centre) ** 2).mean(),
        "rotation": (np.log(np.exp(answers).sum(1)) - chosen).mean(),
        "adversarial": np.log(1 + np.exp(-weight * rebuilt.mean(1))).mean(),
    }
    real, fake = 2 * x.reshape(5, -1).mean(1), 2 * rebuilt.mean(1)
    told = (np.log(1 + np.exp(-real)).mean() + np.log(1 + np.exp(fake)).mean()) / 2
    assert losses == pytest.approx(expected | {"discriminator": told}, rel=1e-4)
    total = sum(weight * expected[name] for name, weight in (weights | {"adversarial": 13.0}).items())
    assert update.losses["generator"] == pytest.approx(total, rel=1e-4)
    np.testing.assert_allclose(array(method.centre), centre, rtol=1e-5)


def test_the_first_batch_is_the_first_centre() -> None:
    method = small()
    method._follow(torch.tensor([1.0, 2.0, 3.0]))
    assert method.centre.tolist() == [1, 2, 3]
    method._follow(torch.tensor([2.0, 2.0, 3.0]))
    assert method.centre.tolist() == pytest.approx([1.1, 2, 3])


def test_each_step_moves_its_own_networks() -> None:
    method = small().train()
    update = Watcher(method)
    method.phases()[0].step(torch.rand(4, 1, 16, 16), update)
    assert update.moved == {"discriminator": {"discriminator"}, "generator": {"encoder", "generator", "rotation"}}
    assert all(parameter.requires_grad for parameter in method.parameters()), "freezing ends with the step"


def test_turns_are_quarter_turns() -> None:
    images = torch.arange(6 * 4.0).view(6, 1, 2, 2)
    turned, turns = quarter_turns(images)
    assert turns.tolist() == [0, 1, 2, 3, 0, 1]
    for i in range(6):
        np.testing.assert_array_equal(turned[i, 0].numpy(), np.rot90(images[i, 0].numpy(), i))


def test_score_is_the_error_of_both_translations() -> None:
    method = small(channels=3, reconstruction_weight=2.0, consistency_weight=1e4).eval()
    images = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        prediction = method.predict(images)
        code = method.encoder(2 * images - 1)
        again = method.encoder(2 * prediction.reconstruction - 1)
    pixels = np.abs(2 * array(images) - 2 * array(prediction.reconstruction)).mean((1, 2, 3))
    codes = ((array(code) - array(again)) ** 2).mean(1)
    expected = 2 * pixels + 1e4 * codes
    assert (1e4 * codes > 0.01 * pixels).all(), "both terms are seen"
    np.testing.assert_allclose(array(prediction.score), expected, rtol=1e-3)
    torch.testing.assert_close(prediction.map, (images - prediction.reconstruction).abs().mean(1, keepdim=True))


def test_discriminator_is_watched_and_nothing_stops_early() -> None:
    (phase,) = small().phases()
    assert phase.validate is None
    assert [(one.loss, one.blind, one.sure) for one in phase.adversaries] == [("discriminator", math.log(2), 0.0)]


@pytest.mark.parametrize("size", [(8, 8), (48, 48), (64, 32)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="salad takes square images"):
        SALAD(SALADOptions(width=4), size, 1)


@pytest.mark.parametrize(
    "text",
    [
        {"width": "0"},
        {"centre_weight": "-1"},
        {"epochs": "0"},
        {"reconstruction_weight": "0", "consistency_weight": "0"},
    ],
)
def test_options_out_of_range_are_refused(text: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=f"salad: {next(iter(text))}"):
        make_options(SALAD, text)
