"""The decoder of EDC: a ResNet's last three stages run backwards, bilinear upsampling for strides."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.networks.resnet import VARIANTS

#: width of the 3x3 convolutions at the finest, middle and coarsest of the three stages
WIDTHS = (64, 128, 256)


class EDCDecoder(nn.Module):
    """Rebuilds three encoder stages from a fourth, deeper one.

    Args:
        name: the ResNet whose blocks and numbers of blocks are mirrored.
        channels: of the encoder's four stages, fine to coarse. Where the decoder's own are others, one 1x1 convolution
            a stage translates, without an activation.
    """

    def __init__(self, name: str, channels: Sequence[int]) -> None:
        super().__init__()
        variant = VARIANTS[name]
        stages: list[nn.Module] = []
        heads: list[nn.Module] = []
        inputs = channels[-1]
        for width, blocks, outputs in reversed(list(zip(WIDTHS, variant.blocks[:3], channels[:3], strict=True))):
            stage = Stage(inputs, width, blocks, variant.bottleneck, variant.widen)
            inputs = stage.outputs
            stages.append(stage)
            heads.append(nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1))
        self.stages, self.heads = nn.ModuleList(stages), nn.ModuleList(heads)
        self.apply(_initialise)

    def forward(self, deepest: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Features with the encoder's channels at these three sizes, both fine to coarse."""
        features: list[Tensor] = []
        x = deepest
        for stage, head, size in zip(self.stages, self.heads, reversed(sizes), strict=True):
            x = stage(x, size)
            features.insert(0, head(x))
        return features


class Stage(nn.Module):
    """Residual blocks, of which the first resizes."""

    def __init__(self, inputs: int, width: int, blocks: int, bottleneck: bool, widen: int) -> None:
        super().__init__()
        self.outputs = 4 * width if bottleneck else width
        self.blocks = nn.ModuleList(
            Block(inputs if i == 0 else self.outputs, width * widen, self.outputs, bottleneck) for i in range(blocks)
        )

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        for block in self.blocks:
            x = block(x, size)
        return x


class Block(nn.Module):
    """Residual block whose last 3x3 convolution sees the input at the size asked for.

    Args:
        inputs: channels that come in.
        width: of the 3x3 convolutions.
        outputs: channels that go out.
        bottleneck: 1x1, 3x3 and 1x1 convolutions; two of 3x3 otherwise.
    """

    def __init__(self, inputs: int, width: int, outputs: int, bottleneck: bool) -> None:
        super().__init__()
        side = 1 if bottleneck else 3
        self.before = nn.Sequential(*_conv_norm(inputs, width, side), nn.ReLU())
        after = [*_conv_norm(width, width, 3), nn.ReLU(), *_conv_norm(width, outputs, 1)]
        self.after = nn.Sequential(*(after if bottleneck else _conv_norm(width, outputs, 3)))
        same = inputs == outputs
        self.shortcut: nn.Module = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm: nn.Module = nn.Identity() if same else nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        y = self.after(_resize(self.before(x), size))
        return F.relu(y + self.norm(_resize(self.shortcut(x), size)))


def _conv_norm(inputs: int, outputs: int, side: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False), nn.BatchNorm2d(outputs)]


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
