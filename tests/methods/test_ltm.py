"""LTM: its three phases, its threshold, its score and map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unremarkable.errors import UsageError
from unremarkable.methods import make_options
from unremarkable.methods.ltm import LTM, LTMOptions
from unremarkable.training.loop import train
from unremarkable.training.settings import TrainSettings

SMALL = {
    "width": 4,
    "residuals": 1,
    "codes": 6,
    "code_width": 3,
    "transformer_width": 8,
    "transformer_depth": 1,
    "transformer_heads": 2,
}


def small(size: tuple[int, int] = (16, 16), channels: int = 1, **options: float) -> LTM:
    torch.manual_seed(0)
    return LTM(LTMOptions(**SMALL | options), size, channels)


class Table(nn.Module):
    """Stands for the transformer: the same logits `(L, 6)` whatever the tokens, and healing to one code."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits.expand(len(tokens), -1, -1)

    def heal(self, tokens: Tensor, flagged: Tensor) -> Tensor:
        return tokens.masked_fill(flagged, 3)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def with_table(**options: float) -> tuple[LTM, np.ndarray]:
    method = small(**options).eval()
    logits = torch.randn(16, 6, generator=torch.Generator().manual_seed(3))
    method.prior = Table(logits)
    return method, log_softmax(logits.double().numpy())


def step(method: LTM, phase: int, images: Tensor) -> dict[str, Tensor]:
    """One step of a phase in training mode; the state that it changed, by name."""
    chosen = method.phases()[phase]
    optimizers = chosen.optimizers()
    before = {key: value.clone() for key, value in method.state_dict().items()}

    class Update:
        step = 0

        def __call__(self, optimizer: str, loss: Tensor) -> None:
            optimizers[optimizer].zero_grad()
            loss.backward()
            optimizers[optimizer].step()

    losses = chosen.step(images, Update())
    method.zero_grad()
    changed = {key: value for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert all(loss.isfinite() for loss in losses.values())
    return changed


def test_each_phase_moves_its_own_network_and_the_other_not_by_a_bit() -> None:
    method, images = small().train(), torch.rand(4, 1, 16, 16)
    changed = step(method, 0, images)
    assert {key.split(".")[0] for key in changed} == {"codec"}
    assert {"codec.vqvae.quantizer.quantizer.embedding.weight"} <= changed.keys(), "the codes follow"
    changed = step(method, 1, images)
    assert changed
    assert {key.split(".")[0] for key in changed} == {"prior"}, "in training mode too"


def test_transformer_loss_is_the_cross_entropy_of_the_tokens() -> None:
    method, table = with_table()
    images = torch.rand(3, 1, 16, 16)
    tokens = method.codec.tokens(images).flatten(1).numpy()
    expected = -table[np.arange(16), tokens].mean(1)
    with torch.no_grad():
        np.testing.assert_allclose(method.phases()[1].validate(images), expected, rtol=1e-5)
    seen: list[float] = []
    method.phases()[1].step(images, lambda _, loss: seen.append(loss.item()))
    assert seen[0] == pytest.approx(expected.mean(), rel=1e-5)


def test_codec_loss_is_the_absolute_error_plus_commitment() -> None:
    method, images = small().eval(), torch.rand(2, 1, 16, 16)
    seen: list[float] = []
    losses = method.phases()[0].step(images, lambda _, loss: seen.append(loss.item()))
    with torch.no_grad():
        rebuilt, commitment = method.codec(images)
        held_out = method.phases()[0].validate(images)
    error = np.abs(rebuilt.numpy() - images.numpy()).mean()
    assert float(losses["l1"]) == pytest.approx(error, rel=1e-5)
    assert seen[0] == pytest.approx(error + float(commitment), rel=1e-5)
    assert float(held_out.mean()) == pytest.approx(seen[0], rel=1e-5)


def test_threshold_is_a_quantile_over_all_tokens_of_normals() -> None:
    method, table = with_table(unlikely=0.2)
    images = torch.rand(5, 1, 16, 16)
    method.codec.train()(images)  # so that several codes are in use
    method.eval()
    (collect,) = [phase for phase in method.phases() if phase.name == "threshold"]
    assert collect.held_out
    with torch.no_grad():
        collect.collect(iter(images.split(2)))
    tokens = method.codec.tokens(images).flatten(1).numpy()
    expected = np.quantile(table[np.arange(16), tokens], 0.2)
    assert float(method.threshold) == pytest.approx(expected, rel=1e-5)
    assert method.settled() == {"codes used": len(np.unique(tokens)), "replaced below": float(method.threshold)}


def test_score_map_and_healed_image() -> None:
    method, table = with_table()
    images = torch.rand(3, 1, 16, 16)
    tokens = method.codec.tokens(images).flatten(1)
    likelihoods = table[np.arange(16), tokens.numpy()]
    method.threshold = torch.tensor(float(np.median(likelihoods)))
    flagged = likelihoods < np.median(likelihoods)
    with torch.no_grad():
        prediction = method.predict(images)
        healed = np.where(flagged, 3, tokens.numpy())
        expected = method.codec.decode(torch.from_numpy(healed).view(3, 4, 4)).clamp(0, 1)
    torch.testing.assert_close(prediction.reconstruction, expected)
    np.testing.assert_allclose(prediction.score, -likelihoods.sum(1), rtol=1e-5)
    shown = flagged.reshape(3, 1, 4, 4).repeat(4, axis=2).repeat(4, axis=3)
    np.testing.assert_allclose(prediction.map, np.abs(images - expected).numpy() * shown, atol=1e-6)


def test_an_image_without_unlikely_tokens_is_the_codecs_rendering_and_has_an_empty_map() -> None:
    method, _ = with_table()
    method.threshold = torch.tensor(-1e9)
    images = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        prediction = method.predict(images)
        rendering = method.codec.decode(method.codec.tokens(images)).clamp(0, 1)
    assert not prediction.map.any()
    torch.testing.assert_close(prediction.reconstruction, rendering)


def test_a_collapsed_codebook_is_refused() -> None:
    method = small().eval()
    method.codec.quantizer.embedding.weight[1:] = 1e6
    with torch.no_grad(), pytest.raises(UsageError, match="codebook has collapsed"):
        method.phases()[2].collect(iter([torch.rand(2, 1, 16, 16)]))


def test_published_settings() -> None:
    method = LTM(LTMOptions(width=8), (64, 64), 1)
    assert method.grid == (16, 16)
    assert len(method.prior.blocks) == 16
    assert method.prior.blocks[0].attn.heads == 16
    assert method.prior.embedding.weight.shape == (17, 128)
    assert method.codec.quantizer.embedding.weight.shape == (16, 64)
    defaults = LTMOptions()
    assert (defaults.width, defaults.levels, defaults.residuals, defaults.unlikely) == (256, 2, 2, 0.03)
    codec, prior, _ = method.phases()
    assert codec.optimizers()["codec"].param_groups[0]["lr"] == 5e-4
    assert prior.optimizers()["transformer"].param_groups[0]["lr"] == 1e-4
    assert codec.batch_size == prior.batch_size == 32


@pytest.mark.parametrize("size", [(2, 2), (16, 18), (30, 32), (0, 16)])
def test_sizes_that_do_not_halve_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="multiples of 4"):
        small(size)


