"""DenseNet-121: the trunk in plain torch, with torchvision's parameter names.

Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, table 1: growth rate 32, bottlenecks of four times
that, transitions that halve the channels.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: layers of each dense block
VARIANTS = {"densenet121": (6, 12, 24, 16)}
_GROWTH, _BOTTLENECK, _STEM = 32, 4, 64


class DenseNet(nn.Module):
    """Features of the four dense blocks, at strides 4, 8, 16 and 32, of `(N, 3, H, W)` normalised images.

    The first three are what the block gives, before the transition to the next; the last is after the final batch
    normalisation and ReLU, as what follows it in the classifier sees it. Built only as deep as the first `depth` stages
    need.
    """

    #: parameters of the published file that belong to the classifier, not to the trunk
    HEAD = ("classifier.",)
    STRIDES = (4, 8, 16, 32)
    MEAN = (0.485, 0.456, 0.406)
    STD = (0.229, 0.224, 0.225)

    def __init__(self, name: str, depth: int = 4) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(3, _STEM, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(_STEM),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        counts = VARIANTS[name]
        width = _STEM
        channels = []
        self._ends: list[str] = []
        for stage, count in enumerate(counts[:depth], start=1):
            if stage > 1:
                layers[f"transition{stage - 1}"] = Transition(width)
                width //= 2
            layers[f"denseblock{stage}"] = DenseBlock(width, count)
            width += count * _GROWTH
            channels.append(width)
            self._ends.append(f"denseblock{stage}")
        if depth == len(counts):
            layers["norm5"] = nn.BatchNorm2d(width)
            layers["relu5"] = nn.ReLU()
            self._ends[-1] = "relu5"
        self.features = nn.Sequential(layers)
        self.channels = tuple(channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Every stage that was built, fine to coarse."""
        found = []
        for name, layer in self.features.named_children():
            x = layer(x)
            if name in self._ends:
                found.append(x)
        return found


class DenseBlock(nn.Module):
    """Layers that each see everything before them in the block, and add `_GROWTH` channels to it."""

    def __init__(self, inputs: int, count: int) -> None:
        super().__init__()
        for index in range(count):
            self.add_module(f"denselayer{index + 1}", DenseLayer(inputs + index * _GROWTH))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class DenseLayer(nn.Module):
    """The new channels of one layer: normalise, ReLU, 1x1, normalise, ReLU, 3x3."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        inner = _BOTTLENECK * _GROWTH
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, _GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv1(F.relu(self.norm1(x)))
        y = self.conv2(F.relu(self.norm2(y)))
        return y


class Transition(nn.Module):
    """Half the channels, half the resolution: normalise, ReLU, 1x1, average over 2x2."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, inputs // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict with the names that modules may have today: its file still says `norm.1` for `norm1`."""
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.", r"\1", key): value for key, value in state.items()}
