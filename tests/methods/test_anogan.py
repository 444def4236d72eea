"""AnoGAN: its game, its search, and its score."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from updates import Watcher

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.anogan import AnoGAN, AnoGANOptions


def small(size: int = 16, channels: int = 1, **options: float) -> AnoGAN:
    torch.manual_seed(0)
    chosen = {"width": 4, "latent_dim": 3, "search_steps": 20} | options
    method = AnoGAN(AnoGANOptions(**chosen), (size, size), channels)
    for layer in method.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0, 0.3)  # as after training: different vectors make different images
    return method


class Brightness(nn.Module):
    """A discriminator that can be worked out by hand: its logit is a weight times the mean of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, self.weight * images.mean((1, 2, 3))


class Grey(nn.Module):
    """A generator of one grey, tanh of the sum of the latent vector and an offset."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.tensor(0.3))
        self.seen: list[Tensor] = []

    def forward(self, latent: Tensor) -> Tensor:
        self.seen.append(latent.detach().clone())
        return torch.tanh(latent.sum(1) + self.offset).view(-1, 1, 1, 1).expand(-1, 1, 16, 16)


class Linear(nn.Module):
    """Latent vectors to 2x2 images through a matrix."""

    def __init__(self, matrix: NDArray[np.float64]) -> None:
        super().__init__()
        self.matrix = torch.from_numpy(matrix)

    def forward(self, latent: Tensor) -> Tensor:
        return (latent @ self.matrix).view(-1, 1, 2, 2)


class Features(nn.Module):
    """The features of 2x2 images through a matrix."""

    def __init__(self, matrix: NDArray[np.float64]) -> None:
        super().__init__()
        self.matrix = torch.from_numpy(matrix)

    def features(self, images: Tensor) -> Tensor:
        return (images.flatten(1) @ self.matrix).view(-1, 5, 1, 1)


def test_networks_at_64_are_the_papers() -> None:
    method = AnoGAN(AnoGANOptions(), (64, 64), 1)
    ups = [layer for layer in method.generator.modules() if isinstance(layer, nn.ConvTranspose2d)]
    downs = [layer for layer in method.discriminator.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.in_channels for layer in ups] == [512, 256, 128, 64]
    assert [layer.out_channels for layer in downs] == [64, 128, 256, 512]
    assert {layer.kernel_size for layer in (*ups, *downs)} == {(4, 4)}
    assert method.start.shape == (1, 100)
    assert method.start.abs().max() <= 1


def test_training_settings() -> None:
    (gan,) = AnoGAN(AnoGANOptions(), (64, 64), 1).phases()
    assert gan.validate is None, "adversarial losses do not fall with quality"
    for optimizer in gan.optimizers().values():
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.param_groups[0]["lr"] == 2e-4
        assert optimizer.param_groups[0]["betas"] == (0.5, 0.999)


@pytest.mark.parametrize("size", [(8, 8), (48, 48), (64, 32), (0, 0)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="anogan takes square images"):
        AnoGAN(AnoGANOptions(width=4), size, 1)


@pytest.mark.parametrize("text", [{"search_steps": "0"}, {"feature_weight": "1.5"}, {"width": "0"}, {"epochs": "-1"}])
def test_options_out_of_range_are_refused(text: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=f"anogan: {next(iter(text))}"):
        make_options(AnoGAN, text)


def test_the_game_is_equation_1() -> None:
    method = small()
    method.discriminator, method.generator = Brightness(), Grey()
    update, images = Watcher(method), torch.rand(4, 1, 16, 16)
    method.phases()[0].step(images, update)

    latent = method.generator.seen[0].double().numpy()
    assert latent.shape == (4, 3)
    assert np.abs(latent).max() <= 1
    real = 2.0 * (2 * images.double().numpy() - 1).mean((1, 2, 3))
    fake = 2.0 * np.tanh(latent.sum(1) + 0.3)
    log_d, log_not_d = np.log(1 / (1 + np.exp(-real))), np.log(1 - 1 / (1 + np.exp(-fake)))
    assert update.losses["discriminator"] == pytest.approx(-(log_d.mean() + log_not_d.mean()) / 2, rel=1e-5)
    weight = method.discriminator.weight.item()  # the generator plays against the discriminator that has just moved
    assert weight != 2.0
    fooled = np.log(1 / (1 + np.exp(-weight * fake / 2.0)))
    assert update.losses["generator"] == pytest.approx(-fooled.mean(), rel=1e-5)


def test_each_step_moves_its_own_network() -> None:
    method = small().train()
    update = Watcher(method)
    method.phases()[0].step(torch.rand(4, 1, 16, 16), update)
    assert update.moved == {"discriminator": {"discriminator"}, "generator": {"generator"}}
    assert all(parameter.requires_grad for parameter in method.parameters()), "freezing ends with the step"


def test_search_is_adam_on_equation_5() -> None:
    method = small(feature_weight=0.25, search_steps=30, search_rate=0.05).double()
    rng = np.random.default_rng(1)
    a, b, x = rng.normal(size=(3, 4)), rng.normal(size=(4, 5)), rng.uniform(-1, 1, (1, 4))
    method.generator, method.discriminator = Linear(a), Features(b)
    _, distance = method._search(torch.from_numpy(x).view(1, 1, 2, 2))

    def loss(z: NDArray[np.float64]) -> float:
        return 0.75 * np.abs(x - z @ a).sum() + 0.25 * np.abs((x - z @ a) @ b).sum()

    z = method.start.numpy().copy()
    first, mean, square = loss(z), 0.0, 0.0
    for step in range(1, 31):
        gradient = -0.75 * np.sign(x - z @ a) @ a.T - 0.25 * np.sign((x - z @ a) @ b) @ (a @ b).T
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        move = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        z = np.clip(z - 0.05 * move, -1, 1)
    assert float(distance) == pytest.approx(loss(z), rel=1e-9)
    assert loss(z) < first


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_score_is_equation_6(share: float) -> None:
    method = small(channels=3, feature_weight=share, search_steps=3).eval()
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        prediction = method.predict(images)
        x, nearest = 2 * images - 1, 2 * prediction.reconstruction - 1
        features = method.discriminator.features
        for i in range(2):
            residual = (x[i] - nearest[i]).abs().sum()
            discrimination = (features(x[i : i + 1]) - features(nearest[i : i + 1])).abs().sum()
            expected = (1 - share) * residual + share * discrimination
            torch.testing.assert_close(prediction.score[i], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prediction.map, (images - prediction.reconstruction).abs().mean(1, keepdim=True))


def test_an_image_that_the_generator_can_make_is_found() -> None:
    method = small(search_steps=200, search_rate=0.02).eval()
    with torch.no_grad():
        wanted = method.generator(torch.tensor([[0.5, -0.6, 0.2]]))
        begun = (wanted - method.generator(method.start)).abs().mean()
        nearest, _ = method._search(wanted)
    assert (wanted - nearest).abs().mean() < 0.25 * begun


def test_latent_vectors_stay_where_training_drew_them() -> None:
    method = small(search_rate=10.0).eval()
    seen: list[Tensor] = []
    method.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    method.predict(torch.rand(1, 1, 16, 16))
    assert len(seen) == 21
    assert max(float(latent.abs().max()) for latent in seen) == 1


def test_a_long_search_gives_the_same_bits_in_any_company() -> None:
    method = small(search_steps=60).eval()
    images = torch.rand(5, 1, 16, 16)
    together = method.predict(images)
    for i, alone in enumerate(method.predict(image) for image in images.split(1)):
        assert torch.equal(together.score[i : i + 1], alone.score)
        assert torch.equal(together.reconstruction[i : i + 1], alone.reconstruction)
    assert not any(tensor.requires_grad for tensor in (together.score, together.map, together.reconstruction))


def test_the_plan_says_that_scoring_is_slow() -> None:
    (note,) = small(search_steps=123).notes(1000)
    assert "123 steps for every image" in note
