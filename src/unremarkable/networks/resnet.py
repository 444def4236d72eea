"""ResNet-18, 34, 50 and Wide ResNet-50-2: the trunk in plain torch, with torchvision's parameter names.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1; as in torchvision, a bottleneck strides
in its 3x3 convolution. Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class _Variant:
    blocks: tuple[int, int, int, int]
    bottleneck: bool
    #: multiplies the width of the 3x3 convolution inside a bottleneck
    widen: int = 1


VARIANTS = {
    "resnet18": _Variant((2, 2, 2, 2), bottleneck=False),
    "resnet34": _Variant((3, 4, 6, 3), bottleneck=False),
    "resnet50": _Variant((3, 4, 6, 3), bottleneck=True),
    "wide_resnet50_2": _Variant((3, 4, 6, 3), bottleneck=True, widen=2),
}


class ResNet(nn.Module):
    """Features of `layer1` to `layer4`, at strides 4, 8, 16 and 32, of `(N, 3, H, W)` normalised images.

    Built only as deep as the first `depth` stages need.
    """

    #: parameters of the published file that belong to the classifier, not to the trunk
    HEAD = ("fc.",)
    STRIDES = (4, 8, 16, 32)
    MEAN = (0.485, 0.456, 0.406)
    STD = (0.229, 0.224, 0.225)

    def __init__(self, name: str, depth: int = 4) -> None:
        super().__init__()
        variant = VARIANTS[name]
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        channels: list[int] = []
        self._layers: list[str] = []
        for stage in range(depth):
            width = 64 * 2**stage
            outputs = 4 * width if variant.bottleneck else width
            blocks: list[nn.Module] = []
            for index in range(variant.blocks[stage]):
                stride = 2 if stage > 0 and index == 0 else 1
                if variant.bottleneck:
                    blocks.append(Bottleneck(inputs, width * variant.widen, outputs, stride))
                else:
                    blocks.append(BasicBlock(inputs, outputs, stride))
                inputs = outputs
            self._layers.append(f"layer{stage + 1}")
            self.add_module(self._layers[-1], nn.Sequential(*blocks))
            channels.append(outputs)
        self.channels = tuple(channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Every stage that was built, fine to coarse."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        features = []
        for layer in self._layers:
            x = self.get_submodule(layer)(x)
            features.append(x)
        return features


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; the 3x3 one strides."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
