"""EfficientNet-Lite 0, 1 and 2: the trunk in plain torch, with the parameter names of the published weight files.

Architecture: Tan and Le, "EfficientNet", ICML 2019, table 1, in the Lite variant of the TensorFlow TPU repository: no
squeeze-and-excitation, ReLU6 for swish, stem and head not scaled in width, first and last group not scaled in depth.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: width and depth multipliers
VARIANTS = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}
#: kernel, stride, expansion, output channels, repeats of each group of blocks (EfficientNet-B0)
_GROUPS = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
]
#: the groups after which a stage ends: the next one halves the resolution, or there is none
_STAGE_ENDS = (1, 2, 4, 6)
_STEM, _TOP = 32, 1280
_BN_EPS = 1e-3


class EfficientNetLite(nn.Module):
    """Features at strides 4, 8, 16 and 32: the last block before each reduction.

    Built only as deep as the first `depth` stages need. With `head`, the last of four stages is what the 1280-channel
    convolution before the classifier makes of it. Input is `(N, 3, H, W)`, already normalised.
    """

    #: parameters of the published file that belong to the classifier, not to the trunk
    HEAD = ("_conv_head.", "_bn1.", "_fc.")
    STRIDES = (4, 8, 16, 32)
    # (x - 127) / 128 on 0-255, said for [0, 1]
    MEAN = (127 / 255,) * 3
    STD = (128 / 255,) * 3

    def __init__(self, name: str, depth: int = 4, *, head: bool = False) -> None:
        super().__init__()
        width, deep = VARIANTS[name]
        self._conv_stem = SameConv2d(3, _STEM, 3, 2)
        self._bn0 = nn.BatchNorm2d(_STEM, eps=_BN_EPS)
        blocks: list[Block] = []
        self._ends: list[int] = []
        channels: list[int] = []
        inputs = _STEM
        for group, (kernel, stride, expand, outputs, repeats) in enumerate(_GROUPS[: _STAGE_ENDS[depth - 1] + 1]):
            outputs = _round_to_8(outputs * width)
            if group not in (0, len(_GROUPS) - 1):
                repeats = math.ceil(repeats * deep)
            for repeat in range(repeats):
                blocks.append(Block(inputs, outputs, kernel, stride if repeat == 0 else 1, expand))
                inputs = outputs
            if group in _STAGE_ENDS:
                self._ends.append(len(blocks) - 1)
                channels.append(outputs)
        self._blocks = nn.ModuleList(blocks)
        self._has_head = head and depth == len(self.STRIDES)
        if self._has_head:
            self._conv_head = nn.Conv2d(inputs, _TOP, 1, bias=False)
            self._bn1 = nn.BatchNorm2d(_TOP, eps=_BN_EPS)
            channels[-1] = _TOP
        self.channels = tuple(channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Every stage that was built, fine to coarse."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        features = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self._ends:
                features.append(x)
        if self._has_head:
            features[-1] = F.relu6(self._bn1(self._conv_head(x)))
        return features


class Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise, project 1x1, with the identity where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = inputs * expand
        self._expands = expand != 1
        if self._expands:
            self._expand_conv = nn.Conv2d(inputs, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, eps=_BN_EPS)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner)
        self._bn1 = nn.BatchNorm2d(inner, eps=_BN_EPS)
        self._project_conv = nn.Conv2d(inner, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=_BN_EPS)
        self._adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self._expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self._adds else y


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "same": `ceil(size / stride)` outputs, the odd zero after the image."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.groups > 1 and torch.is_grad_enabled() and x.device.type == "cpu" and x.dtype != torch.float32:
            # On processors the backward pass of a depthwise convolution takes 5 to 8 times longer in bfloat16.
            with torch.autocast("cpu", enabled=False):
                return self._convolve(x.float()).to(x.dtype)
        return self._convolve(x)

    def _convolve(self, x: Tensor) -> Tensor:
        rows, columns = (self._pads(x.shape[axis], axis - 2) for axis in (2, 3))
        if rows[0] == rows[1] and columns[0] == columns[1]:  # no copy of the input where the two sides are equal
            return F.conv2d(x, self.weight, None, self.stride, (rows[0], columns[0]), groups=self.groups)
        return F.conv2d(F.pad(x, (*columns, *rows)), self.weight, None, self.stride, groups=self.groups)

    def _pads(self, size: int, axis: int) -> tuple[int, int]:
        kernel, stride = self.kernel_size[axis], self.stride[axis]
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2


def _round_to_8(channels: float) -> int:
    """The nearest multiple of 8, but never below nine tenths of what was asked for."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