@pytest.mark.parametrize(
    "text",
    [
        {"codes": "1"},
        {"levels": "0"},
        {"transformer_heads": "3"},
        {"unlikely": "0"},
        {"unlikely": "1"},
        {"decay": "1"},
        {"codec_learning_rate": "0"},
        {"batch_size": "0"},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(text: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        make_options(LTM, text)


def bars(count: int, seed: int) -> np.ndarray:
    centre = np.random.default_rng(seed).uniform(4, 12, (count, 1, 1, 1))
    return np.exp(-((np.arange(16) - centre) ** 2) / 8).repeat(16, 2).astype(np.float32)


class Levels(nn.Module):
    """Stands for the VQ-VAE: a token is the brightness of 4 x 4 pixels, in sixths."""

    def tokens(self, images: Tensor) -> Tensor:
        return (6 * F.avg_pool2d(images, 4)).long().clamp(max=5).squeeze(1)

    def decode(self, tokens: Tensor) -> Tensor:
        return F.interpolate((tokens.float().unsqueeze(1) + 0.5) / 6, scale_factor=4.0)


def test_what_breaks_the_pattern_is_unlikely_and_healed() -> None:
    method = small(transformer_learning_rate=1e-2)
    _, prior, threshold = method.phases()
    method.codec = Levels()
    optimizer = prior.optimizers()["transformer"]

    def update(_: str, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    images = torch.from_numpy(bars(64, 0))
    for _ in range(150):
        prior.step(images, update)
    test = torch.from_numpy(bars(16, 2))
    broken = test.clone()
    broken[:, :, 8:12] = 1 - broken[:, :, 8:12]  # the third row of tokens
    with torch.no_grad():
        threshold.collect(iter([torch.from_numpy(bars(32, 1))]))
        whole, torn = method.predict(test), method.predict(broken)
    assert (torn.score > whole.score.max()).all()
    assert torn.map[:, :, 8:12].mean() > 5 * whole.map.mean()
    assert (torn.reconstruction - test).square().mean() < 0.3 * (broken - test).square().mean()


@pytest.mark.parametrize("phase", ["_codec_step", "_prior_step"])
def test_an_interrupted_fit_ends_with_the_same_bits(
    phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"codec_epochs": 3, "transformer_epochs": 3, "batch_size": 8}
    settings = TrainSettings(device="cpu", precision="bf16")
    whole, broken, again = (small(**options) for _ in range(3))
    train(whole, bars(16, 0), bars(4, 1), settings)
    step, calls = getattr(broken, phase), []

    def stop_in_third_epoch(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(broken, phase, stop_in_third_epoch)
    with pytest.raises(KeyboardInterrupt):
        train(broken, bars(16, 0), bars(4, 1), settings, run=tmp_path)
    train(again, bars(16, 0), bars(4, 1), settings, run=tmp_path)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in whole.state_dict().items())
