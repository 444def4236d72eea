"""The cloners of MKD against the paper's figure 2, and guided backpropagation by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unremarkable.networks.cloner import GuidedBackprop, PlainCloner, Source


def plan(cloner: nn.Module) -> list[int | str]:
    """Widths and poolings, as the paper's figure counts them."""
    layers: list[int | str] = []
    for layer in cloner.modules():
        if isinstance(layer, nn.Conv2d):
            layers.append(layer.out_channels)
        elif isinstance(layer, nn.MaxPool2d):
            layers.append("M")
    return layers


# fmt: off
PLANS = {
    True: [16, 16, "M", 16, 128, "M", 16, 16, 256, "M", 16, 16, 512, "M", 16, 16, 512, "M"],
    False: [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"],
}
# fmt: on


@pytest.mark.parametrize("small", [True, False])
def test_cloners_of_vgg_are_the_papers(small: bool) -> None:
    cloner = PlainCloner((128, 256, 512, 512), rectified=True, small=small)
    assert plan(cloner) == PLANS[small]
    convolutions = [layer for layer in cloner.modules() if isinstance(layer, nn.Conv2d)]
    assert all(conv.bias is None and conv.kernel_size == (3, 3) for conv in convolutions)
    for block in cloner.blocks:
        kinds = [type(layer).__name__ for layer in block]  # type: ignore[union-attr]
        assert kinds[-3:] == ["Conv2d", "ReLU", "MaxPool2d"], "no batch norm before a pooling"
        assert kinds[:-3] == ["Conv2d", "BatchNorm2d", "ReLU"] * (len(kinds[:-3]) // 3)


def test_sources_give_their_critical_points() -> None:
    images = torch.rand(1, 1, 64, 64)
    for name, channels, rectified in (
        ("vgg16", (128, 256, 512, 512), True),
        ("resnet18", (64, 128, 256, 512), True),
        ("efficientnet-lite0", (24, 40, 112, 320), False),
    ):
        source = Source(name).train()
        assert not source.training
        assert source.rectified is rectified
        with torch.no_grad():
            features = source(images)
            clones = PlainCloner(channels, rectified, small=True)(source.normalise(images))
        assert [tuple(f.shape[1:]) for f in features] == [(c, 16 >> i, 16 >> i) for i, c in enumerate(channels)]
        assert [f.shape for f in features] == [c.shape for c in clones]
        assert all((f.min() >= 0) == rectified for f in features)
        assert all((c.min() >= 0) == rectified for c in clones)


def test_vggs_critical_points_are_pooled() -> None:
    source = Source("vgg16")
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        net = source.backbone.net.features
        x = source.normalise(images)
        for layer in list(net)[:9]:  # to relu2_2, the ninth layer
            x = layer(x)
        torch.testing.assert_close(source(images)[0], F.max_pool2d(x, 2))


def test_guided_backpropagation_by_hand() -> None:
    """y = -2 relu(x1) + 3 relu(x2) + 5 relu(x3) at x = (1, 1, -1): the plain gradient is (-2, 3, 0)."""
    weights = torch.tensor([-2.0, 3.0, 5.0])
    for rectify in (F.relu, F.relu6, nn.ReLU()):
        x = torch.tensor([1.0, 1.0, -1.0], requires_grad=True)
        (plain,) = torch.autograd.grad((weights * rectify(x)).sum(), x)
        with GuidedBackprop():
            y = (weights * rectify(x)).sum()
        (guided,) = torch.autograd.grad(y, x)
        assert plain.tolist() == [-2, 3, 0]
        assert guided.tolist() == [0, 3, 0]
