"""The context-encoding autoencoder: its squares, its two losses and the published score."""

from __future__ import annotations

import pytest
import torch

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.ceae import CeAE, CeAEOptions, hide
from unremarkable.methods.vae import VAE, VAEOptions

SMALL = {"widths": (4, 4, 8, 8), "hidden": 6, "latent_dim": 3}


def made(**options: object) -> CeAE:
    torch.manual_seed(0)
    return CeAE(CeAEOptions(**(SMALL | options)), (32, 32), 1).eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def test_squares_are_square_inside_and_of_one_value() -> None:
    torch.manual_seed(0)
    images = torch.rand(200, 3, 24, 40)
    kept = images.clone()
    hidden = hide(images, 1)
    assert torch.equal(images, kept)
    sides = []
    for before, after in zip(images, hidden, strict=True):
        changed = (before != after).any(0)
        rows, columns = changed.any(1).nonzero()[:, 0], changed.any(0).nonzero()[:, 0]
        height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
        assert height == width
        assert changed.sum() == height * width
        values = after[:, changed]
        assert values.unique().numel() == 1
        assert images.min() <= values.min() <= images.max()
        sides.append(height)
    assert (min(sides), max(sides)) == (1, 12)


def test_every_image_gets_one_to_so_many_squares() -> None:
    torch.manual_seed(0)
    images = torch.arange(300 * 4096).view(300, 1, 64, 64) / (300 * 4096)  # no two pixels are alike
    counts = []
    for before, after in zip(images, hide(images, 3), strict=True):
        counts.append(after[before != after].unique().numel())
    assert set(counts) == {1, 2, 3}  # a square may hide another, but not often
    assert counts.count(3) > 60


def test_the_loss_weighs_both_encoders(images: torch.Tensor) -> None:
    method = made(context_weight=0.3, kl_weight=0.5)
    torch.manual_seed(5)
    loss, logged = method.losses(images)
    torch.manual_seed(5)
    with torch.no_grad():
        masked = hide(images, 3)
        mu, log_var = method.encoder(images).chunk(2, dim=1)
        mu_masked = method.encoder(masked)[:, :3]
        rebuilt = method.decoder(mu + (0.5 * log_var).exp() * torch.randn(3, 3))
        filled = method.decoder(mu_masked)
        vae = (2 * images - 2 * rebuilt).square().mean() + 0.5 * (0.5 * (mu**2 + log_var.exp() - 1 - log_var)).mean()
        context = (2 * images - 2 * filled).square().mean()  # of the whole image, not of the squares alone
    torch.testing.assert_close(logged["vae"], vae)
    torch.testing.assert_close(logged["context"], context)
    torch.testing.assert_close(loss, 0.7 * vae + 0.3 * context)


def test_context_encoder_alone(images: torch.Tensor) -> None:
    method = made(context_weight=1.0, score="reconstruction")
    torch.manual_seed(5)
    loss, logged = method.losses(images)
    torch.manual_seed(5)
    with torch.no_grad():
        filled = method.decoder(method.encoder(hide(images, 3))[:, :3])
        prediction = method.predict(images)
        held_out = method.held_out_loss(images)
    torch.testing.assert_close(loss, (2 * images - 2 * filled).square().mean())
    assert set(logged) == {"context"}
    torch.testing.assert_close(held_out, prediction.score)
    torch.testing.assert_close(prediction.score, prediction.map.mean((1, 2, 3)))


def test_published_score_and_map(images: torch.Tensor) -> None:
    """The same networks as a VAE give the same ELBO and the same combined map."""
    method = made(kl_weight=0.5)
    elbo, combined = (
        VAE(VAEOptions(**SMALL, kl_weight=0.5, score=score), (32, 32), 1).eval() for score in ("elbo", "combined")
    )
    with torch.no_grad():
        prediction = method.predict(images)
        for vae in (elbo, combined):
            vae.load_weights(method.state_dict())
        torch.testing.assert_close(prediction.score, elbo.predict(images).score)
        torch.testing.assert_close(prediction.map, combined.predict(images).map)
        torch.testing.assert_close(method.held_out_loss(images), prediction.score)


@pytest.mark.parametrize(
    "text", [{"context_weight": "1"}, {"context_weight": "0"}, {"context_weight": "1.5"}, {"squares": "0"}]
)
def test_options_out_of_range_are_refused(text: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        make_options(CeAE, text)
