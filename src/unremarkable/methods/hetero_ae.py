"""Hetero-AE: a CNN encoder, a hybrid CNN–Transformer decoder, and the distance between their features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from unremarkable.errors import UsageError, unknown_name
from unremarkable.methods import base
from unremarkable.methods.base import Collect, Method, Phase, Prediction, Update
from unremarkable.methods.feature_maps import cosine_distances
from unremarkable.methods.scoring_rule import REDUCTIONS, Rule, apply_rule, choose, rules
from unremarkable.networks.backbones import Backbone
from unremarkable.networks.feature_decoder import Decoder, Kind, PixelHead, make_encoder

#: batches from which the scale of the features is measured, at most
SCALE_BATCHES = 16


@dataclass(frozen=True)
class HeteroAEOptions(base.Options):
    """Options of `HeteroAE`; see docs/methods/hetero-ae.md for which defaults are not the paper's, and why."""

    encoder: str = field(
        default="efficientnet-lite0", metadata={"help": "backbone (paper: ResNet), or hybrid or transformer, untrained"}
    )
    train_encoder: bool = field(default=True, metadata={"help": "train the encoder too, its targets detached"})
    decoder: Kind = field(
        default="hybrid",
        metadata={"help": "hybrid is the paper's; cnn, transformer, swin, pvt, cmt, resnet, efficientnet to compare"},
    )
    compare: Literal["features", "pixels"] = field(
        default="features", metadata={"help": "what the decoder rebuilds and the map compares: pixels is Table IV's"}
    )
    alpha: float = field(default=0.7, metadata={"help": "weight of the cosine against the squared error in the loss"})
    learning_rate: float = field(
        default=1e-4, metadata={"help": "Adam learning rate of whatever starts without pretrained weights"}
    )
    encoder_learning_rate: float = field(default=1e-4, metadata={"help": "Adam learning rate of a pretrained encoder"})
    batch_size: int = field(default=16, metadata={"help": "images per step (paper: 200)"})
    epochs: int = field(default=20, metadata={"help": "passes over the training images, at most (paper: 200)"})
    patience: int = field(default=5, metadata={"help": "epochs without a better held-out loss before training stops"})
    stages: tuple[int, ...] = field(default=(1, 2, 3), metadata={"help": "encoder stages that enter the map, 1 finest"})
    rule: Literal["auto", "max", "top1", "top10", "mean"] = field(
        default="auto",
        metadata={"help": "map to score: max is the paper's; auto picks it and the stages on planted anomalies"},
    )

    def __post_init__(self) -> None:
        known = {"decoder": get_args(Kind), "compare": ("features", "pixels"), "rule": ("auto", *REDUCTIONS)}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise unknown_name(name, getattr(self, name), values)
        if not self.stages or not set(self.stages) <= {1, 2, 3}:
            raise UsageError(f"stages are among 1, 2 and 3, not {self.stages}")
        if self.compare == "pixels" and set(self.stages) != {1, 2, 3}:
            raise UsageError("stages choose among maps of features; with compare=pixels there is one map, of the image")
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha lies between 0 and 1, not {self.alpha}")
        for name in ("batch_size", "epochs", "patience", "learning_rate", "encoder_learning_rate"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")


class HeteroAE(Method):
    """Heterogeneous auto-encoder: how far the decoder's features lie from the encoder's, location by location.

    Deviations from the paper: the encoder (EfficientNet-Lite0, whose weights work offline, for a ResNet); the decoder's
    outputs have the encoder's channels, whatever they are; encoder features are brought to unit scale before eq. 4;
    batch 16 for 200 and 20 epochs for 200, which on a thousand images is about the same number of steps; the loss
    never reaches the encoder through its own features as targets; early stopping; stages and reduction chosen on
    planted anomalies (`rule="max"` and all stages are the paper's). The page says what the ablations leave open.
    """

    name: ClassVar[str] = "hetero-ae"
    paper: ClassVar[str] = (
        "Lu, Zhang, Zhao, Liu, Wang, Li: Anomaly detection for medical images using heterogeneous auto-encoder, "
        "IEEE Transactions on Image Processing, 2024"
    )
    family: ClassVar[str] = "feature comparison"
    reduction: ClassVar[str] = "max"
    Options: ClassVar[type[base.Options]] = HeteroAEOptions

    options: HeteroAEOptions
    scale: Tensor
    stages: Tensor
    reducer: Tensor

    def __init__(self, options: HeteroAEOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.encoder = make_encoder(options.encoder, channels, size)
        by_stride = {stage.stride: i for i, stage in enumerate(self.encoder.stages)}  # the last stage of each stride
        strides = sorted(by_stride)[-4:]
        if len(strides) < 4 or any(b != 2 * a for a, b in pairwise(strides)):
            raise UsageError(f"hetero-ae needs four encoder stages, each half the one before; not {options.encoder}")
        if size[0] % strides[-1] or size[1] % strides[-1]:
            raise UsageError(
                f"hetero-ae needs a height and width that {strides[-1]} divides, not {size[0]} × {size[1]}"
            )
        self._taken = [by_stride[stride] for stride in strides]
        widths = tuple(self.encoder.stages[i].channels for i in self._taken)
        self.decoder = Decoder(widths, tuple((size[0] // s, size[1] // s) for s in strides), options.decoder)
        pixels = options.compare == "pixels"
        self.head = PixelHead(widths[0], channels, strides[0].bit_length() - 1) if pixels else None
        self.encoder.requires_grad_(options.train_encoder)
        maps = 1 if pixels else 3
        # One over the root mean square of each F_E^k on normals, which the first phase measures.
        self.register_buffer("scale", torch.ones(3))
        # What scoring uses; the label-free rule overwrites both, and they are saved with the weights.
        self.register_buffer("stages", torch.tensor([k in options.stages for k in range(1, maps + 1)]))
        first = REDUCTIONS.index(options.rule) if options.rule in REDUCTIONS else 0
        self.register_buffer("reducer", torch.tensor(first))

    def prepare(self) -> None:
        if isinstance(self.encoder, Backbone):
            self.encoder.load_pretrained()

    def train(self, mode: bool = True) -> HeteroAE:
        """Training mode; a frozen encoder stays as it is, batch-norm statistics included."""
        super().train(mode)
        self.encoder.train(mode and self.options.train_encoder)
        return self

    def phases(self) -> list[Phase | Collect]:
        options = self.options
        phases: list[Phase | Collect] = [
            Phase(
                name=options.compare,
                epochs=options.epochs,
                batch_size=options.batch_size,
                optimizers=self._optimizers,
                step=self._step,
                validate=self.loss,
                patience=options.patience,
            )
        ]
        if self.head is None:
            phases.insert(0, Collect("feature scale", options.batch_size, self._measure))
        if options.rule == "auto":
            phases.append(Collect("scoring rule", options.batch_size, self._choose, held_out=True))
        return phases

    def features(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """F_E^1..3, scaled and cut from the graph, and F_D^1..3 of `(N, C, H, W)` images: fine to coarse, float32."""
        *targets, deepest = self._encode(images)
        # An encoder that could move its own targets would make them constant. It learns through F_E^4 alone.
        encoded = [s * t.detach().float() for s, t in zip(self.scale, targets, strict=True)]
        return encoded, [f.float() for f in self.decoder(deepest)]

    def rebuild(self, images: Tensor) -> Tensor:
        """The images `(N, C, H, W)` as the decoder paints them from F_E^4; only with `compare="pixels"`."""
        assert self.head is not None
        return self.head(self.decoder(self._encode(images)[-1])[0]).float()

    def loss(self, images: Tensor) -> Tensor:
        """L_FC of each image `(N,)` (eq. 5), or the mean squared error of its pixels."""
        if self.head is not None:
            return squared_error(images, self.rebuild(images)).mean(dim=(1, 2, 3))
        pairs = zip(*self.features(images), strict=True)
        return torch.stack([stage_loss(e, d, self.options.alpha).mean(dim=(1, 2)) for e, d in pairs]).sum(dim=0)

    def predict(self, images: Tensor) -> Prediction:
        rebuilt = None if self.head is None else self.rebuild(images)
        maps = self.stage_maps(images) if rebuilt is None else squared_error(images, rebuilt)
        return Prediction(*apply_rule(maps, self.rule), rebuilt)  # eq. 7 and 8

    def stage_maps(self, images: Tensor) -> Tensor:
        """M_1..3 at the images' resolution `(N, 3, H, W)`, each in [0, 2] (eq. 6, and the resizing of eq. 7).

        With `compare="pixels"` the squared error of each pixel, `(N, 1, H, W)`.
        """
        if self.head is not None:
            return squared_error(images, self.rebuild(images))
        maps = [cosine_distances(e, d) for e, d in zip(*self.features(images), strict=True)]  # eq. 6
        resized = [F.interpolate(m.unsqueeze(1), self.size, mode="bilinear", align_corners=False) for m in maps]
        return torch.cat(resized, dim=1)

    def feature_pairs(self, images: Tensor) -> tuple[Tensor, Tensor] | None:
        """F̄_E and F̄_D of Fig. 5: the stages' features averaged onto the coarsest stage's grid, side by side."""
        if self.head is not None:
            return None
        encoded, decoded = self.features(images)
        grid = (encoded[-1].shape[-2], encoded[-1].shape[-1])
        pooled = [torch.cat([F.adaptive_avg_pool2d(f, grid) for f in side], dim=1) for side in (encoded, decoded)]
        return pooled[0], pooled[1]

    @property
    def rule(self) -> Rule:
        """The stages whose maps are summed, and how the sum becomes a score."""
        return tuple(k for k, used in enumerate(self.stages.tolist(), 1) if used), REDUCTIONS[int(self.reducer)]

    def settled(self) -> dict[str, Any]:
        """The rule that scoring uses."""
        stages, reduction = self.rule
        return {"reduction": reduction} if self.head is not None else {"stages": list(stages), "reduction": reduction}

    def _encode(self, images: Tensor) -> list[Tensor]:
        """F_E^1..4."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.options.train_encoder):
            stages = self.encoder(images)
        return [stages[i] for i in self._taken]

    def _optimizers(self) -> Mapping[str, Optimizer]:
        options = self.options
        fresh = nn.ModuleList([self.decoder] if self.head is None else [self.decoder, self.head])
        groups = [{"params": fresh.parameters(), "lr": options.learning_rate}]
        if options.train_encoder:
            pretrained = isinstance(self.encoder, Backbone)
            rate = options.encoder_learning_rate if pretrained else options.learning_rate
            groups.append({"params": self.encoder.parameters(), "lr": rate})
        return {"adam": Adam(groups, fused=True)}

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        loss = self.loss(images).mean()
        update("adam", loss)
        return {"loss": loss.detach()}

    def _measure(self, batches: Iterable[Tensor]) -> None:
        """Set the scale at which the squared error of eq. 4 weighs what it weighs with a ResNet's features."""
        squares = [
            torch.stack([feature.float().square().mean() for feature in self._encode(batch)[:3]])
            for batch in islice(batches, SCALE_BATCHES)
        ]
        self.scale.copy_(torch.stack(squares).mean(dim=0).clamp_min(1e-12).rsqrt())

    def _choose(self, batches: Iterable[Tensor]) -> None:
        """Take the stages and the reduction that best tell normals from the same normals with a planted anomaly."""
        maps = range(1, len(self.stages) + 1)
        candidates = rules(tuple(k for k in maps if k in self.options.stages))
        stages, reduction = choose(self.stage_maps, batches, candidates)
        self.stages.copy_(torch.tensor([k in stages for k in maps]))
        self.reducer.fill_(REDUCTIONS.index(reduction))


def stage_loss(encoded: Tensor, decoded: Tensor, alpha: float) -> Tensor:
    """L^k(h, w) of features `(N, C, h, w)` as `(N, h, w)` (eq. 4); the MSE is the mean over the channels."""
    cosine = F.cosine_similarity(encoded, decoded, dim=1)
    return -alpha * cosine + (1 - alpha) * (encoded - decoded).square().mean(dim=1)


def squared_error(images: Tensor, rebuilt: Tensor) -> Tensor:
    """`(N, 1, H, W)`: the mean over the channels at each pixel."""
    return (images - rebuilt).square().mean(dim=1, keepdim=True)
