"""The variational autoencoder: its loss and its five scores, each against numpy written from the equations."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.vae import VAE, VAEOptions
from unremarkable.methods.variational import kl_divergence
from unremarkable.networks.gaussian import sample
from unremarkable.training.loop import train
from unremarkable.training.settings import TrainSettings

SMALL = {"widths": (4, 4, 8, 8), "hidden": 6, "latent_dim": 3}


def made(channels: int = 1, size: tuple[int, int] = (32, 16), **options: object) -> VAE:
    torch.manual_seed(0)
    return VAE(VAEOptions(**(SMALL | options)), size, channels).eval()


def images(channels: int = 1, size: tuple[int, int] = (32, 16), count: int = 3) -> Tensor:
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(1))


def by_hand(method: VAE, x: Tensor, *, variance: bool) -> dict[str, np.ndarray]:
    """Squared error, its share of the variance, log-likelihood and KL divergence, from the bare networks' outputs."""
    with torch.no_grad():
        code = method.encoder(x).double().numpy()
        mu, log_var = code[:, : code.shape[1] // 2], code[:, code.shape[1] // 2 :]
        out = method.decoder(torch.from_numpy(mu).float()).double().numpy()
    channels = x.shape[1]
    squared = (2 * x.double().numpy() - 2 * out[:, :channels]) ** 2
    found = {
        "squared": squared.mean(1),
        "kl": 0.5 * (mu**2 + np.exp(log_var) - 1 - log_var).reshape(len(mu), -1).mean(1),
    }
    if variance:
        least = 2 * np.log(2 / 255)
        v = np.exp(least + np.log1p(np.exp(out[:, channels:] - least)))
        found["unregularised"] = (squared / (2 * v)).mean(1)
        found["unlikelihood"] = -np.log(np.exp(-squared / (2 * v)) / np.sqrt(2 * np.pi * v)).mean(1)
    return found


def test_kl_divergence_by_hand() -> None:
    # KL(N(m, s²) || N(0, 1)) = (m² + s² - 1) / 2 - log s: of (1, 1) 1/2, of (0, 2) 3/2 - log 2
    mean, log_variance = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, np.log(4)]]).float()
    torch.testing.assert_close(kl_divergence(mean, log_variance), torch.tensor([(0.5 + 1.5 - np.log(2)) / 2]).float())
    assert kl_divergence(torch.zeros(2, 5), torch.zeros(2, 5)).tolist() == [0, 0]
    spread = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(spread, torch.distributions.Normal(0.0, 1.0)).mean(1)
    torch.testing.assert_close(kl_divergence(mean, log_variance), expected)


def test_samples_have_the_posteriors_mean_and_variance() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.full((20_000, 1), 3.0), torch.full((20_000, 1), float(np.log(0.25)))
    drawn = sample(mean, log_variance)
    assert drawn.mean().item() == pytest.approx(3, abs=0.02)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("bottleneck", ["vector", "spatial"])
