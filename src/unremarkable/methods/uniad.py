"""UniAD: one network that rebuilds a frozen backbone's features, and is kept from copying them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from unremarkable.errors import UsageError
from unremarkable.methods import base
from unremarkable.methods.base import Collect, Method, Phase, Prediction, Update
from unremarkable.methods.optimizers import clipped
from unremarkable.networks.backbones import Backbone
from unremarkable.networks.neighbour_transformer import NeighbourTransformer

#: pixels between two locations of the features that are rebuilt, and side of the pooling before the maximum
STRIDE, POOL = 16, 16
#: share of the training after which the learning rate falls to a tenth
DROP = 0.8
#: batches from which the size of the features is measured, at most
SCALE_BATCHES = 16


@dataclass(frozen=True)
class UniADOptions(base.Options):
    """Options of `UniAD`."""

    backbone: str = field(default="efficientnet-lite0", metadata={"help": "frozen network (paper: EfficientNet-B4)"})
    stages: tuple[int, ...] = field(
        default=(), metadata={"help": "its stages that are rebuilt; none given: those of strides 2 to 16, the paper's"}
    )
    jitter: float = field(default=20.0, metadata={"help": "strength of the noise on the features in training"})
    neighbours: int = field(default=7, metadata={"help": "odd side of the square that attention leaves out; 0: none"})
    width: int = field(default=256, metadata={"help": "numbers in a token; 8 heads divide it"})
    layers: int = field(default=4, metadata={"help": "of encoder and decoder, each"})
    dropout: float = field(default=0.1, metadata={"help": "in every layer, in training"})
    learning_rate: float = field(default=1e-4, metadata={"help": "AdamW; a tenth in the last fifth of the training"})
    weight_decay: float = field(default=1e-4, metadata={"help": "AdamW, decoupled"})
    batch_size: int = field(default=16, metadata={"help": "images per step (paper: 64)"})
    epochs: int = field(default=40, metadata={"help": "passes over the training images (paper: 1000)"})

    def __post_init__(self) -> None:
        for name in ("width", "layers", "learning_rate", "batch_size", "epochs"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")
        if self.width % 8:
            raise UsageError(f"width is a multiple of 8, for as many heads; not {self.width}")
        if self.neighbours < 0 or (self.neighbours and not self.neighbours % 2):
            raise UsageError(f"neighbours is an odd number, or 0; not {self.neighbours}")
        if self.jitter < 0 or self.weight_decay < 0 or not 0 <= self.dropout < 1:
            raise UsageError("jitter and weight_decay are not negative, and dropout lies between 0 and below 1")


class UniAD(Method):
    """Reconstruction of a frozen backbone's features by a transformer that cannot take the identity for an answer.

    Three hindrances: attention leaves out each location's neighbourhood, every decoder layer starts from a query of
    its own, and in training the features carry noise that has to be taken off.

    Deviations from the paper:
        - The backbone is EfficientNet-Lite0, whose weights work offline (paper: EfficientNet-B4, 272 channels; here
          176, as Lite0 gives strides 4 to 16 and the paper also takes stride 2). Both end a stage without activation.
        - Features are divided by one number, their root mean square over normals, which maps and scores then have as
          their unit: at the paper's learning rate the output layer takes thousands of steps to reach the size of the
          backbone's features, which the paper's training has and a short one has not.
        - Batch 16 and 40 epochs: on a thousand images 2,500 steps (paper: 64 and 1,000 epochs, 57,000 steps).
        - The weights of the epoch with the lowest held-out loss are kept; the authors' code keeps the best on test.
        - Features and maps are resized with pixel centres aligned and not corners, so that the map lies on the image.
    """

    name: ClassVar[str] = "uniad"
    paper: ClassVar[str] = (
        "You, Cui, Shen, Yang, Lu, Zheng, Le: A Unified Model for Multi-class Anomaly Detection, NeurIPS 2022"
    )
    family: ClassVar[str] = "feature comparison"
    reduction: ClassVar[str] = "own"
    default_size: ClassVar[int] = 224
    Options: ClassVar[type[base.Options]] = UniADOptions

    options: UniADOptions
    scale: Tensor

    def __init__(self, options: UniADOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.grid = (-(-size[0] // STRIDE), -(-size[1] // STRIDE))
        if options.neighbours and max(self.grid) // 2 <= options.neighbours // 2:
            raise UsageError(
                f"uniad with neighbours={options.neighbours} needs a side of at least"
                f" {STRIDE * (options.neighbours + 1)} pixels, not {size[0]} x {size[1]}"
            )
        if min(size) < 2 * STRIDE:
            raise UsageError(f"uniad needs images of at least 32 x 32 pixels, not {size[0]} x {size[1]}")
        stages = options.stages or _fine_stages(options.backbone)
        self.backbone = Backbone(options.backbone, stages).eval().requires_grad_(False)
        features, width = sum(stage.channels for stage in self.backbone.stages), options.width
        # One over the root mean square of all features of normals, which the first phase measures.
        self.register_buffer("scale", torch.ones(()))
        self.into, self.out = nn.Linear(features, width), nn.Linear(width, features)
        self.transformer = NeighbourTransformer(
            self.grid, width, 8, options.layers, 4 * width, options.neighbours, options.dropout
        )
        for module in (self.into, self.out, self.transformer):
            module.apply(_initialise)

    def prepare(self) -> None:
        """Load the backbone's published weights."""
        self.backbone.load_pretrained()

    def train(self, mode: bool = True) -> UniAD:
        """As always, but the backbone stays in eval mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def phases(self) -> list[Phase | Collect]:
        """A look at the features' size, and training of the reconstruction."""
        return [
            Collect("feature scale", self.options.batch_size, self._measure),
            Phase(
                name="reconstruction",
                epochs=self.options.epochs,
                batch_size=self.options.batch_size,
                optimizers=self._optimizers,
                step=self._step,
                validate=self.loss,
                rate=lambda step, steps: 1.0 if step < DROP * steps else 0.1,
            ),
        ]

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """f_org and f_rec, `(N, F, h, w)` in float32, of `(N, C, H, W)` images; with noise between them in training."""
        with torch.no_grad():
            original = self.scale * self._original(images)
        tokens = original.flatten(2).transpose(1, 2)
        if self.training:
            tokens = jittered(tokens, self.options.jitter)
        rebuilt = self.out(self.transformer(self.into(tokens))).float()
        return original, rebuilt.transpose(1, 2).unflatten(2, self.grid)

    def loss(self, images: Tensor) -> Tensor:
        """Squared distance of the two, mean over the locations, of each image `(N,)` (equation 7)."""
        original, rebuilt = self.features(images)
        return (original - rebuilt).square().sum(dim=1).mean(dim=(1, 2))

    def predict(self, images: Tensor) -> Prediction:
        """Map: distance of the two at each location (equation 8), resized; score: maximum of the pooled map."""
        original, rebuilt = self.features(images)
        distance = torch.linalg.vector_norm(original - rebuilt, dim=1, keepdim=True)
        anomaly_map = F.interpolate(distance, self.size, mode="bilinear", align_corners=False)
        return Prediction(anomaly_map, F.avg_pool2d(anomaly_map, POOL, stride=1).flatten(1).amax(dim=1))

    def feature_pairs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """f_org and f_rec."""
        return self.features(images)

    def _original(self, images: Tensor) -> Tensor:
        """The backbone's stages on one grid, `(N, F, h, w)` in float32."""
        stages = [stage.float() for stage in self.backbone(images)]
        return torch.cat([F.interpolate(s, self.grid, mode="bilinear", align_corners=False) for s in stages], dim=1)

    def _measure(self, batches: Iterable[Tensor]) -> None:
        squares = [self._original(batch).square().mean() for batch in islice(batches, SCALE_BATCHES)]
        self.scale.copy_(torch.stack(squares).mean().clamp_min(1e-12).rsqrt())

    def _optimizers(self) -> Mapping[str, Optimizer]:
        moved = [*self.into.parameters(), *self.transformer.parameters(), *self.out.parameters()]
        options = self.options
        adamw = AdamW(moved, lr=options.learning_rate, weight_decay=options.weight_decay, fused=True)
        return {"adamw": clipped(adamw, 0.1)}

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        loss = self.loss(images).mean()
        update("adamw", loss)
        return {"loss": loss.detach()}


def jittered(tokens: Tensor, strength: float) -> Tensor:
    """Tokens `(N, L, F)` with Gaussian noise of standard deviation strength · ||token|| / F (section 3.2)."""
    deviation = strength / tokens.shape[2] * torch.linalg.vector_norm(tokens, dim=2, keepdim=True)
    return tokens + deviation * torch.randn_like(tokens)


def _fine_stages(backbone: str) -> tuple[int, ...]:
    """The stages of strides 2 to 16."""
    stages = Backbone(backbone).stages
    return tuple(index for index, stage in enumerate(stages) if 1 < stage.stride <= STRIDE)


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
