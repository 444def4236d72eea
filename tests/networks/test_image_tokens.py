"""Images as tokens: the codebook by hand, and healing against going from token to token."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from unremarkable.networks.image_tokens import TokenCodec, TokenPrior

from .by_hand import array, disturb, gelu, layer_norm, linear, softmax


def codec(decay: float = 0.5) -> TokenCodec:
    torch.manual_seed(0)
    return TokenCodec(channels=1, width=4, levels=2, residuals=1, codes=5, code_width=3, decay=decay)


def prior(length: int = 12) -> TokenPrior:
    torch.manual_seed(0)
    return disturb(TokenPrior(codes=4, length=length, width=8, depth=2, heads=2))


def book(network: TokenCodec) -> Tensor:
    return network.quantizer.embedding.weight


def test_an_image_becomes_a_grid_of_the_nearest_codes_and_back() -> None:
    network, images = codec().eval(), torch.rand(2, 1, 16, 24)
    with torch.no_grad():
        tokens, features = network.tokens(images), network.vqvae.encode(images)
        assert tokens.shape == (2, 4, 6)
        assert tokens.dtype == torch.int64
        cells = array(features).transpose(0, 2, 3, 1)
        distances = ((cells[..., None, :] - array(book(network))) ** 2).sum(-1)
        np.testing.assert_array_equal(tokens, distances.argmin(-1))
        codes = book(network)[tokens].permute(0, 3, 1, 2)
        torch.testing.assert_close(network.decode(tokens), network.vqvae.decode(codes))
        rebuilt, _ = network(images)
        torch.testing.assert_close(rebuilt, network.decode(tokens))


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_codes_follow_the_moving_means_of_what_they_stand_for(decay: float) -> None:
    """van den Oord et al., equations 6 to 8, with the Laplace smoothing of the authors' code."""
    network, images = codec(decay).train(), torch.rand(3, 1, 16, 16)
    network(images)
    counts, sums = array(network.quantizer.ema_cluster_size), array(network.quantizer.ema_w)
    for _ in range(3):
        with torch.no_grad():
            cells = array(network.vqvae.encode(images)).transpose(0, 2, 3, 1).reshape(-1, 3)
            nearest = ((cells[:, None] - array(book(network))) ** 2).sum(-1).argmin(-1)
            network(images)
        chosen = np.eye(5)[nearest]
        assert counts.min() >= 0.01, "or this call would restart a code"
        counts = decay * counts + (1 - decay) * chosen.sum(0)
        sums = decay * sums + (1 - decay) * chosen.T @ cells
        smoothed = (counts + 1e-5) / (counts.sum() + 5e-5) * counts.sum()
        np.testing.assert_allclose(array(book(network)), sums / smoothed[:, None], rtol=1e-3)


@pytest.mark.parametrize("size", [4, 32])
def test_unused_codes_go_to_features_of_the_batch(size: int) -> None:
    network, images = codec().train(), torch.rand(2, 1, size, size)
    features = network.vqvae.encode(images).detach()
    cells = array(features).transpose(0, 2, 3, 1).reshape(-1, 3)

    def places() -> np.ndarray:
        """Of the feature that each code lies on; -1 for none."""
        distances = np.abs(array(book(network))[:, None] - cells).max(-1)
        return np.where(distances.min(1) == 0, distances.argmin(1), -1)

    network._restart(features)  # at first none has been used
    assert len(set(places()) - {-1}) == min(5, len(cells)), "no feature twice, where there are enough"
    assert torch.equal(network.quantizer.ema_w, book(network))
    assert network.quantizer.ema_cluster_size.tolist() == [1] * 5

    book(network).fill_(7)
    network.quantizer.ema_cluster_size[[1, 4]] = 0.005
    network._restart(features)
    assert (places() >= 0).tolist() == [False, True, False, False, True]


def test_losses_by_hand_and_gradients_straight_through() -> None:
    network, images = codec().eval(), torch.rand(2, 1, 16, 16)
    rebuilt, commitment = network(images)
    features = network.vqvae.encode(images)
    codes = book(network)[network.tokens(images)].permute(0, 3, 1, 2)
    squares = 0.25 * (features - codes).square()
    torch.testing.assert_close(commitment, squares.mean())
    expected = (images - rebuilt).abs().mean((1, 2, 3)) + squares.mean((1, 2, 3))
    torch.testing.assert_close(network.held_out_loss(images), expected)
    parameters = list(network.vqvae.encoder.parameters())
    straight = torch.autograd.grad(rebuilt.sum(), parameters)  # as if the decoder stood on the features
    codes.requires_grad_()
    (slope,) = torch.autograd.grad(network.vqvae.decode(codes).sum(), codes)
    torch.testing.assert_close(torch.autograd.grad((features * slope).sum(), parameters), straight)


