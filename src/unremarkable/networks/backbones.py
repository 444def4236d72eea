"""Backbone: images in, features of several stages out, whatever network is behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unremarkable.errors import UsageError, unknown_name
from unremarkable.networks import densenet, efficientnet_lite, resnet, vgg
from unremarkable.networks.timm_models import create_timm
from unremarkable.networks.weights import TIMM, find_weights

_Network = type[densenet.DenseNet] | type[efficientnet_lite.EfficientNetLite] | type[resnet.ResNet] | type[vgg.VGG]
_NETWORKS: dict[str, _Network] = {
    **dict.fromkeys(densenet.VARIANTS, densenet.DenseNet),
    **dict.fromkeys(efficientnet_lite.VARIANTS, efficientnet_lite.EfficientNetLite),
    **dict.fromkeys(resnet.VARIANTS, resnet.ResNet),
    **dict.fromkeys(vgg.VARIANTS, vgg.VGG),
}


@dataclass(frozen=True)
class StageInfo:
    """What one stage gives: so many channels, one feature every `stride` pixels."""

    channels: int
    stride: int


def backbone_names() -> list[str]:
    """Backbones that are built in; `timm:NAME` adds those of timm, where the extra is installed."""
    return sorted(_NETWORKS)


class Backbone(nn.Module):
    """The trunk of an ImageNet classifier without its head, randomly initialised until `load_pretrained`.

    `stages` selects by index from fine to coarse, negative ones counted from the last; None takes all. Nothing deeper
    than the last selected stage is built or computed. DenseNet, EfficientNet-Lite and ResNet have four stages (strides
    4, 8, 16 and 32), VGG five (1, 2, 4, 8 and 16), timm's as many as timm says. Whether the weights move is the
    method's business.

    With `head`, the last stage is what the convolution between it and the published classifier makes of it, where a
    network built in here has one: EfficientNet-Lite has.

    Attributes:
        stages: channels and stride of each selected stage, fine to coarse.

    Raises:
        UsageError: there is no such backbone or stage, or timm is not installed.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, stages: tuple[int, ...] | None = None, *, head: bool = False) -> None:
        super().__init__()
        self.name = name
        self.net: nn.Module
        if name.startswith(TIMM):
            everything = _timm_stages(create_timm(name, features_only=True))
            count = len(everything)
            self._picked = _pick(name, stages, count)
            self.net = create_timm(name, features_only=True, out_indices=self._picked)
            config: Any = self.net.pretrained_cfg
            mean, std = config["mean"], config["std"]
        elif name in _NETWORKS:
            kind = _NETWORKS[name]
            count = len(kind.STRIDES)
            self._picked = _pick(name, stages, count)
            depth = self._picked[-1] + 1
            lite = efficientnet_lite.EfficientNetLite
            net = lite(name, depth, head=head) if kind is lite else kind(name, depth=depth)
            net.apply(_initialise)
            everything = [StageInfo(*pair) for pair in zip(net.channels, kind.STRIDES, strict=False)]
            self.net, mean, std = net, kind.MEAN, kind.STD
        else:
            raise unknown_name("backbone", name, _NETWORKS)
        self._count = count
        self.stages = tuple(everything[index] for index in self._picked)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def index_of(self, stage: int) -> int:
        """Where a selected stage, numbered as in `stages=`, stands in what `forward` returns."""
        return self._picked.index(stage % self._count)

    def load_pretrained(self) -> None:
        """Take the published ImageNet weights from a file on this machine.

        Raises:
            UsageError: the file is not on this machine, or is not the published one.
        """
        path = find_weights(self.name)
        if self.name.startswith(TIMM):
            state = create_timm(self.name, path, features_only=True, out_indices=self._picked).state_dict()
        else:
            state = densenet.renamed(torch.load(path, map_location="cpu", weights_only=True))
        own = self.net.state_dict()  # the file also holds the head, and stages deeper than the ones selected
        self.net.load_state_dict({key: value for key, value in state.items() if key in own})

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features `(N, channels, h, w)` of the selected stages, fine to coarse.

        `images` are `(N, 1 or 3, H, W)` in [0, 1]; grey is repeated, and the network's own normalisation is done here.
        """
        x = (images.expand(-1, 3, -1, -1) - self.mean) / self.std
        features = self.net(x.contiguous(memory_format=torch.channels_last))
        if self.name.startswith(TIMM):
            return list(features)
        return [features[index] for index in self._picked]


def _pick(name: str, stages: tuple[int, ...] | None, count: int) -> tuple[int, ...]:
    if stages is None:
        return tuple(range(count))
    wrong = [stage for stage in stages if not -count <= stage < count]
    if wrong or not stages:
        raise UsageError(f"{name} has stages 0 to {count - 1}, and at least one is needed: {stages} cannot be taken")
    return tuple(sorted({stage % count for stage in stages}))


def _initialise(module: nn.Module) -> None:
    """He initialisation; by fan-in, which is right for depthwise convolutions too."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _timm_stages(net: Any) -> list[StageInfo]:
    info = net.feature_info
    return [StageInfo(*pair) for pair in zip(info.channels(), info.reduction(), strict=True)]
