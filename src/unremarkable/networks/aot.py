"""AOT-GAN: a generator that fills holes in an image, and the discriminator that says where it did.

Zeng, Fu, Chao and Guo, "Aggregated contextual transformations for high-resolution image inpainting", IEEE TVCG 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.networks.dcgan import initialise
from unremarkable.networks.spectral import normalise_spectrally

#: added to the deviation of a gate's values, so that on a constant image rounding does not open gates
_EPS = 1e-4


class Inpainter(nn.Module):
    """Images `(N, C, H, W)` with holes, and the mask `(N, 1, H, W)` of these, to float32 images in [-1, 1].

    The grid is halved twice, `blocks` AOT blocks look at it, and it is enlarged twice. Sides are multiples of 4, and a
    quarter of each is more than the largest of `rates`; their number divides 4 * `width`.
    """

    def __init__(self, channels: int, width: int, blocks: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            Reflected(channels + 1, width, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
            nn.ReLU(inplace=True),
        )
        self.middle = nn.Sequential(*(AOTBlock(4 * width, rates) for _ in range(blocks)))
        self.decoder = nn.Sequential(
            nn.UpsamplingBilinear2d(scale_factor=2),
            nn.Conv2d(4 * width, 2 * width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.UpsamplingBilinear2d(scale_factor=2),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, channels, 3, padding=1),
        )
        initialise(self)

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        features = self.middle(self.encoder(torch.cat([images, mask], dim=1)))
        return torch.tanh(self.decoder(features).float())


class AOTBlock(nn.Module):
    """Convolutions that reach differently far, fused, and let through by a gate at each location and channel.

    x becomes (1 - g) x + g fuse(reach(x)), g being a sigmoid of 10 standard scores - 5 of the gate's values, taken over
    the locations of each channel of each image.
    """

    def __init__(self, width: int, rates: Sequence[int]) -> None:
        super().__init__()
        each = width // len(rates)
        self.reach = nn.ModuleList([Reflected(width, each, 3, padding=rate, dilation=rate) for rate in rates])
        self.fuse = Reflected(width, width, 3, padding=1)
        self.gate = Reflected(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        fused = self.fuse(torch.cat([F.relu(layer(x)) for layer in self.reach], dim=1))
        gate = _opened(self.gate(x).float()).to(fused.dtype)
        return x + gate * (fused - x)


class Reflected(nn.Conv2d):
    """A convolution whose input is mirrored at its borders, the border pixel itself not repeated.

    Torch's own reflection adds its gradients in no fixed order on a GPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        reach = int(self.padding[0])
        for axis in (2, 3):
            side = x.shape[axis]
            before, after = x.narrow(axis, 1, reach), x.narrow(axis, side - 1 - reach, reach)
            x = torch.cat([before.flip(axis), x, after.flip(axis)], dim=axis)
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation)


class PatchDiscriminator(nn.Module):
    """Images `(N, C, H, W)` of at least 24 pixels a side to float32 `(N, 1, H, W)`: near 1 where a patch looks real.

    It answers on a grid of one eighth of the sides, enlarged bilinearly.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        wide = (channels, width, 2 * width, 4 * width, 8 * width)
        for stage, (inputs, outputs) in enumerate(pairwise(wide)):
            stride = 2 if stage < 3 else 1
            layers += [nn.Conv2d(inputs, outputs, 4, stride=stride, padding=1, bias=False), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers)
        self.last = nn.Conv2d(8 * width, 1, 4, padding=1)
        initialise(self)
        normalise_spectrally(self.body)

    def forward(self, images: Tensor) -> Tensor:
        size = (images.shape[2], images.shape[3])
        answers = self.last(self.body(images)).float()
        return F.interpolate(answers, size, mode="bilinear", align_corners=True)


def _opened(values: Tensor) -> Tensor:
    mean = values.mean((2, 3), keepdim=True)
    deviation = values.std((2, 3), keepdim=True) + _EPS
    return torch.sigmoid(10 * (values - mean) / deviation - 5)
