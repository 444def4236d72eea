"""Hetero-AE: a CNN encoder, a hybrid CNN–Transformer decoder, and the distance between their features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from unremarkable.errors import UsageError, unknown_name
from unremarkable.methods import base
from unremarkable.methods.base import Collect, Method, Phase, Prediction, Update
from unremarkable.methods.planting import plant, separation
from unremarkable.networks.backbones import Backbone
from unremarkable.networks.mstb import Branch, HybridModule

#: per stage, fine to coarse: channels C_i, heads, patch sizes p1 and p2 (IV.B.1)
STAGES = ((64, 2, (4, 8)), (128, 4, (2, 4)), (256, 8, (1, 2)))
#: strides of the encoder features F_E^1..4
STRIDES = (4, 8, 16, 32)
BRANCHES: dict[str, tuple[Branch, Branch]] = {
    "hybrid": ("cnn", "transformer"),
    "cnn": ("cnn", "cnn"),
    "transformer": ("transformer", "transformer"),
}
REDUCTIONS = ("max", "top1", "top10", "mean")
#: every way to choose stages and reduction, the paper's first, so that it wins a tie
STAGE_SETS = tuple(chosen for count in (3, 2, 1) for chosen in combinations((1, 2, 3), count))
RULES = tuple((stages, reduction) for stages in STAGE_SETS for reduction in REDUCTIONS)
#: normals that the label-free rule plants anomalies in, at most
PROBES = 256
#: batches from which the scale of the features is measured, at most
SCALE_BATCHES = 16


class Decoder(nn.Module):
    """F_E^4 → F_D^1..3, given back fine to coarse with the channels of the encoder's own stages (III.B.2)."""

    def __init__(self, channels: tuple[int, ...], size: tuple[int, int], kind: str) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            HybridModule(
                channels[i + 1],
                width,
                channels[i],
                (size[0] // STRIDES[i + 1], size[1] // STRIDES[i + 1]),
                heads,
                patches,
                BRANCHES[kind],
            )
            for i, (width, heads, patches) in enumerate(STAGES)
        )

    def forward(self, deepest: Tensor) -> list[Tensor]:
        features = [deepest]
        for stage in reversed(self.stages):
            features.insert(0, stage(features[0]))
        return features[:-1]


