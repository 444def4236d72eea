"""Reverse distillation: a one-class bottleneck over an encoder's stages, and a decoder that mirrors the encoder.

Deng and Li, "Anomaly Detection via Reverse Distillation from One-Class Embedding", CVPR 2022, sections 3.2 and 3.3.
They mirror ResNets. One rule covers the other families here: a decoder's stage is the encoder's stage of the same
resolution, its striding entry replaced by one that doubles the resolution of the next coarser stage.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.errors import UsageError
from unremarkable.networks import efficientnet_lite, resnet, vgg


class OneClassBottleneck(nn.Module):
    """Features of three stages, fine to coarse, fused at the coarsest (MFF) and embedded at half of it (OCE).

    The embedding is a copy, with random weights, of the stage that follows in the encoder; for a ResNet its fourth.
    """

    def __init__(self, name: str, channels: Sequence[int]) -> None:
        super().__init__()
        first, second, third = channels
        self.fine = nn.Sequential(_halve(first, second), _halve(second, third))
        self.middle = _halve(second, third)
        self.fuse = nn.Sequential(nn.Conv2d(3 * third, third, 1, bias=False), nn.BatchNorm2d(third), nn.ReLU())
        self.embed = _following_stage(name, third)
        self.apply(_initialise)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        fine, middle, coarse = features
        return self.embed(self.fuse(torch.cat([self.fine(fine), self.middle(middle), coarse], dim=1)))


class ReverseDecoder(nn.Module):
    """The embedding decoded into features of three stages, given back fine to coarse.

    `channels` are those of four stages of the encoder, fine to coarse, the last one the embedding's.
    """

    def __init__(self, name: str, channels: Sequence[int]) -> None:
        super().__init__()
        first = _first_stage(name)
        self.stages = nn.ModuleList(_upward_stage(name, first + i, channels[i + 1]) for i in range(3))
        self.apply(_initialise)

    def forward(self, embedding: Tensor) -> list[Tensor]:
        features = [embedding]
        for stage in reversed(self.stages):
            features.insert(0, stage(features[0]))
        return features[:-1]


def mirrored_stages(name: str) -> tuple[int, ...]:
    """The last four stages of an encoder: three to distil, and the one that the embedding copies.

    Raises:
        UsageError: no mirror is known for that encoder.
    """
    families = (resnet.VARIANTS, efficientnet_lite.VARIANTS, vgg.VARIANTS)
    if not any(name in family for family in families):
        known = ", ".join(sorted(name for family in families for name in family))
        raise UsageError(f"rd4ad mirrors its encoder, and {name} has no mirror here; take one of {known}")
    first = _first_stage(name)
    return tuple(range(first, first + 4))


class UpBasicBlock(nn.Module):
    """A ResNet's basic block whose first convolution is a transposed one of 2x2 and stride 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _double(inputs, outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = _double(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch(x) + self.shortcut(x))


class UpBottleneck(nn.Module):
    """A ResNet's bottleneck whose middle convolution is a transposed one of 2x2 and stride 2."""

    def __init__(self, inputs: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            _double(inner, inner),
            nn.ReLU(),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = _double(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch(x) + self.shortcut(x))


class UpInverted(nn.Module):
    """An inverted residual block whose depthwise convolution is a transposed one of 2x2 and stride 2.

    Like the striding block it mirrors, it has no identity; and it ends without an activation.
    """

    def __init__(self, inputs: int, outputs: int, expand: int = 6) -> None:
        super().__init__()
        inner = inputs * expand
        self.expand = nn.Sequential(nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU6())
        # A transposed convolution of 2x2 and stride 2 on single channels: each pixel becomes four, by four weights.
        self.spread = nn.Parameter(torch.empty(inner, 2, 2))
        nn.init.normal_(self.spread)
        self.norm = nn.BatchNorm2d(inner)
        self.project = nn.Sequential(nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x)
        height, width = x.shape[-2:]
        spread = self.spread.to(x.dtype).repeat(1, height, width)
        x = F.interpolate(x, scale_factor=2.0, mode="nearest") * spread
        return self.project(F.relu6(self.norm(x)))


def _first_stage(name: str) -> int:
    """VGG's full resolution has no counterpart in the other families, and is left out."""
    return 1 if name in vgg.VARIANTS else 0


def _upward_stage(name: str, index: int, inputs: int) -> nn.Sequential:
    """Stage `index` of an encoder, entered from the next coarser stage."""
    entry: nn.Module
    blocks: list[nn.Module]
    if name in resnet.VARIANTS:
        blocks = _resnet_stage(name, index)
        old = blocks[0]
        if isinstance(old, resnet.Bottleneck):
            entry = UpBottleneck(inputs, old.conv2.out_channels, old.conv3.out_channels)
        else:
            assert isinstance(old, resnet.BasicBlock)
            entry = UpBasicBlock(inputs, old.conv2.out_channels)
    elif name in efficientnet_lite.VARIANTS:
        blocks = _lite_stage(name, index)
        old = blocks[0]
        assert isinstance(old, efficientnet_lite.Block)
        entry = UpInverted(inputs, old._project_conv.out_channels)
    else:
        outputs, count = vgg.VARIANTS[name][index]
        entry = nn.Sequential(_double(inputs, outputs), nn.ReLU())
        blocks = [_conv3x3(outputs, outputs) for _ in range(count)]
    return nn.Sequential(entry, *blocks[1:])


def _following_stage(name: str, inputs: int) -> nn.Sequential:
    """The encoder's last stage, entered at half the resolution of the one before."""
    if name in resnet.VARIANTS:
        return nn.Sequential(*_resnet_stage(name, 3))
    if name in efficientnet_lite.VARIANTS:
        return nn.Sequential(*_lite_stage(name, 3))
    outputs, count = vgg.VARIANTS[name][4]
    return nn.Sequential(
        nn.MaxPool2d(2), _conv3x3(inputs, outputs), *(_conv3x3(outputs, outputs) for _ in range(count - 1))
    )


def _resnet_stage(name: str, index: int) -> list[nn.Module]:
    return list(resnet.ResNet(name, depth=index + 1).get_submodule(f"layer{index + 1}").children())


def _lite_stage(name: str, index: int) -> list[nn.Module]:
    """The blocks of one resolution, the striding one first."""
    stages: list[list[nn.Module]] = []
    for block in efficientnet_lite.EfficientNetLite(name, depth=index + 1)._blocks:
        assert isinstance(block, efficientnet_lite.Block)
        if block._depthwise_conv.stride[0] == 2:
            stages.append([])
        if stages:  # what comes before the first stride of 4 belongs to the stem
            stages[-1].append(block)
    return stages[index]


def _halve(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False), nn.BatchNorm2d(outputs))


def _conv3x3(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _initialise(module: nn.Module) -> None:
    """He initialisation."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
