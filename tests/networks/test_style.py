"""Content and style losses in numpy, the published layers, and where weights come from."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unremarkable.errors import UsageError
from unremarkable.networks import weights
from unremarkable.networks.style import VGG19, StyleLosses, gram

from .by_hand import Array, array


def test_gram_matrix_by_hand() -> None:
    # two channels of two pixels: (1, 2) and (3, 4); 1 + 4, 3 + 8, 9 + 16, over 2 x 1 x 2
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    torch.testing.assert_close(gram(features), torch.tensor([[[5.0, 11.0], [11.0, 25.0]]]) / 4)


def by_hand(one: Array, other: Array) -> tuple[float, float]:
    """Of the features of one stage."""
    grams = [np.einsum("nchw,ndhw->ncd", f, f) / f[0].size for f in (one, other)]
    return np.abs(one - other).mean(), np.abs(grams[0] - grams[1]).mean()


@pytest.mark.parametrize("channels", [1, 3])
def test_own_losses_by_hand_are_relative_to_the_original(channels: int) -> None:
    torch.manual_seed(0)
    losses = StyleLosses()
    a, b = torch.rand(2, 2, channels, 40, 48)
    content = style = 0.0
    with torch.no_grad():
        for features_a, features_b in zip(losses.trunk(a), losses.trunk(b), strict=True):
            one, other = array(features_a), array(features_b)
            size = np.sqrt((other**2).mean((1, 2, 3), keepdims=True))
            parts = by_hand(one / size, other / size)
            content, style = content + parts[0], style + parts[1]
        found = losses(a, b)
    np.testing.assert_allclose([float(loss) for loss in found], [content, style], rtol=1e-4)
    assert losses(a, a) == (0, 0)


def test_published_losses_by_hand() -> None:
    torch.manual_seed(0)
    losses = StyleLosses("vgg19")
    a, b = torch.rand(2, 2, 1, 32, 32)
    with torch.no_grad():
        sides = list(zip(losses.trunk(a), losses.trunk(b), strict=True))
        parts = [[by_hand(array(x), array(y)) for x, y in zip(*side, strict=True)] for side in sides]
        found = losses(a, b)
    expected = sum(part[0] for part in parts[0]), sum(part[1] for part in parts[1])
    np.testing.assert_allclose([float(loss) for loss in found], expected, rtol=1e-4)


def test_vgg19_takes_the_published_layers() -> None:
    """Torchvision's indices of the convolutions, and what each list of layers is one ReLU after."""
    network = VGG19()
    convolutions = [int(key.split(".")[1]) for key in network.state_dict() if key.endswith("weight")]
    assert convolutions == [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30]
    seen = {}
    for index in convolutions:
        network.features[index + 1].register_forward_hook(lambda _, __, out, i=index: seen.update({i: out}))
    with torch.no_grad():
        content, style = network(torch.rand(1, 1, 32, 32))
    expected_content, expected_style = [0, 5, 10, 19, 28], [7, 16, 25, 30]
    assert all(torch.equal(found, seen[i]) for found, i in zip(content, expected_content, strict=True))
    assert all(torch.equal(found, seen[i]) for found, i in zip(style, expected_style, strict=True))
    assert [features.shape[1] for features in content] == [64, 128, 256, 512, 512]


def test_it_never_learns_and_lets_gradients_through() -> None:
    losses = StyleLosses("vgg19").train()
    assert not any(module.training for module in losses.modules())
    assert not any(parameter.requires_grad for parameter in losses.parameters())
    a = torch.rand(1, 1, 32, 32, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        content, style = losses(a, torch.rand(1, 1, 32, 32))
    assert content.dtype == style.dtype == torch.float32
    (content + style).backward()
    assert a.grad is not None
    assert a.grad.abs().sum() > 0


def test_weights_of_vgg19_come_from_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNREMARKABLE_CACHE", str(tmp_path / "none"))
    losses = StyleLosses("vgg19")
    with pytest.raises(UsageError, match=r"no vgg19-dcbb9e9d\.pth .* unremarkable weights get vgg19"):
        losses.load_pretrained()
    published = {key: torch.full_like(value, 0.5) for key, value in losses.trunk.state_dict().items()}
    path = tmp_path / "vgg19-dcbb9e9d.pth"
    torch.save(published | {"classifier.6.bias": torch.zeros(1000)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(weights._FILES, "vgg19", replace(weights._FILES["vgg19"], sha256=digest))
    monkeypatch.setenv("UNREMARKABLE_WEIGHTS", str(tmp_path))
    losses.load_pretrained()
    assert all((value == 0.5).all() for value in losses.trunk.state_dict().values())


def test_unknown_networks_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown feature network 'vgg18'; did you mean 'vgg19'"):
        StyleLosses("vgg18")
