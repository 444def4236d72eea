"""Efficient-GAN: its game, who moves when, and its two scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from updates import Watcher

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.efficient_gan import EfficientGAN, EfficientGANOptions
from unremarkable.networks.averaged import averaged, follow


def small(channels: int = 1, **options: float | str) -> EfficientGAN:
    torch.manual_seed(0)
    chosen = {"width": 2, "latent_dim": 4} | options
    method = EfficientGAN(EfficientGANOptions(**chosen), (32, 32), channels)
    for layer in method.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0, 0.2)
    for name, average in method.average.items():
        follow(average, method.get_submodule(name), 0.0)
    return method


class Pairs(nn.Module):
    """A discriminator that can be worked out by hand: its logit weighs the image's mean and the code's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0, -1.5]))
        self.seen: list[tuple[float, float]] = []

    def forward(self, images: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        pair = torch.stack([images.mean((1, 2, 3)), codes.mean(1)], 1)
        self.seen.append(pair.detach().double().numpy())
        return pair, pair @ self.weight


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_the_game_is_that_of_the_paper() -> None:
    method = small().train()
    method.discriminator = Pairs()
    method.average["discriminator"] = averaged(method.discriminator)
    update = Watcher(method)
    method.phases()[0].step(torch.rand(4, 1, 32, 32), update)
    real, fake, fake_again, real_again = method.discriminator.seen
    np.testing.assert_array_equal(real, real_again)
    np.testing.assert_array_equal(fake, fake_again)

    before, after = np.array([2.0, -1.5]), method.discriminator.weight.detach().double().numpy()
    assert not np.allclose(before, after)
    value = np.log(sigmoid(real @ before)).mean() + np.log(1 - sigmoid(fake @ before)).mean()
    assert update.losses["discriminator"] == pytest.approx(-value / 2, rel=1e-5)
    assert update.losses["generator"] == pytest.approx(-np.log(sigmoid(fake @ after)).mean(), rel=1e-5)
    assert update.losses["encoder"] == pytest.approx(-np.log(1 - sigmoid(real @ after)).mean(), rel=1e-5)


def test_each_step_moves_its_own_network() -> None:
    method = small().train()
    update = Watcher(method)
    losses = method.phases()[0].step(torch.rand(4, 1, 32, 32), update)
    assert update.moved == {name: {name} for name in ("discriminator", "generator", "encoder")}
    assert losses.keys() == {"discriminator", "adversarial", "encoder"}
    assert all(parameter.requires_grad for parameter in method.parameters()), "freezing ends with the step"


def test_averages_follow_the_networks() -> None:
    method = small().train()
    update, before = Watcher(method), {key: value.clone() for key, value in method.state_dict().items()}
    update.step = 2
    method.phases()[0].step(torch.rand(4, 1, 32, 32), update)
    now = method.state_dict()
    for name in method.average:
        for key, parameter in method.get_submodule(name).named_parameters():
            average = f"average.{name}.{key}"
            # (1 + 2) / (10 + 2) of what it was
            torch.testing.assert_close(now[average], 0.25 * before[average] + 0.75 * parameter.detach())


@pytest.mark.parametrize("discriminator_score", ["features", "cross-entropy"])
@pytest.mark.parametrize("alpha", [0.0, 0.9])
def test_score_is_the_papers(discriminator_score: str, alpha: float) -> None:
    method = small(channels=3, discriminator_score=discriminator_score, alpha=alpha).eval()
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.mul_(0.5)  # the averages score, not the weights of the last step
        images = torch.rand(2, 3, 32, 32)
        prediction = method.predict(images)
        encoder, generator, discriminator = (method.average[n] for n in ("encoder", "generator", "discriminator"))
        for i in range(2):
            x = 2 * images[i : i + 1] - 1
            code = encoder(x)
            rebuilt = generator(code)
            torch.testing.assert_close(prediction.reconstruction[i : i + 1], (rebuilt + 1) / 2)
            pixels = np.abs((x - rebuilt).double().numpy()).sum()
            features, logit = discriminator(x, code)
            if discriminator_score == "features":
                judged = np.abs((features - discriminator(rebuilt, code)[0]).double().numpy()).sum()
            else:
                judged = -np.log(sigmoid(logit.double().numpy()))[0]
            expected = alpha * pixels + (1 - alpha) * judged
            assert float(prediction.score[i]) == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(prediction.map, (images - prediction.reconstruction).abs().mean(1, keepdim=True))


def test_published_settings() -> None:
    options = EfficientGANOptions()
    assert (options.latent_dim, options.alpha, options.discriminator_score) == (200, 0.9, "features")
    (phase,) = small().phases()
    assert phase.validate is None, "adversarial losses do not fall with quality"
    for optimizer in phase.optimizers().values():
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.param_groups[0]["betas"] == (0.5, 0.999)


@pytest.mark.parametrize("text", [{"alpha": "-0.1"}, {"batch_size": "1"}, {"width": "0"}, {"epochs": "0"}])
def test_options_out_of_range_are_refused(text: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=f"efficient-gan: {next(iter(text))}"):
        make_options(EfficientGAN, text)


def test_a_single_image_is_refused() -> None:
    method = small().train()
    with pytest.raises(UsageError, match="at least 2 images"):
        method.phases()[0].step(torch.rand(1, 1, 32, 32), Watcher(method))
