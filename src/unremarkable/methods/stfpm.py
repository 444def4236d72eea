"""STFPM: a student learns a pretrained teacher's features on normals; where it fails, the image is not normal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD, Optimizer

from unremarkable.errors import UsageError, unknown_name
from unremarkable.methods import base
from unremarkable.methods.base import Collect, Method, Phase, Prediction, Update
from unremarkable.methods.feature_maps import enlarge, on_one_grid
from unremarkable.networks.backbones import Backbone

COMBINATIONS = ("product", "sum")


@dataclass(frozen=True)
class STFPMOptions(base.Options):
    """Options of `STFPM`."""

    backbone: str = field(default="efficientnet-lite0", metadata={"help": "teacher and student (paper: resnet18)"})
    stages: tuple[int, ...] = field(default=(0, 1, 2), metadata={"help": "stages that are compared, 0 the finest"})
    combine: Literal["product", "sum"] = field(
        default="product", metadata={"help": "how the stages' maps become one: product is the paper's"}
    )
    learning_rate: float = field(default=0.4, metadata={"help": "of stochastic gradient descent"})
    momentum: float = field(default=0.9, metadata={"help": "of stochastic gradient descent"})
    weight_decay: float = field(default=1e-4, metadata={"help": "of stochastic gradient descent"})
    batch_size: int = field(default=32, metadata={"help": "images per step"})
    epochs: int = field(default=100, metadata={"help": "passes over the training images, at most"})
    patience: int = field(default=10, metadata={"help": "epochs without a better held-out loss before training stops"})

    def __post_init__(self) -> None:
        if self.combine not in COMBINATIONS:
            raise unknown_name("combine", self.combine, COMBINATIONS)
        for name in ("learning_rate", "batch_size", "epochs", "patience"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")
        if self.weight_decay < 0 or not 0 <= self.momentum < 1:
            raise UsageError("weight_decay must not be negative, and momentum lies in [0, 1)")


class STFPM(Method):
    """Student-teacher feature pyramid matching: distance of normalised features, stage by stage.

    Equation names follow the paper's section 3. Deviations and choices:

    - the networks are EfficientNet-Lite0, whose weights work offline (`backbone=resnet18` is the paper's);
    - training stops early on held-out normals; the authors train all epochs and keep the best. Theirs is the smallest
      mean of the map, ours the smallest loss, which the student learns by and which the map's product hides;
    - the loss carries the paper's factor of one half, which the authors' code leaves out;
    - `combine=sum` adds the stages' maps, so that one stage that sees nothing cannot silence the others.
    """

    name: ClassVar[str] = "stfpm"
    paper: ClassVar[str] = (
        "Wang, Han, Ding, Huang: Student-Teacher Feature Pyramid Matching for Anomaly Detection, BMVC 2021 "
        "(arXiv 2103.04257)"
    )
    family: ClassVar[str] = "feature comparison"
    reduction: ClassVar[str] = "max"
    Options: ClassVar[type[base.Options]] = STFPMOptions

    options: STFPMOptions

    def __init__(self, options: STFPMOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.teacher = Backbone(options.backbone, options.stages).eval().requires_grad_(False)
        self.student = Backbone(options.backbone, options.stages)
        coarsest = self.teacher.stages[-1].stride
        if min(size) < 2 * coarsest:
            raise UsageError(
                f"stfpm compares features of stride {coarsest} and needs images of at least "
                f"{2 * coarsest} × {2 * coarsest} pixels, not {size[0]} × {size[1]}"
            )

    def train(self, mode: bool = True) -> STFPM:
        """Training mode; the teacher stays as it was published."""
        super().train(mode)
        self.teacher.eval()
        return self

    def prepare(self) -> None:
        """Load the teacher's published weights; the student starts from random ones."""
        self.teacher.load_pretrained()

    def phases(self) -> list[Phase | Collect]:
        """One phase of distillation."""
        options = self.options
        return [
            Phase(
                name="distillation",
                epochs=options.epochs,
                batch_size=options.batch_size,
                optimizers=self._optimizers,
                step=self._step,
                validate=self.loss,
                patience=options.patience,
            )
        ]

    def loss(self, images: Tensor) -> Tensor:
        """The distance of each image `(N,)`: averaged over locations, summed over stages with equal weights."""
        return torch.stack([distances(t, s).mean(dim=(1, 2)) for t, s in self._pairs(images)]).sum(dim=0)

    def predict(self, images: Tensor) -> Prediction:
        """Product (or sum) of the stages' distances at the images' resolution, and its maximum."""
        maps = torch.cat([enlarge(distances(t, s), self.size) for t, s in self._pairs(images)], dim=1)
        combined = maps.prod(dim=1, keepdim=True) if self.options.combine == "product" else maps.sum(1, keepdim=True)
        return Prediction(combined, combined.amax(dim=(1, 2, 3)))

    def feature_pairs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised features of teacher and student on the coarsest stage's grid."""
        return on_one_grid([(F.normalize(t, dim=1), F.normalize(s, dim=1)) for t, s in self._pairs(images)])

    def _pairs(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Features of teacher and student, fine to coarse, float32."""
        with torch.no_grad():
            taught = self.teacher(images)
        return [(t.float(), s.float()) for t, s in zip(taught, self.student(images), strict=True)]

    def _optimizers(self) -> Mapping[str, Optimizer]:
        o = self.options
        return {
            "sgd": SGD(self.student.parameters(), lr=o.learning_rate, momentum=o.momentum, weight_decay=o.weight_decay)
        }

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        loss = self.loss(images).mean()
        update("sgd", loss)
        return {"loss": loss.detach()}


def distances(taught: Tensor, learnt: Tensor) -> Tensor:
    """Half the squared distance of two `(N, C, h, w)` features, each location of length one, `(N, h, w)` in [0, 2]."""
    return 0.5 * (F.normalize(taught, dim=1) - F.normalize(learnt, dim=1)).square().sum(dim=1)
