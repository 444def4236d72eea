"""Dinomaly: its equations by hand, what is frozen, and what happens without weights. Every encoder here is random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unremarkable.errors import UsageError
from unremarkable.methods.base import Phase
from unremarkable.methods.dinomaly import Dinomaly, DinomalyOptions, _smooth, mined_cosine
from unremarkable.methods.registry import make_options, method_class

SIDE = 64
TINY: dict[str, Any] = {"encoder": "vit-tiny-16", "pretrained": False, "layers": (0, 1, 2, 3)}


def build(**options: Any) -> Dinomaly:
    torch.manual_seed(0)
    return Dinomaly(DinomalyOptions(**TINY | options), (SIDE, SIDE), 1)


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def phase_of(method: Dinomaly) -> Phase:
    (phase,) = method.phases()
    assert isinstance(phase, Phase)
    return phase


def test_is_registered_and_reads_its_options_from_text() -> None:
    assert method_class("dinomaly") is Dinomaly
    assert make_options(Dinomaly, {"layers": "1,2", "pretrained": "no"}) == DinomalyOptions(
        layers=(1, 2), pretrained=False
    )


def test_layers_are_the_paper_s() -> None:
    assert build(layers=()).layers == (2, 3, 4, 5, 6, 7, 8, 9)
    assert len(build(layers=()).encoder.blocks) == 10  # nothing deeper is built
    assert len(build(layers=()).decoder.blocks) == 8


def test_groups_are_means_and_the_last_decoder_block_answers_to_the_first_layer() -> None:
    method, batch = build().eval(), images(2)
    with torch.no_grad():
        tokens = [t.numpy() for t in method.encoder(batch)]
        decoded = [t.numpy() for t in method.decoder(torch.from_numpy(sum(tokens) / 4))]
        found = method.features(batch)
        x = method.decoder.bottleneck(torch.from_numpy(sum(tokens) / 4))
        for block in method.decoder.blocks:
            x = block(x)
    np.testing.assert_allclose(decoded[0], x, atol=1e-5)
    for group, (i, j) in enumerate(((0, 1), (2, 3))):
        for layers, side in zip((tokens, decoded), found, strict=True):
            mean = ((layers[i] + layers[j]) / 2)[:, 1:]  # without the class token
            np.testing.assert_allclose(side[group], mean.reshape(2, 4, 4, 192).transpose(0, 3, 1, 2), atol=1e-4)


def test_map_and_score_by_hand() -> None:
    """Mean of two maps of 1 - cosine, resized, smoothed; the 41 highest of 64 x 64 pixels averaged."""
    method, batch = build().eval(), images(2)
    with torch.no_grad():
        encoded, decoded = method.features(batch)
        prediction = method.predict(batch)
    local = np.zeros((2, 4, 4))
    for e, d in zip(encoded, decoded, strict=True):
        a, b = e.numpy(), d.numpy()
        local += (1 - (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))) / 2
    big = F.interpolate(torch.from_numpy(local)[:, None], (SIDE, SIDE), mode="bilinear").numpy()[:, 0]
    weights = np.exp(-(np.arange(-2, 3)[:, None] ** 2 + np.arange(-2, 3) ** 2) / (2 * 4.0**2))
    padded = np.pad(big, ((0, 0), (2, 2), (2, 2)), mode="edge")
    smooth = sum(
        weights[i, j] / weights.sum() * padded[:, i : i + SIDE, j : j + SIDE] for i in range(5) for j in range(5)
    )
    np.testing.assert_allclose(prediction.map[:, 0], smooth, atol=1e-5)
    np.testing.assert_allclose(prediction.score, np.sort(smooth.reshape(2, -1))[:, -41:].mean(1), atol=1e-5)


def test_smoothing_keeps_a_constant_map() -> None:
    torch.testing.assert_close(_smooth(torch.full((1, 1, 7, 9), 0.3)), torch.full((1, 1, 7, 9), 0.3))


def test_no_gradient_reaches_the_target() -> None:
    e, d = torch.rand(1, 2, 3, 3, requires_grad=True), torch.rand(1, 2, 3, 3, requires_grad=True)
    mined_cosine(e, d, 0.5).sum().backward()
    assert e.grad is None
    assert d.grad is not None


def test_the_loss_is_global_and_its_gradient_shrinks_where_it_is_easy() -> None:
    """Of 8 locations the 2 worst keep their gradient, the other 6 a tenth; the loss itself does not know."""
    torch.manual_seed(0)
    e, d = torch.randn(2, 5, 2, 2), torch.randn(2, 5, 2, 2, requires_grad=True)
    (plain,) = torch.autograd.grad(mined_cosine(e, d, 0.0).sum(), d)
    loss = mined_cosine(e, d, 0.75)
    (mined,) = torch.autograd.grad(loss.sum(), d)
    a, b = e.numpy(), d.detach().numpy()
    for n in range(2):
        cosine = (a[n] * b[n]).sum() / np.sqrt((a[n] ** 2).sum() * (b[n] ** 2).sum())
        assert float(loss[n].detach()) == pytest.approx(1 - cosine, abs=1e-6)
    local = 1 - (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    hard = local >= np.sort(local.ravel())[-2]
    assert hard.sum() == 2
    np.testing.assert_allclose(mined, plain.numpy() * np.where(hard, 1.0, 0.1)[:, None], rtol=1e-5)


def test_mining_rises_over_a_thousand_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []

    def watched(encoded: torch.Tensor, decoded: torch.Tensor, share: float) -> torch.Tensor:
        shares.append(share)
        return mined_cosine(encoded, decoded, share)

    monkeypatch.setattr("unremarkable.methods.dinomaly.mined_cosine", watched)
    method = build().train()

    class Stay:
        step = 0

        def __call__(self, optimizer: str, loss: torch.Tensor) -> None: ...

    for Stay.step in (0, 500, 1000, 5000):
        method._step(images(1), Stay())
    assert shares[::2] == pytest.approx([0, 0.45, 0.9, 0.9])


def test_the_encoder_stays_and_dropout_is_for_training() -> None:
    method, batch = build(), images(2)
    (optimizer,) = phase_of(method).optimizers().values()
    moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert moved == {id(p) for p in method.decoder.parameters()}
    assert not any(p.requires_grad for p in method.encoder.parameters())
    assert not method.train().encoder.training
    with torch.no_grad():
        assert not torch.equal(method.features(batch)[1][0], method.features(batch)[1][0])
        method.eval()
        assert torch.equal(method.features(batch)[1][0], method.features(batch)[1][0])


def test_without_weights_it_says_where_and_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNREMARKABLE_WEIGHTS", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        build(pretrained=True).prepare()
    text = str(caught.value)
    for part in ("vit_tiny_patch16", str(tmp_path), "curl -L", "huggingface.co/timm", "pretrained=false"):
        assert part in text
    assert "\n" not in text


def test_random_weights_are_said() -> None:
    random = build()
    random.prepare()
    assert phase_of(random).name == "decoder of random encoder"
    assert random.settled() == {"encoder": "random weights"}
    assert phase_of(build(pretrained=True)).name == "decoder"
    assert build(pretrained=True).settled() == {}


@pytest.mark.parametrize(
    ("options", "side", "message"),
    [
        ({}, 50, "dinomaly: vit-tiny-16 takes sides that are multiples of 16"),
        ({"encoder": "vit-huge"}, SIDE, "vit-"),
        ({"layers": (0, 1, 2)}, SIDE, "2 equal groups"),
        ({"layers": (10, 12)}, SIDE, "block 12"),
        ({"layers": (-1, 2)}, SIDE, "cannot divide"),
        ({"dropout": 1.0}, SIDE, "dropout"),
        ({"epochs": 0}, SIDE, "epochs must be positive"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], side: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Dinomaly(DinomalyOptions(**TINY | options), (side, side), 1)


def test_the_optimiser_is_the_published_one() -> None:
    """StableAdamW at 2e-3, gradients of norm 0.1 at most; 100 steps up, then down to a tenth."""
    method = build()
    phase = phase_of(method)
    (optimizer,) = phase.optimizers().values()
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"], group["eps"]) == (2e-3, 1e-4, 1e-10)
    assert {id(p) for p in group["params"]} == {id(p) for p in method.decoder.parameters()}
    for parameter in group["params"]:
        parameter.grad = torch.full_like(parameter, 1e3)
    optimizer.step()
    norm = torch.stack([parameter.grad.norm() for parameter in group["params"]]).norm()
    assert norm.item() == pytest.approx(0.1, rel=1e-3)
    assert phase.rate is not None
    assert [phase.rate(step, 10_000) for step in (0, 99, 10_000)] == pytest.approx([0.01, 1.0, 0.1])