def test_the_codebook_is_state_and_no_parameter() -> None:
    network = codec()
    names = {name for name, _ in network.named_buffers()}
    assert {name.rsplit(".", 1)[1] for name in names} == {"weight", "ema_w", "ema_cluster_size"}
    assert not any("quantizer" in name for name, _ in network.named_parameters())
    assert names <= set(network.state_dict())


def test_only_training_calls_move_the_codes() -> None:
    network, images = codec(), torch.rand(2, 1, 16, 16)
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}

    def moved() -> bool:
        return any(not torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())

    network.eval()(images)
    network.train().tokens(images)
    network.held_out_loss(images)
    network.decode(torch.zeros(1, 4, 4, dtype=torch.int64))
    assert not moved()
    network(images)
    assert moved()


def test_a_restored_codebook_goes_on_with_the_same_bits() -> None:
    network, images = codec().train(), torch.rand(2, 1, 16, 16)
    network(images)
    again = codec().train()
    again.load_state_dict(copy.deepcopy(network.state_dict()))
    network(images)
    again(images)
    assert all(torch.equal(buffer, again.state_dict()[name]) for name, buffer in network.named_buffers())


def test_under_autocast_codes_are_found_and_moved_in_float32() -> None:
    plain, half, images = codec().train(), codec().train(), torch.rand(4, 1, 32, 32)
    plain(images)  # which starts the codes
    half.load_state_dict(plain.state_dict())
    features = plain.vqvae.encode(images).detach()
    for network in (plain, half):
        network.vqvae.encode = lambda _: features  # the same float32 features, so that the codebook alone is compared
    tokens = plain.tokens(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(half.tokens(images), tokens)
        rebuilt, commitment = half(images)
    plain(images)
    assert rebuilt.dtype == commitment.dtype == torch.float32
    assert torch.equal(book(plain), book(half))


def test_a_token_is_judged_by_those_before_it() -> None:
    network = prior()
    tokens = torch.randint(0, 4, (1, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = network(tokens)
        assert logits.shape == (1, 12, 4), "the beginning is never expected"
        for place in range(12):
            other = tokens.clone()
            other[0, place] = (other[0, place] + 1) % 4
            changed = (network(other) - logits).abs().amax((0, 2)) > 1e-6
            assert not changed[: place + 1].any()
            assert place == 11 or changed[place + 1]
        torch.testing.assert_close(logits[:, :1], network(tokens[:, :1]))


def test_the_transformer_is_its_description() -> None:
    network = prior(length=5)
    tokens = torch.tensor([[2, 0, 3, 3, 1]])
    x = array(network.embedding.weight)[[4, 2, 0, 3, 3]] + array(network.positions)[0]
    for block in network.blocks:
        q, k, v = np.split(linear(block.attn.qkv, layer_norm(block.norm1, x)), 3, axis=1)
        heads = []
        for cut in (slice(0, 4), slice(4, 8)):
            logits = q[:, cut] @ k[:, cut].T / 2  # the root of 4
            heads.append(softmax(np.where(np.tri(5) > 0, logits, -np.inf)) @ v[:, cut])
        x = x + linear(block.attn.proj, np.concatenate(heads, axis=1))
        x = x + linear(block.mlp.fc2, gelu(linear(block.mlp.fc1, layer_norm(block.norm2, x))))
    expected = linear(network.head, layer_norm(network.norm, x))
    with torch.no_grad():
        np.testing.assert_allclose(network(tokens)[0], expected, atol=1e-4)


def test_healing_is_what_going_from_token_to_token_arrives_at() -> None:
    network, generator = prior(), torch.Generator().manual_seed(2)
    tokens = torch.randint(0, 4, (6, 12), generator=generator)
    flagged = torch.rand(6, 12, generator=generator) < torch.tensor([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]).unsqueeze(1)
    with torch.no_grad():
        ours = network.heal(tokens, flagged)
        expected = tokens.clone()
        for image in range(6):
            for place in range(12):
                if flagged[image, place]:
                    logits = network(expected[image : image + 1])[0, place]
                    expected[image, place] = logits.argmax()
    assert torch.equal(ours, expected)
    assert torch.equal(ours[~flagged], tokens[~flagged])
    assert not torch.equal(ours, tokens)
    assert torch.equal(network.heal(tokens, torch.zeros_like(flagged)), tokens)
