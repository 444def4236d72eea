"""Introspective training: its two losses in numpy, and what each step moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unremarkable.errors import UsageError
from unremarkable.methods import make_options, method_class
from unremarkable.methods.introspective import Introspective, IntrospectiveOptions
from unremarkable.methods.si_vae import SIVAE
from unremarkable.networks.introspective import Code

Array = NDArray[np.float64]
BETAS = {"beta_rec": 0.7, "beta_kl": 0.3, "beta_neg": 2.0, "gamma_r": 0.4}


class LinearEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.spread = nn.Linear(16, 3), nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Code:
        flat = images.flatten(1)
        return Code(self.mean(flat), self.spread(flat), (flat,))

    def by_hand(self, images: Array, draw: Array) -> tuple[Array, Array]:
        """Latent vectors and divergences."""
        mean, spread = (images @ w(layer.weight).T + w(layer.bias) for layer in (self.mean, self.spread))
        return mean + np.exp(spread / 2) * draw, (mean**2 + np.exp(spread) - spread - 1).sum(1) / 2


class LinearDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 16)

    def forward(self, latent: Tensor) -> Tensor:
        return self.layer(latent).sigmoid().view(-1, 1, 4, 4)

    def by_hand(self, latent: Array) -> Array:
        return 1 / (1 + np.exp(-(latent @ w(self.layer.weight).T + w(self.layer.bias))))


def w(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()


def squared(a: Array, b: Array) -> Array:
    return ((a - b) ** 2).sum(1)


def toy(**options: float) -> Introspective:
    torch.manual_seed(0)
    method = SIVAE(IntrospectiveOptions(widths=(4,), latent_dim=3, **BETAS | options), (4, 4), 1)
    method.encoder, method.decoder = LinearEncoder(), LinearDecoder()
    return method


def draws(count: int) -> list[Array]:
    """The next random numbers of the global generator, which is then set back."""
    torch.manual_seed(5)
    numbers = [w(torch.randn(6, 3)) for _ in range(count)]
    torch.manual_seed(5)
    return numbers


def test_encoder_loss_by_hand() -> None:
    method, images, noise = toy(), torch.rand(6, 1, 4, 4), torch.randn(6, 3)
    encoder, decoder, x = method.encoder, method.decoder, w(images).reshape(6, 16)
    first, second, third = draws(3)
    latent, divergence = encoder.by_hand(x, first)
    rebuilt = decoder.by_hand(latent)
    expected = (0.7 * squared(x, rebuilt).mean() + 0.3 * divergence.mean()) / 16
    for image, draw in ((rebuilt, second), (decoder.by_hand(w(noise)), third)):
        again, divergence = encoder.by_hand(image, draw)
        error = squared(image, decoder.by_hand(again))
        expected += 0.25 * np.exp(-2 / 16 * (0.7 * error + 2.0 * divergence)).mean()
    loss, drawn, _ = method._encoder_loss(images, noise)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(w(drawn), latent, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.4])
def test_decoder_loss_by_hand(gamma: float) -> None:
    method, images, latent, noise = toy(gamma_r=gamma), torch.rand(6, 1, 4, 4), torch.randn(6, 3), torch.randn(6, 3)
    encoder, decoder, x = method.encoder, method.decoder, w(images).reshape(6, 16)
    rebuilt = decoder.by_hand(w(latent))
    expected = 0.7 * squared(x, rebuilt).mean()
    for image, draw in zip((rebuilt, decoder.by_hand(w(noise))), draws(2), strict=True):
        again, divergence = encoder.by_hand(image, draw)
        expected += 0.5 * 0.3 * divergence.mean()
        expected += gamma * 0.5 * 0.7 * squared(image, decoder.by_hand(again)).mean()
    loss, _ = method._decoder_loss(images, latent, noise)
    assert loss.item() == pytest.approx(expected / 16, rel=1e-5)


def test_targets_of_generated_images_are_held_fixed() -> None:
    """With a decoder that only its targets could reach, nothing is learnt."""
    method = toy(beta_kl=0.0, gamma_r=1e6)
    latent, noise = torch.randn(6, 3), torch.randn(6, 3)
    torch.manual_seed(5)
    loss, _ = method._decoder_loss(method.decoder(latent).detach(), latent, noise)
    (gradient,) = torch.autograd.grad(loss, method.decoder.layer.bias)

    torch.manual_seed(5)
    parts = []
    for image in (method.decoder(latent).detach(), method.decoder(noise).detach()):
        again = method.decoder(method.encoder(image).sample().detach())
        parts.append((image - again).square().sum((1, 2, 3)).mean())
    expected = 0.5 * 1e6 * 0.7 / 16 * sum(parts)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, method.decoder.layer.bias)[0], rtol=1e-4, atol=1)


class Recorder:
    """An `Update` that notes what each of its calls changed."""

    def __init__(self, method: Introspective) -> None:
        self.method, self.step = method, 0
        self.optimizers = method.phases()[0].optimizers()
        self.changed: list[tuple[str, set[str]]] = []
        self.last = self.state()

    def state(self) -> dict[str, Tensor]:
        return {key: value.clone() for key, value in self.method.state_dict().items()}

    def note(self, name: str) -> None:
        now = self.state()
        self.changed.append((name, {key.split(".")[0] for key in now if not torch.equal(now[key], self.last[key])}))
        self.last = now

    def __call__(self, optimizer: str, loss: Tensor) -> None:
        self.note(f"before {optimizer}")
        self.optimizers[optimizer].zero_grad()
        loss.backward()
        self.optimizers[optimizer].step()
        self.note(optimizer)


@pytest.mark.parametrize("name", ["si-vae", "ra"])
def test_each_step_moves_its_own_network_bit_for_bit(name: str) -> None:
    torch.manual_seed(0)
    cls = method_class(name)
    method = cls(make_options(cls, {"widths": (4, 4), "latent_dim": 3}), (32, 32), 1).train()
    update = Recorder(method)
    losses = method.phases()[0].step(torch.rand(4, 1, 32, 32), update)
    # before an update, only the running statistics of the network that is about to move have changed
    assert update.changed == [
        ("before encoder", {"encoder"}),
        ("encoder", {"encoder"}),
        ("before decoder", {"decoder"}),
        ("decoder", {"decoder"}),
    ]
    assert {"reconstruction", "kl", "kl_reconstructed", "kl_generated", "decoder"} <= losses.keys()
    apart = (losses["kl_reconstructed"] + losses["kl_generated"]) / 2 - losses["kl"]
    torch.testing.assert_close(losses["told apart"], apart)
    assert [(one.loss, one.blind) for one in method.phases()[0].adversaries] == [("told apart", 0.0)]
    assert all(p.requires_grad for p in (*method.encoder.parameters(), *method.decoder.parameters()))


def test_statistics_come_from_real_images_alone() -> None:
    torch.manual_seed(0)
    method = SIVAE(IntrospectiveOptions(widths=(4, 4), latent_dim=3), (16, 16), 1).train()
    images = torch.rand(4, 1, 16, 16)
    norm = method.encoder.stages[0][1]
    expected = 0.1 * method.encoder.stages[0][0](images).mean((0, 2, 3))
    method.phases()[0].step(images, Recorder(method))
    torch.testing.assert_close(norm.running_mean, expected)
    assert norm.num_batches_tracked == 1


def test_validation_is_the_squared_error_of_the_mean_code() -> None:
    method, images = toy(), torch.rand(3, 1, 4, 4)
    rebuilt = method.decoder(method.encoder(images).mean)
    expected = [np.mean((w(a) - w(b)) ** 2) for a, b in zip(images, rebuilt, strict=True)]
    np.testing.assert_allclose(w(method.phases()[0].validate(images)), expected, rtol=1e-5)


def test_published_settings() -> None:
    for name, rate, batch in (("si-vae", 2e-4, 32), ("ra", 5e-5, 8)):
        cls = method_class(name)
        options = cls.Options()
        assert (options.beta_rec, options.beta_kl, options.beta_neg, options.gamma_r) == (0.5, 1.0, 128.0, 1e-8)
        assert (options.widths, options.latent_dim) == ((64, 128, 256, 512, 512), 128)
        assert (options.learning_rate, options.batch_size) == (rate, batch)


@pytest.mark.parametrize("size", [(32, 32), (100, 128), (0, 0)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="si-vae with 5 widths takes sides that are multiples of 32, at least 64"):
        SIVAE(IntrospectiveOptions(), size, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"widths": ""}, "widths are"), ({"epochs": "0"}, "epochs must be"), ({"beta_neg": "-1"}, "beta_neg must be")],
)
def test_options_out_of_range_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=f"si-vae: {message}"):
        make_options(SIVAE, options)