def test_reconstruction_and_elbo(bottleneck: str) -> None:
    x = images(3)
    method = made(3, bottleneck=bottleneck, kl_weight=0.25)
    expected = by_hand(method, x, variance=False)
    with torch.no_grad():
        prediction = method.predict(x)
        elbo = made(3, bottleneck=bottleneck, kl_weight=0.25, score="elbo").predict(x)
        held_out = method.phases()[0].validate(x)
    np.testing.assert_allclose(prediction.map[:, 0], expected["squared"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(prediction.score, expected["squared"].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(elbo.score, expected["squared"].mean((1, 2)) + 0.25 * expected["kl"], rtol=1e-5)
    torch.testing.assert_close(held_out, elbo.score)
    torch.testing.assert_close(elbo.map.mean((1, 2, 3)), elbo.score)
    assert prediction.reconstruction.shape == x.shape


def test_learnt_variance_gives_the_likelihood_and_the_unregularised_score() -> None:
    x = images(3)
    expected = by_hand(made(3, variance="learnt"), x, variance=True)
    with torch.no_grad():
        elbo = made(3, variance="learnt", score="elbo", kl_weight=0.5).predict(x)
        bare = made(3, variance="learnt", score="unregularised").predict(x)
    np.testing.assert_allclose(bare.map[:, 0], expected["unregularised"], rtol=1e-4)
    expected_elbo = expected["unlikelihood"].mean((1, 2)) + 0.5 * expected["kl"]
    np.testing.assert_allclose(elbo.score, expected_elbo, rtol=1e-4)


def test_no_pixel_is_known_better_than_to_one_grey_level() -> None:
    method = made(variance="learnt")
    nn.init.constant_(method.decoder[-1].bias, -1e3)
    with torch.no_grad():
        _, log_variance = method.decode(torch.zeros(1, 3))
    torch.testing.assert_close(log_variance, torch.full_like(log_variance, 2 * np.log(2 / 255)))


def test_kl_gradient_is_the_slope_of_the_kl_divergence() -> None:
    x = images(2)
    method = made(2, score="kl-gradient", gradient_sigma=0.0)
    encoder = copy.deepcopy(method.encoder).double()
    with torch.no_grad():
        prediction = method.predict(x)

        def kl(changed: Tensor) -> float:
            mu, log_var = encoder(changed).chunk(2, dim=1)
            return float((0.5 * (mu**2 + log_var.exp() - 1 - log_var)).mean())

        for row, column in ((0, 0), (17, 5), (31, 15)):
            slopes = []
            for channel in range(2):
                step = torch.zeros_like(x[:1]).double()
                step[0, channel, row, column] = 1e-4
                slopes.append((kl(x[:1].double() + step) - kl(x[:1].double() - step)) / 2e-4)
            expected = np.abs(slopes).mean()
            assert float(prediction.map[0, 0, row, column]) == pytest.approx(expected, rel=1e-3, abs=1e-6)
        torch.testing.assert_close(prediction.score, prediction.map.mean((1, 2, 3)))


def test_combined_is_error_times_smoothed_gradient() -> None:
    x = images()
    with torch.no_grad():
        raw = made(score="kl-gradient", gradient_sigma=0.0).predict(x).map
        combined = made(score="combined", gradient_sigma=2.0).predict(x).map
        error = made().predict(x).map
    smoothed = np.stack([gaussian_filter(one[0].numpy(), 2.0, mode="reflect") for one in raw])
    np.testing.assert_allclose(combined[:, 0], error[:, 0].numpy() * smoothed, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("score", ["reconstruction", "elbo", "kl-gradient", "combined", "unregularised"])
def test_every_score_is_each_images_own_and_repeatable(score: str) -> None:
    x = images(count=4)
    method = made(score=score, variance="learnt" if score == "unregularised" else "fixed")
    with torch.no_grad():
        together, again = method.predict(x), method.predict(x)
        alone = [method.predict(one) for one in x.split(1)]
    assert torch.equal(together.map, again.map)
    assert torch.equal(together.score, again.score)
    torch.testing.assert_close(torch.cat([one.map for one in alone]), together.map, rtol=1e-4, atol=1e-6)
    assert all(parameter.grad is None for parameter in method.parameters())
    assert not together.map.requires_grad


def test_the_loss_is_sampled_and_weighted() -> None:
    x = images(count=4)
    method = made(kl_weight=0.5)
    torch.manual_seed(3)
    loss, logged = method.losses(x)
    torch.manual_seed(3)
    with torch.no_grad():
        mu, log_var = method.encoder(x).chunk(2, dim=1)
        out = method.decoder(mu + (0.5 * log_var).exp() * torch.randn(mu.shape))
        error = ((2 * x - 1) - (2 * out - 1)).square().mean()
        kl = (0.5 * (mu**2 + log_var.exp() - 1 - log_var)).mean()
    torch.testing.assert_close(loss, error + 0.5 * kl)
    torch.testing.assert_close(logged["kl"], kl)
    torch.testing.assert_close(logged["reconstruction"], error)


def test_defaults_are_the_studys() -> None:
    method = VAE(VAEOptions(), (64, 64), 1)
    assert [layer.out_channels for layer in method.encoder if isinstance(layer, nn.Conv2d)] == [16, 32, 64, 64]
    assert [layer.out_features for layer in method.modules() if isinstance(layer, nn.Linear)] == [1024, 32, 1024, 1024]
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in method.modules()) == 7
    (phase,) = method.phases()
    assert (phase.batch_size, phase.epochs, phase.plateau) == (64, 250, None)


@pytest.mark.parametrize(
    "text",
    [
        {"score": "unregularised"},
        {"kl_weight": "-1"},
        {"kl_weight": "nan"},
        {"gradient_sigma": "inf"},
        {"latent_dim": "0"},
    ],
)
def test_options_out_of_range_are_refused(text: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        make_options(VAE, text)


def test_learnt_variance_trains_on_a_background_that_never_changes() -> None:
    rng = np.random.default_rng(0)
    scans = np.zeros((16, 1, 32, 32), np.float32)
    scans[:, :, 8:24, 8:24] = rng.uniform(0.4, 0.6, (16, 1, 1, 1))
    options = VAEOptions(**SMALL, variance="learnt", score="unregularised", epochs=6, batch_size=8)
    method = VAE(options, (32, 32), 1)
    train(method, scans[:12], scans[12:], TrainSettings(device="cpu", precision="bf16"))
    with torch.no_grad():
        prediction = method.eval().predict(torch.from_numpy(scans[12:]))
    assert prediction.map.isfinite().all()