@dataclass(frozen=True)
class HeteroAEOptions(base.Options):
    """Options of `HeteroAE`; see docs/methods/hetero-ae.md for which defaults are not the paper's, and why."""

    encoder: str = field(default="efficientnet-lite0", metadata={"help": "backbone (paper: ResNet)"})
    train_encoder: bool = field(default=True, metadata={"help": "train the encoder too, its targets detached"})
    decoder: Literal["hybrid", "cnn", "transformer"] = field(
        default="hybrid", metadata={"help": "decoder blocks: hybrid is the paper's, the others its ablations"}
    )
    alpha: float = field(default=0.7, metadata={"help": "weight of the cosine against the squared error in the loss"})
    learning_rate: float = field(default=5e-4, metadata={"help": "Adam learning rate of the decoder"})
    encoder_learning_rate: float = field(default=1e-5, metadata={"help": "Adam learning rate of a trained encoder"})
    batch_size: int = field(default=16, metadata={"help": "images per step (paper: 200)"})
    epochs: int = field(default=20, metadata={"help": "passes over the training images, at most (paper: 200)"})
    patience: int = field(default=5, metadata={"help": "epochs without a better held-out loss before training stops"})
    stages: tuple[int, ...] = field(default=(1, 2, 3), metadata={"help": "encoder stages that enter the map, 1 finest"})
    reduction: Literal["auto", "max", "top1", "top10", "mean"] = field(
        default="auto",
        metadata={"help": "map to score: max is the paper's; auto picks it and the stages on planted anomalies"},
    )

    def __post_init__(self) -> None:
        for name, known in (("decoder", BRANCHES), ("reduction", ("auto", *REDUCTIONS))):
            if getattr(self, name) not in known:
                raise unknown_name(name, getattr(self, name), known)
        if not self.stages or not set(self.stages) <= {1, 2, 3}:
            raise UsageError(f"stages are among 1, 2 and 3, not {self.stages}")
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha lies between 0 and 1, not {self.alpha}")
        for name in ("batch_size", "epochs", "patience", "learning_rate", "encoder_learning_rate"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")


class HeteroAE(Method):
    """Heterogeneous auto-encoder: how far the decoder's features lie from the encoder's, location by location.

    Deviations from the paper: the encoder (EfficientNet-Lite0, whose weights work offline, for a ResNet); the decoder's
    outputs have the encoder's channels, whatever they are; encoder features are brought to unit scale before eq. 4;
    batch 16 for 200 and 20 epochs for 200, which on a thousand images is about the same number of steps; rate 5e-4 for
    1e-4 in the decoder and 1e-5 in the encoder, which the loss never reaches through its own features as targets;
    early stopping; stages and reduction chosen on planted anomalies
    (`reduction="max"` and all stages are the paper's).
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
        if size[0] % 64 or size[1] % 64:
            raise UsageError(f"hetero-ae needs a height and width that 64 divides, not {size[0]} × {size[1]}")
        self.encoder = Backbone(options.encoder)
        by_stride = {stage.stride: i for i, stage in enumerate(self.encoder.stages)}  # the last stage of each stride
        if not set(STRIDES) <= set(by_stride):
            raise UsageError(
                f"hetero-ae needs an encoder with strides 4, 8, 16 and 32, which {options.encoder} has not"
            )
        self._taken = [by_stride[stride] for stride in STRIDES]
        self.decoder = Decoder(tuple(self.encoder.stages[i].channels for i in self._taken), size, options.decoder)
        self.encoder.requires_grad_(options.train_encoder)
        # One over the root mean square of each F_E^k on normals, which the first phase measures.
        self.register_buffer("scale", torch.ones(3))
        # What scoring uses; the label-free rule overwrites both, and they are saved with the weights.
        self.register_buffer("stages", torch.tensor([k in options.stages for k in (1, 2, 3)]))
        first = REDUCTIONS.index(options.reduction) if options.reduction in REDUCTIONS else 0
        self.register_buffer("reducer", torch.tensor(first))

    def prepare(self) -> None:
        self.encoder.load_pretrained()

    def train(self, mode: bool = True) -> HeteroAE:
        """Training mode; a frozen encoder stays as it is, batch-norm statistics included."""
        super().train(mode)
        self.encoder.train(mode and self.options.train_encoder)
        return self

    def phases(self) -> list[Phase | Collect]:
        options = self.options
        train = Phase(
            name="features",
            epochs=options.epochs,
            batch_size=options.batch_size,
            optimizers=self._optimizers,
            step=self._step,
            validate=self.loss,
            patience=options.patience,
        )
        first = Collect("feature scale", options.batch_size, self._measure)
        if options.reduction != "auto":
            return [first, train]
        return [first, train, Collect("scoring rule", options.batch_size, self._choose, held_out=True)]

    def features(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """F_E^1..3, scaled and cut from the graph, and F_D^1..3 of `(N, C, H, W)` images: fine to coarse, float32."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.options.train_encoder):
            stages = self.encoder(images)
        *targets, deepest = (stages[i] for i in self._taken)
        # An encoder that could move its own targets would make them constant. It learns through F_E^4 alone.
        encoded = [s * t.detach().float() for s, t in zip(self.scale, targets, strict=True)]
        return encoded, [f.float() for f in self.decoder(deepest)]

    def loss(self, images: Tensor) -> Tensor:
        """L_FC of each image `(N,)` (eq. 5)."""
        pairs = zip(*self.features(images), strict=True)
        return torch.stack([stage_loss(e, d, self.options.alpha).mean(dim=(1, 2)) for e, d in pairs]).sum(dim=0)

    def predict(self, images: Tensor) -> Prediction:
        chosen = self.stage_maps(images)[:, self.stages].sum(dim=1, keepdim=True)  # eq. 7
        return Prediction(chosen, reduce(chosen, REDUCTIONS[int(self.reducer)]))

    def stage_maps(self, images: Tensor) -> Tensor:
        """M_1..3 at the images' resolution `(N, 3, H, W)`, each in [0, 2] (eq. 6, and the resizing of eq. 7)."""
        maps = [1 - F.cosine_similarity(e, d, dim=1) for e, d in zip(*self.features(images), strict=True)]  # eq. 6
        resized = [F.interpolate(m.unsqueeze(1), self.size, mode="bilinear", align_corners=False) for m in maps]
        return torch.cat(resized, dim=1)

    def feature_pairs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """F̄_E and F̄_D of Fig. 5: the stages' features averaged onto the coarsest stage's grid, side by side."""
        encoded, decoded = self.features(images)
        grid = (encoded[-1].shape[-2], encoded[-1].shape[-1])
        pooled = [torch.cat([F.adaptive_avg_pool2d(f, grid) for f in side], dim=1) for side in (encoded, decoded)]
        return pooled[0], pooled[1]

    def _optimizers(self) -> Mapping[str, Optimizer]:
        groups = [{"params": self.decoder.parameters(), "lr": self.options.learning_rate}]
        if self.options.train_encoder:
            groups.append({"params": self.encoder.parameters(), "lr": self.options.encoder_learning_rate})
        return {"adam": Adam(groups, fused=True)}

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        loss = self.loss(images).mean()
        update("adam", loss)
        return {"loss": loss.detach()}

    def _measure(self, batches: Iterable[Tensor]) -> None:
        """Set the scale at which the squared error of eq. 4 weighs what it weighs with a ResNet's features."""
        squares = []
        for batch in islice(batches, SCALE_BATCHES):
            stages = self.encoder(batch)
            squares.append(torch.stack([stages[i].float().square().mean() for i in self._taken[:3]]))
        self.scale.copy_(torch.stack(squares).mean(dim=0).clamp_min(1e-12).rsqrt())

    def _choose(self, batches: Iterable[Tensor]) -> None:
        """Take the stages and the reduction that best tell normals from the same normals with a planted anomaly."""
        generator = torch.Generator().manual_seed(0)
        clean = _sample(batches, PROBES, generator)
        planted = plant(clean.cpu(), generator).to(clean)
        rules = [(s, r) for s, r in RULES if set(s) <= set(self.options.stages)]
        auroc = separation(self._scores(clean, rules), self._scores(planted, rules))
        stages, reduction = rules[int(auroc.argmax())]
        self.stages.copy_(torch.tensor([k in stages for k in (1, 2, 3)]))
        self.reducer.fill_(REDUCTIONS.index(reduction))

    def _scores(self, images: Tensor, rules: list[tuple[tuple[int, ...], str]]) -> Tensor:
        """Scores `(rules, N)`."""
        parts = []
        for batch in images.split(16):
            maps = self.stage_maps(batch)
            parts.append(torch.stack([reduce(maps[:, [k - 1 for k in s]].sum(1, keepdim=True), r) for s, r in rules]))
        return torch.cat(parts, dim=1)


def stage_loss(encoded: Tensor, decoded: Tensor, alpha: float) -> Tensor:
    """L^k(h, w) of features `(N, C, h, w)` as `(N, h, w)` (eq. 4); the MSE is the mean over the channels."""
    cosine = F.cosine_similarity(encoded, decoded, dim=1)
    return -alpha * cosine + (1 - alpha) * (encoded - decoded).square().mean(dim=1)


def reduce(maps: Tensor, reduction: str) -> Tensor:
    """Image scores `(N,)` of maps `(N, 1, H, W)`: "max" (eq. 8), "mean", or the mean of the "top1" or "top10" %."""
    flat = maps.flatten(1)
    if reduction == "max":
        return flat.amax(dim=1)
    if reduction == "mean":
        return flat.mean(dim=1)
    share = {"top1": 0.01, "top10": 0.1}[reduction]
    return flat.topk(max(1, round(share * flat.shape[1])), dim=1, sorted=False).values.mean(dim=1)


def _sample(batches: Iterable[Tensor], count: int, generator: torch.Generator) -> Tensor:
    """At most `count` images, each image of the batches as likely as any other (reservoir sampling)."""
    kept: list[Tensor] = []
    for seen, image in enumerate(image for batch in batches for image in batch):
        place = seen if seen < count else int(torch.randint(seen + 1, (), generator=generator))
        if place < count:
            kept[place : place + 1] = [image.clone()]
    return torch.stack(kept)
