"""EDC: an encoder that adapts to the images while a decoder learns to rebuild its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from unremarkable.errors import UsageError, unknown_name
from unremarkable.methods import base
from unremarkable.methods.base import Collect, Method, Phase, Prediction, Update
from unremarkable.methods.feature_maps import cosine_distances, flat_cosine_distances
from unremarkable.methods.optimizers import clipped
from unremarkable.networks.backbones import Backbone
from unremarkable.networks.edc_decoder import EDCDecoder

#: the three stages that are rebuilt and the one they are rebuilt from
STAGES = (-4, -3, -2, -1)
DECODERS = ("resnet18", "resnet34", "resnet50", "wide_resnet50_2")


@dataclass(frozen=True)
class EDCOptions(base.Options):
    """Options of `EDC`."""

    backbone: str = field(default="efficientnet-lite0", metadata={"help": "pretrained encoder (paper: resnet50)"})
    decoder: Literal["resnet18", "resnet34", "resnet50", "wide_resnet50_2"] = field(
        default="resnet50", metadata={"help": "the ResNet that the decoder mirrors"}
    )
    learning_rate: float = field(default=5e-4, metadata={"help": "AdamW learning rate of the decoder"})
    encoder_learning_rate: float = field(default=1e-5, metadata={"help": "AdamW learning rate of the encoder"})
    weight_decay: float = field(default=1e-4, metadata={"help": "AdamW, decoupled"})
    momentum: float = field(default=0.1, metadata={"help": "of all batch-norm statistics (paper: 0.01)"})
    rule: Literal["max", "mean"] = field(
        default="max", metadata={"help": "map to score: max; mean is the paper's for skin lesions"}
    )
    batch_size: int = field(default=16, metadata={"help": "images per step (paper: 32)"})
    epochs: int = field(default=20, metadata={"help": "passes over the training images (paper: 500 to 6000 steps)"})
    patience: int = field(default=5, metadata={"help": "epochs without a better held-out loss before training stops"})

    def __post_init__(self) -> None:
        if self.decoder not in DECODERS:
            raise unknown_name("decoder", self.decoder, DECODERS)
        if self.rule not in ("max", "mean"):
            raise unknown_name("rule", self.rule, ("max", "mean"))
        for name in ("learning_rate", "encoder_learning_rate", "batch_size", "epochs", "patience"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")
        if not 0 < self.momentum <= 1 or self.weight_decay < 0:
            raise UsageError("momentum lies above 0 and up to 1, and weight_decay is not negative")


class EDC(Method):
    """Encoder-decoder contrast: the angle between an adapting encoder's features and what a decoder makes of them.

    The decoder rebuilds three encoder stages from the deepest. Both learn: the stages that are compared are cut from
    the graph, so that the encoder moves through the deepest features alone and cannot make its targets constant. The
    loss is one angle for each stage and image, over the flattened features (the paper's global cosine distance).

    The published loss weighs all locations alike. Mining of hard ones belongs to the same authors' ReContrast (2023)
    and to `dinomaly`, and is not done here.

    Deviations from the paper:
        - The encoder is EfficientNet-Lite0, whose weights work offline (paper: ResNet-50). Its features can be
          negative, which the last ReLU of a ResNet's stage forbids: a 1x1 convolution per stage gives them its
          channels. With `backbone=resnet50` the network is the published one.
        - Batch-norm statistics follow with momentum 0.1 (paper: 0.01, which is for thousands of steps: after a
          hundred, a third of what is used for scoring would still be where it started).
        - Batch 16 and at most 20 epochs: on a thousand images 1,250 steps (paper: 32, and 500 to 6,000 steps).
        - The weights of the epoch with the lowest held-out loss are kept; the paper looks at test images every few
          hundred steps.
    """

    name: ClassVar[str] = "edc"
    paper: ClassVar[str] = (
        "Guo, Lu, Jia, Zhang, Li: Encoder-Decoder Contrast for Unsupervised Anomaly Detection in Medical Images, "
        "IEEE Transactions on Medical Imaging, 2024"
    )
    family: ClassVar[str] = "feature comparison"
    reduction: ClassVar[str] = "max"
    Options: ClassVar[type[base.Options]] = EDCOptions

    options: EDCOptions

    def __init__(self, options: EDCOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        if min(size) < 64:
            raise UsageError(f"edc needs images of at least 64 x 64 pixels, not {size[0]} x {size[1]}")
        self.encoder = Backbone(options.backbone, STAGES)
        self.decoder = EDCDecoder(options.decoder, [stage.channels for stage in self.encoder.stages])
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = options.momentum

    def prepare(self) -> None:
        """Load the encoder's published weights."""
        self.encoder.load_pretrained()

    def phases(self) -> list[Phase | Collect]:
        """Encoder and decoder together."""
        return [
            Phase(
                name="features",
                epochs=self.options.epochs,
                batch_size=self.options.batch_size,
                optimizers=self._optimizers,
                step=self._step,
                validate=self.loss,
                patience=self.options.patience,
            )
        ]

    def features(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Encoder stages, cut from the graph, and the decoder's of `(N, C, H, W)` images; fine to coarse, float32."""
        *targets, deepest = self.encoder(images)
        decoded = self.decoder(deepest, [(t.shape[2], t.shape[3]) for t in targets])
        return [t.detach().float() for t in targets], [d.float() for d in decoded]

    def loss(self, images: Tensor) -> Tensor:
        """Sum over the stages of the global cosine distance of each image, `(N,)` in [0, 6]."""
        pairs = zip(*self.features(images), strict=True)
        return torch.stack([flat_cosine_distances(encoded, decoded) for encoded, decoded in pairs]).sum(dim=0)

    def predict(self, images: Tensor) -> Prediction:
        """Map: mean over the stages of 1 - cosine, at the finest stage's resolution; score: its maximum."""
        distances = [cosine_distances(e, d).unsqueeze(1) for e, d in zip(*self.features(images), strict=True)]
        finest = distances[0].shape[-2:]
        resized = [F.interpolate(d, finest, mode="bilinear", align_corners=False) for d in distances]
        anomaly_map = torch.cat(resized, dim=1).mean(dim=1, keepdim=True)
        flat = anomaly_map.flatten(1)
        return Prediction(anomaly_map, flat.amax(dim=1) if self.options.rule == "max" else flat.mean(dim=1))

    def feature_pairs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The stages averaged onto the coarsest one's grid, side by side."""
        encoded, decoded = self.features(images)
        grid = (encoded[-1].shape[-2], encoded[-1].shape[-1])
        pooled = [torch.cat([F.adaptive_avg_pool2d(f, grid) for f in side], dim=1) for side in (encoded, decoded)]
        return pooled[0], pooled[1]

    def _optimizers(self) -> Mapping[str, Optimizer]:
        options = self.options
        groups = [
            {"params": self.decoder.parameters(), "lr": options.learning_rate},
            {"params": self.encoder.parameters(), "lr": options.encoder_learning_rate},
        ]
        return {"adamw": clipped(AdamW(groups, weight_decay=options.weight_decay, fused=True), 1.0)}

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        loss = self.loss(images).mean()
        update("adamw", loss)
        return {"loss": loss.detach()}
