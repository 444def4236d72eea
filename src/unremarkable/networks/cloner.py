"""Networks that clone the features of a pretrained one, for multiresolution knowledge distillation.

Salehi et al., "Multiresolution Knowledge Distillation for Anomaly Detection", CVPR 2021, section 3.2 and figure 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from unremarkable.errors import UsageError
from unremarkable.networks import resnet, vgg
from unremarkable.networks.backbones import Backbone

#: strides of pool2 to pool5 of VGG-16, the four critical points
STRIDES = (4, 8, 16, 32)
#: widths of each convolution between two poolings; the last one of each has the source's channels where it is critical
_SMALL = ((16, 16), (16, 128), (16, 16, 256), (16, 16, 512), (16, 16, 512))
_EQUAL = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Source(nn.Module):
    """A frozen backbone, giving its features at the critical points, fine to coarse: strides 4, 8, 16 and 32.

    Of VGG-16 these are pool2 to pool5; of other networks the last stage of each of the strides.

    Attributes:
        channels: of each critical point.
        rectified: whether they follow a ReLU, and so are never negative.

    Raises:
        UsageError: the backbone does not have these strides.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._pools = name in vgg.VARIANTS
        before = tuple(stride // 2 for stride in STRIDES) if self._pools else STRIDES
        by_stride = {stage.stride: index for index, stage in enumerate(Backbone(name).stages)}
        missing = set(before) - set(by_stride)
        if missing:
            raise UsageError(f"mkd needs a source with strides 4, 8, 16 and 32, which {name} has not")
        self.stages = tuple(by_stride[stride] for stride in before)
        self.backbone = Backbone(name, self.stages).eval().requires_grad_(False)
        self.channels = tuple(stage.channels for stage in self.backbone.stages)
        self.rectified = name in vgg.VARIANTS or name in resnet.VARIANTS

    def train(self, mode: bool = True) -> Source:
        """Stays in eval mode."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        features = self.backbone(images)
        return [F.max_pool2d(f, 2) for f in features] if self._pools else features

    def normalise(self, images: Tensor) -> Tensor:
        """`(N, 1 or 3, H, W)` in [0, 1] as the backbone's own input `(N, 3, H, W)`."""
        return (images.expand(-1, 3, -1, -1) - self.backbone.mean) / self.backbone.std


class PlainCloner(nn.Module):
    """The authors' cloner: 3x3 convolutions without bias, in five blocks that end in a pooling.

    Batch norm and ReLU follow each convolution, but no batch norm the last one of a block. `small` is figure 2's, with
    16 channels wherever the source is not matched; the other has the widths of VGG-16. Where the source's critical
    points are signed, the cloner's have no ReLU before the pooling either.
    """

    def __init__(self, channels: tuple[int, ...], rectified: bool, small: bool) -> None:
        super().__init__()
        widths = [list(block) for block in (_SMALL if small else _EQUAL)]
        for block, critical in zip(widths[1:], channels, strict=True):
            block[-1] = critical
        self.blocks = nn.ModuleList()
        inputs = 3
        for index, block in enumerate(widths):
            layers: list[nn.Module] = []
            for width in block[:-1]:
                layers += [_conv(inputs, width), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            layers.append(_conv(inputs, block[-1]))
            if rectified or index == 0:
                layers.append(nn.ReLU())
            inputs = block[-1]
            self.blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2)))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features at the critical points, fine to coarse, of normalised images."""
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        return features[1:]


class GuidedBackprop(TorchFunctionMode):
    """A context in which ReLU passes back only what is positive, wherever a network calls it.

    Springenberg et al., "Striving for Simplicity: The All Convolutional Net", ICLR workshop 2015.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (F.relu, F.relu6) and out.requires_grad:
            out.register_hook(lambda gradient: gradient.clamp_min(0))
        return out


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.xavier_uniform_(conv.weight)
    return conv
