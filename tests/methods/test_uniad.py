"""UniAD: its equations by hand, noise in training alone, and a frozen backbone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unremarkable.errors import UsageError
from unremarkable.methods.base import Collect, Phase
from unremarkable.methods.registry import method_class
from unremarkable.methods.uniad import UniAD, UniADOptions, jittered

SIDE = 64
TINY: dict[str, Any] = {"neighbours": 3, "width": 16, "layers": 1}


def build(**options: Any) -> UniAD:
    torch.manual_seed(0)
    return UniAD(UniADOptions(**TINY | options), (SIDE, SIDE), 1)


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def test_is_registered_and_takes_the_paper_s_strides() -> None:
    assert method_class("uniad") is UniAD
    assert [stage.stride for stage in build().backbone.stages] == [4, 8, 16]
    assert [stage.stride for stage in build(backbone="resnet18").backbone.stages] == [4, 8, 16]
    assert build(stages=(1,)).out.out_features == 40


def test_loss_map_and_score_by_hand() -> None:
    """Equations 7 and 8, and the maximum over every 16 x 16 window of the resized map."""
    method, batch = build().eval(), images(2)
    with torch.no_grad():
        original, rebuilt = method.features(batch)
        loss, prediction = method.loss(batch), method.predict(batch)
    assert original.shape == rebuilt.shape == (2, 24 + 40 + 112, 4, 4)
    squared = ((original.numpy() - rebuilt.numpy()) ** 2).sum(axis=1)
    np.testing.assert_allclose(loss, squared.mean(axis=(1, 2)), rtol=1e-5)
    resized = F.interpolate(torch.from_numpy(np.sqrt(squared))[:, None], (SIDE, SIDE), mode="bilinear").numpy()
    np.testing.assert_allclose(prediction.map, resized, rtol=1e-4)
    windows = np.lib.stride_tricks.sliding_window_view(resized[:, 0], (16, 16), axis=(1, 2))
    np.testing.assert_allclose(prediction.score, windows.mean(axis=(3, 4)).max(axis=(1, 2)), rtol=1e-4)


def test_the_noise_has_the_published_size() -> None:
    tokens = torch.full((1, 4000, 25), 3.0)  # norm 15, so that the deviation is 20 * 15 / 25
    torch.manual_seed(0)
    assert float((jittered(tokens, 20.0) - tokens).std()) == pytest.approx(12, rel=0.02)
    assert torch.equal(jittered(tokens, 0.0), tokens)


def test_noise_and_dropout_are_for_training_alone() -> None:
    method, batch = build(), images(2)
    with torch.no_grad():
        method.eval()
        assert torch.equal(method.loss(batch), method.loss(batch))
        method.train()
        assert not torch.equal(method.loss(batch), method.loss(batch))
        torch.testing.assert_close(method.features(batch)[0], method.eval().features(batch)[0])


def test_features_get_unit_size_and_the_backbone_stays() -> None:
    method, batch = build(), images(4)
    first, phase = method.phases()
    assert isinstance(first, Collect)
    assert isinstance(phase, Phase)
    with torch.no_grad():
        first.collect(iter(batch.split(2)))
        assert float(method.features(batch)[0].square().mean()) == pytest.approx(1, rel=1e-4)
    (optimizer,) = phase.optimizers().values()
    moved = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert moved == {id(p) for name, p in method.named_parameters() if not name.startswith("backbone.")}
    assert not method.train().backbone.training
    assert phase.rate is not None
    assert [phase.rate(step, 1000) for step in (0, 799, 800, 999)] == [1.0, 1.0, 0.1, 0.1]


@pytest.mark.parametrize(
    ("options", "side", "message"),
    [
        ({"neighbours": 7}, 112, "uniad with neighbours=7 needs a side of at least 128"),
        ({"neighbours": 2}, SIDE, "odd"),
        ({"width": 20}, SIDE, "multiple of 8"),
        ({"epochs": 0}, SIDE, "epochs must be positive"),
        ({"dropout": 1.0}, SIDE, "dropout"),
        ({"neighbours": 0}, 16, "at least 32"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], side: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        UniAD(UniADOptions(**TINY | options), (side, side), 1)


def test_the_smallest_side_that_the_mask_allows() -> None:
    assert UniAD(UniADOptions(**TINY | {"neighbours": 7}), (32, 128), 1).transformer.mask.any(dim=1).all()
    assert build(neighbours=0).transformer.mask.all()


def test_the_optimiser_is_the_published_one() -> None:
    """AdamW at 1e-4, decay 1e-4; gradients of norm 0.1 at most; the backbone is not in it."""
    method = build()
    phase = method.phases()[-1]
    assert isinstance(phase, Phase)
    (optimizer,) = phase.optimizers().values()
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (1e-4, 1e-4)
    assert not {id(p) for p in group["params"]} & {id(p) for p in method.backbone.parameters()}
    for parameter in group["params"]:
        parameter.grad = torch.full_like(parameter, 1e3)
    optimizer.step()
    norm = torch.stack([parameter.grad.norm() for parameter in group["params"]]).norm()
    assert norm.item() == pytest.approx(0.1, rel=1e-3)
