"""Content and style losses: two images compared by what a pretrained network sees, at each place and everywhere.

Gatys, Ecker and Bethge, "Image style transfer using convolutional neural networks", CVPR 2016; Johnson, Alahi and
Fei-Fei, "Perceptual losses for real-time style transfer and super-resolution", ECCV 2016.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from torch import Tensor, nn

from unremarkable.errors import unknown_name
from unremarkable.networks.backbones import Backbone
from unremarkable.networks.weights import find_weights

#: "efficientnet-lite0" works offline; "vgg19" is the published one and needs its weight file
FeatureName = Literal["efficientnet-lite0", "vgg19"]

_OWN, _VGG = "efficientnet-lite0", "vgg19"
#: index in `features` of relu1_1, relu2_1, relu3_1, relu4_1, relu5_1, and of relu2_2, relu3_4, relu4_4, relu5_2
_CONTENT, _STYLE = (1, 6, 11, 20, 29), (8, 17, 26, 31)
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
#: the least that features are divided by
_EPS = 1e-6

_Pairs = list[tuple[Tensor, Tensor]]


class StyleLosses(nn.Module):
    """Content and style loss of two `(N, 1 or 3, H, W)` batches in [0, 1], float32 scalars, as AOT-GAN has them.

    With F the features of a stage, `(N, C, H W)`: content is the sum over stages of mean |F(a) - F(b)|, style that of
    mean |G(a) - G(b)| with the Gram matrices G = F F^T / (C H W). `vgg19` takes the published layers for each.

    `efficientnet-lite0` takes all four stages of the offline backbone for both, each divided by the root mean square of
    F(b), image by image: its features are many times as large as those that published weights of these losses are
    for, and would leave nothing else to count.

    Frozen, in eval mode always, and random until `load_pretrained`. Gradients pass through to the images.

    Raises:
        UsageError: there is no network of that name here.
    """

    def __init__(self, name: str = _OWN) -> None:
        super().__init__()
        if name not in (_OWN, _VGG):
            raise unknown_name("feature network", name, [_OWN, _VGG])
        self.trunk: Backbone | VGG19 = VGG19() if name == _VGG else Backbone(name)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """As always, but in eval mode whatever is asked for: this network never learns."""
        return super().train(False)

    def load_pretrained(self) -> None:
        """Take the published weights from a file on this machine.

        Raises:
            UsageError: the file is not on this machine, or is not the published one.
        """
        self.trunk.load_pretrained()

    def forward(self, images: Tensor, originals: Tensor) -> tuple[Tensor, Tensor]:
        """Content and style loss of images a beside the originals b."""
        content, style = self._pairs(images, originals)
        with torch.autocast(images.device.type, enabled=False):
            grams = [(gram(a.float()), gram(b.float())) for a, b in style]
            return _difference(content), _difference(grams)

    def _pairs(self, images: Tensor, originals: Tensor) -> tuple[_Pairs, _Pairs]:
        """Features of both for the content loss, and for the style loss."""
        if isinstance(self.trunk, VGG19):
            content, style = zip(self.trunk(images), self.trunk(originals), strict=True)
            return list(zip(*content, strict=True)), list(zip(*style, strict=True))
        pairs = []
        for a, b in zip(self.trunk(images), self.trunk(originals), strict=True):
            size = b.float().square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(_EPS)
            pairs.append((a.float() / size, b.float() / size))
        return pairs, pairs


class VGG19(nn.Module):
    """VGG-19 up to relu5_2 with torchvision's parameter names; Simonyan and Zisserman, ICLR 2015, configuration E."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for stage, (outputs, convolutions) in enumerate(((64, 2), (128, 2), (256, 4), (512, 4), (512, 2))):
            if stage:
                layers.append(nn.MaxPool2d(2))
            for _ in range(convolutions):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, -1, 1, 1), persistent=False)

    def load_pretrained(self) -> None:
        """Take the published ImageNet weights from a file on this machine.

        Raises:
            UsageError: the file is not on this machine, or is not the published one.
        """
        state = torch.load(find_weights(_VGG), map_location="cpu", weights_only=True)
        self.load_state_dict({key: state[key] for key in self.state_dict()})

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """relu1_1 to relu5_1, and relu2_2, relu3_4, relu4_4 and relu5_2; grey images are repeated."""
        x = ((images.expand(-1, 3, -1, -1) - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        seen = {}
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in _CONTENT or index in _STYLE:
                seen[index] = x
        return [seen[index] for index in _CONTENT], [seen[index] for index in _STYLE]


def gram(features: Tensor) -> Tensor:
    """How channels of `(N, C, h, w)` features go together wherever they do, `(N, C, C)`; divided by C h w."""
    flat = features.flatten(2)
    return flat @ flat.mT / features[0].numel()


def _difference(pairs: _Pairs) -> Tensor:
    """Mean absolute difference of each pair, summed."""
    return torch.stack([(a.float() - b.float()).abs().mean() for a, b in pairs]).sum()
