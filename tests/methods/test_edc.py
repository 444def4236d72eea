"""EDC: loss, map and score by hand; what may move, and by which way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unremarkable.errors import UsageError
from unremarkable.methods.base import Phase
from unremarkable.methods.edc import EDC, EDCOptions
from unremarkable.methods.registry import method_class

SIDE = 64


def build(**options: Any) -> EDC:
    torch.manual_seed(0)
    return EDC(EDCOptions(**{"decoder": "resnet18"} | options), (SIDE, SIDE), 1)


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def phase_of(method: EDC) -> Phase:
    (phase,) = method.phases()
    assert isinstance(phase, Phase)
    return phase


def test_is_registered() -> None:
    assert method_class("edc") is EDC


def test_loss_map_and_score_by_hand() -> None:
    """Three flattened cosines summed; three maps of cosines, resized to the finest and averaged; the maximum."""
    method, batch = build().eval(), images(2)
    with torch.no_grad():
        encoded, decoded = method.features(batch)
        loss, prediction = method.loss(batch), method.predict(batch)
    assert [tuple(e.shape[1:]) for e in encoded] == [(24, 16, 16), (40, 8, 8), (112, 4, 4)]
    total, average = np.zeros(2), np.zeros((2, 1, 16, 16))
    for e, d in zip(encoded, decoded, strict=True):
        a, b = e.numpy(), d.numpy()
        for n in range(2):
            total[n] += 1 - (a[n] * b[n]).sum() / np.sqrt((a[n] ** 2).sum() * (b[n] ** 2).sum())
        local = 1 - (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
        average += F.interpolate(torch.from_numpy(local)[:, None], (16, 16), mode="bilinear").numpy() / 3
    np.testing.assert_allclose(loss, total, rtol=1e-5)
    np.testing.assert_allclose(prediction.map, average, atol=1e-5)
    np.testing.assert_allclose(prediction.score, average.reshape(2, -1).max(1), atol=1e-5)


def test_mean_is_the_other_published_score() -> None:
    with torch.no_grad():
        prediction = build(rule="mean").eval().predict(images(2))
    torch.testing.assert_close(prediction.score, prediction.map.mean(dim=(1, 2, 3)))


def test_the_loss_reaches_the_encoder_through_the_deepest_features_alone() -> None:
    method = build().train()
    method.loss(images(2)).mean().backward()
    assert sum(float(p.grad.abs().sum()) for p in method.encoder.parameters() if p.grad is not None) > 0

    method = build().train()
    method.decoder.register_forward_pre_hook(lambda _, inputs: (inputs[0].detach(), *inputs[1:]))
    method.loss(images(2)).mean().backward()
    assert all(p.grad is None for p in method.encoder.parameters())
    assert any(p.grad is not None for p in method.decoder.parameters())


def test_rates_decay_and_batch_norm_are_the_options() -> None:
    method = build(momentum=0.01)
    (optimizer,) = phase_of(method).optimizers().values()
    assert [group["lr"] for group in optimizer.param_groups] == [5e-4, 1e-5]
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-4}
    assert {m.momentum for m in method.modules() if isinstance(m, nn.BatchNorm2d)} == {0.01}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(method.parameters()))
    for parameter in method.parameters():
        parameter.grad = torch.full_like(parameter, 1e3)
    optimizer.step()
    norm = torch.stack([parameter.grad.norm() for parameter in method.parameters()]).norm()
    assert norm.item() == pytest.approx(1.0, rel=1e-3), "gradients are clipped"


@pytest.mark.parametrize(
    ("options", "side", "message"),
    [
        ({}, 63, "edc needs images of at least 64 x 64"),
        ({"decoder": "vgg16"}, SIDE, "decoder"),
        ({"rule": "top1"}, SIDE, "rule"),
        ({"epochs": 0}, SIDE, "epochs must be positive"),
        ({"momentum": 0.0}, SIDE, "momentum"),
        ({"backbone": "efficientnet-lite9"}, SIDE, "efficientnet-lite"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], side: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EDC(EDCOptions(**options), (side, side), 1)
