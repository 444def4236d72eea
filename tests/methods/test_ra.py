"""The reversed autoencoder: its embedding loss, its map, and where gradients go."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.equalisation import equalise
from unremarkable.methods.ra import RA, RAOptions
from unremarkable.networks.introspective import Code


def small(channels: int = 1, **options: float) -> RA:
    torch.manual_seed(0)
    return RA(RAOptions(**{"widths": (4, 6), "latent_dim": 3} | options), (32, 32), channels)


def test_reversed_embedding_loss_by_hand() -> None:
    first, second = torch.randn(2, 2, 3, 4, 4), torch.randn(2, 2, 5, 2, 2)
    expected = 0.0
    for a, b in (first.double().numpy(), second.double().numpy()):
        for one, other in zip(a.reshape(2, -1), b.reshape(2, -1), strict=True):
            cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
            expected += (1 - cosine) / 2  # averaged over two images
        expected += 0.5 * np.mean((a - b) ** 2)
    empty = torch.zeros(2, 1)
    codes = [Code(empty, empty, (first[i], second[i])) for i in range(2)]
    loss, named = small(embedding=0.25)._encoder_extra(*codes)
    assert float(named["embedding"]) == pytest.approx(expected, rel=1e-5)
    assert float(loss) == pytest.approx(0.25 * expected, rel=1e-5)


def test_the_embedding_loss_is_part_of_the_encoder_s_and_not_of_the_decoder_s() -> None:
    images, noise = torch.rand(4, 1, 32, 32), torch.randn(4, 3)
    losses = {}
    for weight in (0.0, 2.0):
        method = small(embedding=weight).train()
        torch.manual_seed(1)
        encoder, latent, named = method._encoder_loss(images, noise)
        decoder, _ = method._decoder_loss(images, latent, noise)
        losses[weight] = encoder.item(), decoder.item(), named["embedding"].item()
    assert losses[2.0][0] - losses[0.0][0] == pytest.approx(2 * losses[0.0][2], rel=1e-4)
    assert losses[2.0][1] == losses[0.0][1]


class Difference(nn.Module):
    """Stands for the perceptual distance: the squared difference at each pixel."""

    def maps(self, images: Tensor, others: Tensor) -> Tensor:
        return (images - others).square().mean(1, keepdim=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_map_of_equation_5_by_hand(channels: int) -> None:
    method = small(channels).eval()
    method.perceptual = Difference()
    images = torch.rand(2, channels, 32, 32)
    with torch.no_grad():
        prediction = method.predict(images)
    x, rebuilt = images.numpy(), prediction.reconstruction.numpy()
    flat_x, flat_rebuilt = equalise(images).numpy(), equalise(prediction.reconstruction).numpy()
    for i in range(2):
        expected = np.abs(flat_rebuilt[i] - flat_x[i]).mean(0)
        for a, b in ((x[i], rebuilt[i]), (flat_x[i], flat_rebuilt[i])):
            # four stages of vectors that are at most 4 apart
            expected = expected * gaussian_filter(((a - b) ** 2).mean(0), 2, mode="reflect", truncate=4) / 16
        np.testing.assert_allclose(prediction.map[i, 0].numpy(), expected, rtol=1e-3, atol=1e-8)
        assert float(prediction.score[i]) == pytest.approx(expected.mean(), rel=1e-3)


def test_lpips_is_taken_as_it_is() -> None:
    method = small(perceptual="lpips-squeeze").eval()
    images = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        expected = gaussian_filter(method.perceptual.maps(images, 1 - images)[0, 0].numpy(), 2, mode="reflect")
        np.testing.assert_allclose(method._perceived(images, 1 - images)[0, 0].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_a_perfect_reconstruction_scores_nothing_and_twice_the_same() -> None:
    method = small().eval()
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        first, again = method.predict(images), method.predict(images)
        assert torch.equal(first.map, again.map)
        assert torch.equal(first.reconstruction, again.reconstruction)
        method.rebuild = lambda images: images  # type: ignore[method-assign]
        assert method.predict(images).score.abs().max() < 1e-6


def test_maps_are_shares() -> None:
    method = small().eval()
    with torch.no_grad():
        anomaly = method.predict(torch.randint(0, 2, (2, 1, 32, 32)).float()).map
    assert anomaly.min() >= 0
    assert anomaly.max() <= 1


@pytest.mark.parametrize("size", [(16, 16), (36, 36)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="ra takes sides that are multiples of 8, at least 32"):
        RA(RAOptions(widths=(4, 4)), size, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"embedding": "-1"}, "ra: embedding must be"), ({"perceptual": "lpips"}, "value of perceptual")],
)
def test_options_out_of_range_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_options(RA, options)
