"""Decoders that rebuild an encoder's finer features from its coarsest, from blocks of any kind; an encoder of the same.

Source: Lu et al., "Anomaly detection for medical images using heterogeneous auto-encoder", IEEE TIP 2024, III.B.2 and
tables II to IV. Every kind shares one frame (`HybridModule`) with the paper's widths, so that what is compared is the
blocks. Widths and heads of the compared networks are not given there; depths and ratios are those of the smallest
network of each family's own paper.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

from torch import Tensor, nn

from unremarkable.networks.backbones import Backbone, StageInfo
from unremarkable.networks.cmt import CmtBlock
from unremarkable.networks.efficientnet_lite import Block
from unremarkable.networks.mstb import HybridModule, MultiScaleSparseTransformer, conv_block, conv_norm_relu
from unremarkable.networks.pvt import PvtStage
from unremarkable.networks.resnet import BasicBlock
from unremarkable.networks.swin import SwinBlock

Kind = Literal["hybrid", "cnn", "transformer", "swin", "pvt", "cmt", "resnet", "efficientnet"]
Make = Callable[[], nn.Module]


class Stage(NamedTuple):
    """One stage of a decoder: what the paper says of it (IV.B.1), then what the papers of the compared blocks say.

    Attributes:
        width: C_i.
        heads: of every kind of attention.
        patches: p1 and p2 of MSTB; p2 is also R of PVT and k of CMT, which are 8, 4 and 2 in their papers too.
        swin, pvt, cmt: blocks in Swin-T, PVT-Tiny and CMT-Ti.
        pvt_expansion: width of PVT-Tiny's perceptron.
        kernels: of the blocks of EfficientNet-B0, in mirrored order.
    """

    width: int
    heads: int
    patches: tuple[int, int]
    swin: int
    pvt: int
    cmt: int
    pvt_expansion: int
    kernels: tuple[int, ...]


#: fine to coarse
STAGES = (
    Stage(64, 2, (4, 8), 2, 2, 2, 8, (3, 3)),
    Stage(128, 4, (2, 4), 2, 2, 2, 8, (5, 5)),
    Stage(256, 8, (1, 2), 6, 2, 10, 4, (5, 5, 5, 3, 3, 3)),
)
CMT_EXPANSION = 3.6
#: encoders that are the mirror image of a decoder
_OWN_ENCODERS: dict[str, Kind] = {"hybrid": "hybrid", "transformer": "transformer"}


class Decoder(nn.Module):
    """F_E^4 → F_D^1..3, given back fine to coarse with the channels of the encoder's own stages.

    `channels` are those of F_E^1..4 and `grids` their heights and widths, each half of the one before.
    """

    def __init__(self, channels: tuple[int, ...], grids: tuple[tuple[int, int], ...], kind: Kind) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            HybridModule(channels[i + 1], stage.width, channels[i], blocks(kind, stage, grids[i + 1]))
            for i, stage in enumerate(STAGES)
        )

    def forward(self, deepest: Tensor) -> list[Tensor]:
        features = [deepest]
        for stage in reversed(self.stages):
            features.insert(0, stage(features[0]))
        return features[:-1]


class HybridEncoder(nn.Module):
    """The decoder's mirror image, for frameworks of one kind: an encoder that has no pretrained weights.

    The stem of a ResNet gives F_E^1 at stride 4; each further stage halves the resolution and runs the blocks that the
    decoder runs there. `(N, channels, H, W)` images in [0, 1] in, four features out, fine to coarse.

    Attributes:
        stages: channels and stride of each feature, as a `Backbone` has them.
    """

    stages = (StageInfo(64, 4), StageInfo(128, 8), StageInfo(256, 16), StageInfo(512, 32))

    def __init__(self, channels: int, size: tuple[int, int], kind: Kind) -> None:
        super().__init__()
        widths = [stage.channels for stage in self.stages]
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.deeper = nn.ModuleList(
            HybridModule(widths[i], stage.width, widths[i + 1], blocks(kind, stage, grid), "down")
            for i, stage in enumerate(STAGES)
            for grid in [(size[0] // self.stages[i + 1].stride, size[1] // self.stages[i + 1].stride)]
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        features = [self.stem(images)]
        for stage in self.deeper:
            features.append(stage(features[-1]))
        return features


class PixelHead(nn.Sequential):
    """F_D^1 → the image in [0, 1], `2^doublings` times as large: what a comparison of pixels adds to a decoder.

    Before each bilinear doubling a 3×3 convolution with batch norm and ReLU, of 64, 32, ... channels; then one more 3×3
    convolution and a sigmoid. The paper does not say how its decoders reach pixels.
    """

    def __init__(self, inputs: int, outputs: int, doublings: int) -> None:
        layers: list[nn.Module] = []
        for i in range(doublings):
            width = max(64 >> i, 16)
            layers += [*conv_norm_relu(inputs, width), nn.Upsample(scale_factor=2, mode="bilinear")]
            inputs = width
        super().__init__(*layers, nn.Conv2d(inputs, outputs, 3, padding=1), nn.Sigmoid())


def make_encoder(name: str, channels: int, size: tuple[int, int]) -> Backbone | HybridEncoder:
    """The backbone of that name; "hybrid" and "transformer" are the mirror images of those decoders.

    Raises:
        UsageError: there is no such backbone.
    """
    kind = _OWN_ENCODERS.get(name)
    return Backbone(name) if kind is None else HybridEncoder(channels, size, kind)


def blocks(kind: Kind, stage: Stage, grid: tuple[int, int]) -> list[Make]:
    """What makes the block of each branch of one decoder stage that works on `grid`."""
    width, heads = stage.width, stage.heads
    conv: Make = partial(conv_block, width)
    transformer: Make = partial(MultiScaleSparseTransformer, width, grid, heads, stage.patches)
    reduction = stage.patches[1]
    made: dict[Kind, list[Make]] = {
        "hybrid": [conv, transformer],
        "cnn": [conv, conv],
        "transformer": [transformer, transformer],
        "swin": [lambda: nn.Sequential(*(SwinBlock(width, grid, heads, bool(i % 2)) for i in range(stage.swin)))],
        "pvt": [partial(PvtStage, width, grid, heads, reduction, stage.pvt_expansion, stage.pvt)],
        "cmt": [
            lambda: nn.Sequential(*(CmtBlock(width, grid, heads, reduction, CMT_EXPANSION) for _ in range(stage.cmt)))
        ],
        "resnet": [lambda: nn.Sequential(BasicBlock(width, width, 1), BasicBlock(width, width, 1))],
        "efficientnet": [lambda: nn.Sequential(*(Block(width, width, kernel, 1, 6) for kernel in stage.kernels))],
    }
    return made[kind]
