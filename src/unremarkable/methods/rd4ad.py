"""RD4AD: a teacher's features squeezed through a bottleneck, and decoded again by a student that mirrors it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from unremarkable.errors import UsageError, unknown_name
from unremarkable.methods import base
from unremarkable.methods.base import Collect, Method, Phase, Prediction, Update
from unremarkable.methods.feature_maps import (
    cosine_distances,
    enlarge,
    flat_cosine_distances,
    on_one_grid,
    smooth,
)
from unremarkable.networks.backbones import Backbone
from unremarkable.networks.reverse import OneClassBottleneck, ReverseDecoder, mirrored_stages

LOSSES = ("local", "global")


@dataclass(frozen=True)
class RD4ADOptions(base.Options):
    """Options of `RD4AD`."""

    backbone: str = field(default="efficientnet-lite0", metadata={"help": "teacher (paper: wide_resnet50_2)"})
    loss: Literal["local", "global"] = field(
        default="local",
        metadata={"help": "cosine at each location (the paper), or of the whole stage (the authors' code)"},
    )
    stages: tuple[int, ...] = field(default=(1, 2, 3), metadata={"help": "stages that enter the map, 1 the finest"})
    sigma: float = field(default=4.0, metadata={"help": "pixels by which the map is smoothed; 0 for none"})
    learning_rate: float = field(default=0.005, metadata={"help": "of Adam"})
    batch_size: int = field(default=16, metadata={"help": "images per step"})
    epochs: int = field(default=200, metadata={"help": "passes over the training images, at most"})
    patience: int = field(default=10, metadata={"help": "epochs without a better held-out loss before training stops"})

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise unknown_name("loss", self.loss, LOSSES)
        if not self.stages or not set(self.stages) <= {1, 2, 3}:
            raise UsageError(f"stages are among 1, 2 and 3, not {self.stages}")
        if not 0 <= self.sigma < float("inf"):
            raise UsageError(f"sigma must be 0 or a positive number of pixels, not {self.sigma}")
        for name in ("learning_rate", "batch_size", "epochs", "patience"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")


class RD4AD(Method):
    """Reverse distillation: the angle between the teacher's features and the student's, which decodes an embedding.

    Deviations from the paper, and choices where it and its code differ:

    - the teacher is EfficientNet-Lite0, whose weights work offline (`backbone=wide_resnet50_2` is the paper's). How
      the student mirrors a network that is no ResNet is inferred: see `networks.reverse`;
    - the loss is the paper's equation 2, the mean distance over locations. The authors' code takes the distance of
      whole stages flattened to one vector: `loss=global`;
    - the fused features go through the 1 x 1 convolution of the paper's text, which the authors' code leaves out;
    - the student has as many blocks in a stage as the teacher at that resolution, as "mirrored" says; in the authors'
      code the counts stand in the teacher's order, not reversed;
    - training stops early on held-out normals (paper: all 200 epochs).
    """

    name: ClassVar[str] = "rd4ad"
    paper: ClassVar[str] = (
        "Deng, Li: Anomaly Detection via Reverse Distillation from One-Class Embedding, CVPR 2022 (arXiv 2201.10703)"
    )
    family: ClassVar[str] = "feature comparison"
    reduction: ClassVar[str] = "max"
    half_precision: ClassVar[bool] = True
    Options: ClassVar[type[base.Options]] = RD4ADOptions

    options: RD4ADOptions

    def __init__(self, options: RD4ADOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        *distilled, _ = picked = mirrored_stages(options.backbone)
        whole = Backbone(options.backbone, picked)
        widths = [stage.channels for stage in whole.stages]
        deepest = whole.stages[-1].stride
        if min(size) < 2 * deepest or size[0] % deepest or size[1] % deepest:
            raise UsageError(
                f"rd4ad needs a height and width that {deepest} divides, of at least {2 * deepest}, "
                f"not {size[0]} × {size[1]}"
            )
        self.teacher = Backbone(options.backbone, tuple(distilled)).eval().requires_grad_(False)
        self.bottleneck = OneClassBottleneck(options.backbone, widths[:3])
        self.student = ReverseDecoder(options.backbone, widths)

    def train(self, mode: bool = True) -> RD4AD:
        """Training mode; the teacher stays as it was published."""
        super().train(mode)
        self.teacher.eval()
        return self

    def prepare(self) -> None:
        """Load the teacher's published weights."""
        self.teacher.load_pretrained()

    def phases(self) -> list[Phase | Collect]:
        """One phase, in which bottleneck and student learn together."""
        options = self.options
        return [
            Phase(
                name="reverse distillation",
                epochs=options.epochs,
                batch_size=options.batch_size,
                optimizers=self._optimizers,
                step=self._step,
                validate=self.loss,
                patience=options.patience,
            )
        ]

    def loss(self, images: Tensor) -> Tensor:
        """L_KD of each image `(N,)`, summed over the stages (eq. 2)."""
        pairs = self._pairs(images)
        if self.options.loss == "global":
            return torch.stack([flat_cosine_distances(t, s) for t, s in pairs]).sum(dim=0)
        return torch.stack([cosine_distances(t, s).mean(dim=(1, 2)) for t, s in pairs]).sum(dim=0)

    def predict(self, images: Tensor) -> Prediction:
        """S_AL, the smoothed sum of the stages' distances at the images' resolution (eq. 3), and its maximum."""
        pairs = self._pairs(images)
        maps = torch.cat(
            [enlarge(cosine_distances(*pairs[k - 1]), self.size) for k in sorted(set(self.options.stages))], 1
        )
        smoothed = smooth(maps.sum(dim=1, keepdim=True), self.options.sigma)
        return Prediction(smoothed, smoothed.amax(dim=(1, 2, 3)))

    def feature_pairs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features of teacher and student on the coarsest stage's grid."""
        return on_one_grid(self._pairs(images))

    def _pairs(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Features of teacher and student, fine to coarse, float32."""
        with torch.no_grad():
            taught = self.teacher(images)
        return [(t.float(), s.float()) for t, s in zip(taught, self.student(self.bottleneck(taught)), strict=True)]

    def _optimizers(self) -> Mapping[str, Optimizer]:
        learning = [*self.bottleneck.parameters(), *self.student.parameters()]
        return {"adam": Adam(learning, lr=self.options.learning_rate, betas=(0.5, 0.999), fused=True)}

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        loss = self.loss(images).mean()
        update("adam", loss)
        return {"loss": loss.detach()}
