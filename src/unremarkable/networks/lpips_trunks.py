"""AlexNet and SqueezeNet 1.1 as LPIPS reads them, in plain torch, with torchvision's parameter names.

Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014; Iandola et al., "SqueezeNet", 2016.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.networks.weights import find_weights

#: index in `features` of the last layer of each stage, and the channels there
_STAGES = {
    "alexnet-owt": ((1, 4, 7, 9, 11), (64, 192, 384, 256, 256)),
    "squeezenet1_1": ((1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512)),
}
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class LpipsTrunk(nn.Module):
    """The stages of "alexnet-owt" or "squeezenet1_1" that LPIPS compares, all after a ReLU; random until loaded.

    Not a `Backbone`: the sides of its features are rounded down and do not divide those of the image.

    Attributes:
        channels: of each stage, fine to coarse.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self._ends, self.channels = _STAGES[name]
        self.features = nn.Sequential(*(_alexnet() if name == "alexnet-owt" else _squeezenet()))
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, -1, 1, 1), persistent=False)

    def load_pretrained(self) -> None:
        """Take the published ImageNet weights from a file on this machine.

        Raises:
            UsageError: the file is not on this machine, or is not the published one.
        """
        state = torch.load(find_weights(self.name), map_location="cpu", weights_only=True)
        self.load_state_dict({key: value for key, value in state.items() if key.startswith("features.")})

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of each stage, fine to coarse, of `(N, 1 or 3, H, W)` images in [0, 1]; grey is repeated."""
        x = ((images.expand(-1, 3, -1, -1) - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        features = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._ends:
                features.append(x)
        return features


class Fire(nn.Module):
    """A 1 × 1 convolution to few channels, then half of the outputs by 1 × 1, half by 3 × 3 convolutions."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1))


def _alexnet() -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 11, 4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    for inputs, outputs in ((192, 384), (384, 256), (256, 256)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
    return layers


def _squeezenet() -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 2), nn.ReLU()]
    layers += [_pool(), Fire(64, 16, 64), Fire(128, 16, 64)]
    layers += [_pool(), Fire(128, 32, 128), Fire(256, 32, 128)]
    return [*layers, _pool(), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)]


def _pool() -> nn.Module:
    return nn.MaxPool2d(3, 2, ceil_mode=True)
