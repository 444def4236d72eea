"""Distance of two images as a pretrained network sees them: LPIPS, and its formula on the offline backbone."""

from __future__ import annotations

from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.errors import unknown_name
from unremarkable.networks.backbones import Backbone
from unremarkable.networks.lpips_trunks import LpipsTrunk
from unremarkable.networks.weights import find_weights

#: "efficientnet-lite0" works offline; the others are LPIPS and need its weight files
PerceptualName = Literal["efficientnet-lite0", "lpips-alex", "lpips-squeeze", "lpips-vgg"]

_OWN = "efficientnet-lite0"
#: the published classifier that each LPIPS looks through
_TRUNKS = {"lpips-alex": "alexnet-owt", "lpips-squeeze": "squeezenet1_1", "lpips-vgg": "vgg16"}
#: added by Zhang et al.'s code to every length that it divides by
_EPS = 1e-10


class Perceptual(nn.Module):
    """Zhang et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018, equation 1.

    The features of each stage are scaled to unit length at each location; the squared differences are weighted by
    channel, summed over channels, averaged over locations and summed over stages. 0 for equal images, never negative.

    `lpips-alex`, `lpips-squeeze` and `lpips-vgg` are LPIPS, version 0.1: those networks' features and channel weights
    fitted to what people see. `efficientnet-lite0` is the same formula on all four stages of the offline backbone,
    every channel weighing 1. It is not LPIPS, and figures of the two do not compare.

    Frozen, in eval mode always, and random until `load_pretrained`. Gradients pass through to the images. The features
    are computed in the precision of the caller, all that follows in float32.

    Raises:
        UsageError: there is no distance of that name.
    """

    def __init__(self, name: str = _OWN) -> None:
        super().__init__()
        if name not in (_OWN, *_TRUNKS):
            raise unknown_name("perceptual distance", name, [_OWN, *_TRUNKS])
        self.name = name
        self.trunk: Backbone | LpipsTrunk
        if name in ("lpips-alex", "lpips-squeeze"):
            self.trunk = LpipsTrunk(_TRUNKS[name])
            channels = self.trunk.channels
        else:
            self.trunk = Backbone(_TRUNKS.get(name, name))
            channels = tuple(stage.channels for stage in self.trunk.stages)
        layers = [nn.Conv2d(count, 1, 1, bias=False) for count in channels]
        for layer in layers:
            nn.init.ones_(layer.weight)
        self.weigh = nn.ModuleList(layers)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """As always, but in eval mode whatever is asked for: this network never learns."""
        return super().train(False)

    def load_pretrained(self) -> None:
        """Take the published weights from files on this machine.

        Raises:
            UsageError: a file is not on this machine, or is not the published one.
        """
        self.trunk.load_pretrained()
        if self.name in _TRUNKS:
            state = torch.load(find_weights(self.name), map_location="cpu", weights_only=True)
            for index, layer in enumerate(self.weigh):
                layer.load_state_dict({"weight": state[f"lin{index}.model.1.weight"]})

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Distance `(N,)` of each pair of two `(N, 1 or 3, H, W)` batches in [0, 1]."""
        return torch.stack([stage.mean((1, 2, 3)) for stage in self._stages(images, others)]).sum(0)

    def maps(self, images: Tensor, others: Tensor) -> Tensor:
        """Distance at each pixel, `(N, 1, H, W)`: that of every stage, enlarged bilinearly, summed over stages."""
        size = (images.shape[2], images.shape[3])
        enlarged = (F.interpolate(stage, size, mode="bilinear") for stage in self._stages(images, others))
        return torch.stack(list(enlarged)).sum(0)

    def _stages(self, images: Tensor, others: Tensor) -> list[Tensor]:
        """Weighted squared difference at each location of every stage, `(N, 1, h, w)` each."""
        pairs = list(zip(self.trunk(images), self.trunk(others), strict=True))
        with torch.autocast(images.device.type, enabled=False):
            return [
                layer((_unit(a.float()) - _unit(b.float())).square())
                for layer, (a, b) in zip(self.weigh, pairs, strict=True)
            ]


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features, dim=1, eps=_EPS)
