"""The perceptual distance: its formula in numpy, its networks layer by layer, and where its weights come from."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.networks import weights
from unremarkable.networks.lpips_trunks import LpipsTrunk
from unremarkable.networks.perceptual import Perceptual, PerceptualName

from .by_hand import array


def two(channels: int = 1, size: tuple[int, int] = (48, 40)) -> tuple[Tensor, Tensor]:
    return torch.rand(2, 2, channels, *size, generator=torch.Generator().manual_seed(0)).unbind()


@pytest.fixture(scope="module")
def own() -> Perceptual:
    distance = Perceptual()
    distance.load_pretrained()
    return distance


def test_equation_1_by_hand() -> None:
    torch.manual_seed(0)
    distance = Perceptual("lpips-alex")
    for layer in distance.weigh:
        layer.weight.uniform_()
    a, b = two(3)
    expected = np.zeros(2)
    with torch.no_grad():
        stages = zip(distance.trunk(a), distance.trunk(b), distance.weigh, strict=True)
        for features_a, features_b, layer in stages:
            y, y0, w = array(features_a), array(features_b), array(layer.weight)[0, :, 0, 0]
            y = y / np.sqrt((y**2).sum(1, keepdims=True))
            y0 = y0 / np.sqrt((y0**2).sum(1, keepdims=True))
            # w acts on the squared difference, as in the published weights, not before the square
            expected += np.einsum("c,nchw->n", w, (y - y0) ** 2) / (y.shape[2] * y.shape[3])
        found = distance(a, b)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_own_distance_weighs_every_channel_alike(own: Perceptual) -> None:
    a, b = two()
    with torch.no_grad():
        expected = torch.zeros(2)
        for y, y0 in zip(own.trunk(a), own.trunk(b), strict=True):
            cosine = (y * y0).sum(1) / y.norm(dim=1) / y0.norm(dim=1)
            expected += (2 - 2 * cosine).mean((1, 2))  # of unit vectors, |a - b|² = 2 - 2 a·b
        torch.testing.assert_close(own(a, b), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(own(a, a), torch.zeros(2), rtol=0, atol=0)
        torch.testing.assert_close(own(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1)), own(a, b))


def test_maps_show_where(own: Perceptual) -> None:
    a, _ = two(size=(64, 64))
    a = 0.5 + 0.1 * a
    b = a.clone()
    b[:, :, 40:56, 8:24] = 0
    with torch.no_grad():
        maps = own.maps(a, b)
        assert maps.shape == (2, 1, 64, 64)
        assert (maps >= 0).all()
        assert (maps[:, 0, 44:52, 12:20].mean((1, 2)) > 3 * maps[:, 0, :20, 40:].mean((1, 2))).all()
        stages = own._stages(a, b)
        assert [tuple(stage.shape[2:]) for stage in stages] == [(16, 16), (8, 8), (4, 4), (2, 2)]
        expected = sum(torch.nn.functional.interpolate(s, (64, 64), mode="bilinear") for s in stages)
    torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize("name", [*get_args(PerceptualName)])
def test_it_never_learns_and_lets_gradients_through(name: str) -> None:
    if name == "lpips-vgg":
        pytest.skip("the same code as the first; slow")
    torch.manual_seed(0)
    distance = Perceptual(name).train()
    assert not any(module.training for module in distance.modules())
    assert not any(parameter.requires_grad for parameter in distance.parameters())
    a, b = two()
    b.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = distance(a, b).mean()
    assert loss.dtype == torch.float32
    loss.backward()
    assert b.grad is not None
    assert b.grad.isfinite().all()
    assert b.grad.abs().sum() > 0


def test_black_images_have_finite_gradients() -> None:
    torch.manual_seed(0)
    distance = Perceptual("lpips-squeeze")
    b = torch.zeros(1, 1, 32, 32, requires_grad=True)
    distance(torch.ones(1, 1, 32, 32), b).sum().backward()
    assert b.grad is not None
    assert b.grad.isfinite().all()


def test_trunks_have_torchvisions_names_and_sizes() -> None:
    alex, squeeze = LpipsTrunk("alexnet-owt"), LpipsTrunk("squeezenet1_1")
    assert sum(p.numel() for p in alex.parameters()) == 2_469_696
    # 1,235,496 in torchvision's table, less its classifier of 512 · 1000 + 1000
    assert sum(p.numel() for p in squeeze.parameters()) == 1_235_496 - 513_000
    assert "features.10.weight" in alex.state_dict()
    assert "features.12.expand3x3.weight" in squeeze.state_dict()
    images = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert [tuple(f.shape[1:]) for f in alex(images)] == [
            (64, 15, 15),
            (192, 7, 7),
            (384, 3, 3),
            (256, 3, 3),
            (256, 3, 3),
        ]
        assert [tuple(f.shape[1:]) for f in squeeze(images)] == [
            (64, 31, 31),
            (128, 15, 15),
            (256, 7, 7),
            (384, 3, 3),
            (384, 3, 3),
            (512, 3, 3),
            (512, 3, 3),
        ]
        assert all(features.min() == 0 for features in [*alex(images), *squeeze(images)])


def test_lpips_takes_trunk_and_channel_weights_from_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNREMARKABLE_WEIGHTS", str(tmp_path))
    torch.manual_seed(0)
    published = Perceptual("lpips-squeeze")
    trunk = published.trunk.state_dict() | {"classifier.1.weight": torch.zeros(1000, 512, 1, 1)}
    lins = {f"lin{i}.model.1.weight": torch.rand_like(layer.weight) for i, layer in enumerate(published.weigh)}
    for name, state in (("squeezenet1_1", trunk), ("lpips-squeeze", lins)):
        path = tmp_path / weights._FILES[name].file
        path.parent.mkdir(exist_ok=True)
        torch.save(state, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setitem(weights._FILES, name, replace(weights._FILES[name], sha256=digest))
    fresh = Perceptual("lpips-squeeze")
    fresh.load_pretrained()
    assert torch.equal(fresh.trunk.features[0].weight, published.trunk.features[0].weight)
    for index, layer in enumerate(fresh.weigh):
        assert torch.equal(layer.weight, lins[f"lin{index}.model.1.weight"])


def test_lpips_without_its_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNREMARKABLE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("UNREMARKABLE_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match="unremarkable weights get alexnet-owt"):
        Perceptual("lpips-alex").load_pretrained()
    with pytest.raises(UsageError, match="lpips"):
        Perceptual("lpips")


def test_channel_weights_of_two_versions_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [weights._FILES[f"lpips-{name}"].file for name in ("alex", "squeeze", "vgg")]
    assert asked == ["v0.1/alex.pth", "v0.1/squeeze.pth", "v0.1/vgg.pth"]
