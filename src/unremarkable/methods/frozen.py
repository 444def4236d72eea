"""What the methods share that compare the features of a pretrained network which itself never learns."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods.base import Method
from unremarkable.networks.backbones import Backbone


class FrozenBackbone(Method):
    """A method whose only network is `options.backbone`, as published; `options.batch_size` images go through at once.

    A subclass passes the stages it reads, None for all, to `_take`.
    """

    backbone: Backbone

    def _take(self, options: Any, stages: tuple[int, ...] | None) -> None:
        if min(self.size) < 32:
            raise UsageError(
                f"{self.name} needs images of at least 32 x 32 pixels, not {self.size[0]} x {self.size[1]}"
            )
        self.backbone = Backbone(options.backbone, stages).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """As always, but the backbone stays in eval mode: its statistics are not this method's to move."""
        super().train(mode)
        self.backbone.eval()
        return self

    def prepare(self) -> None:
        """Load the backbone's published weights."""
        self.backbone.load_pretrained()

    def stages(self, images: Tensor) -> list[Tensor]:
        """Features `(N, C, h, w)` of each stage taken, fine to coarse; float32 under autocast too."""
        parts = [self.backbone(part) for part in images.split(self.options.batch_size)]
        return [torch.cat(stage).float() for stage in zip(*parts, strict=True)]
