"""Dinomaly: a frozen Vision Transformer, and a decoder that is kept from copying it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from unremarkable.errors import UsageError
from unremarkable.methods import base
from unremarkable.methods.base import Collect, Method, Phase, Prediction, Update
from unremarkable.methods.feature_maps import cosine_distances, flat_cosine_distances
from unremarkable.methods.optimizers import StableAdamW, clipped, warm_cosine
from unremarkable.methods.scoring_rule import reduce
from unremarkable.networks.transformer import MLP, Block, LinearAttention
from unremarkable.networks.vit import depth_of, vision_transformer

#: middle blocks whose tokens are rebuilt, by the encoder's depth (section 3.1, and the authors' code for ViT-L)
LAYERS = {12: (2, 3, 4, 5, 6, 7, 8, 9), 24: (4, 6, 8, 10, 12, 14, 16, 18)}
#: share of the learning rate left at the end, steps of its rise, and steps in which mining comes in (appendix A)
FINAL_RATE, WARM_UP, MINING_STEPS = 0.1, 100, 1000
#: what is left of the gradient at locations that are rebuilt well (equation 5)
SHRINK = 0.1
#: largest side of the map, and the Gaussian that smooths it there
MAP_SIDE, KERNEL, SIGMA = 256, 5, 4.0


@dataclass(frozen=True)
class DinomalyOptions(base.Options):
    """Options of `Dinomaly`."""

    encoder: str = field(
        default="vit-base-14-reg",
        metadata={"help": "vit-(small|base|large)-14-reg or -14, vit-(tiny|small|base)-16, timm:NAME"},
    )
    pretrained: bool = field(
        default=True, metadata={"help": "false leaves the encoder random: for tests and timing, not for detection"}
    )
    layers: tuple[int, ...] = field(
        default=(), metadata={"help": "encoder blocks that are rebuilt, 0 the first; none given: the paper's eight"}
    )
    groups: int = field(default=2, metadata={"help": "groups of layers, averaged and compared as one each"})
    dropout: float = field(default=0.2, metadata={"help": "of the noisy bottleneck"})
    mining: float = field(default=0.9, metadata={"help": "share of locations whose gradient shrinks, in the end"})
    learning_rate: float = field(default=2e-3, metadata={"help": "StableAdamW, after 100 steps of rising"})
    weight_decay: float = field(default=1e-4, metadata={"help": "StableAdamW, decoupled"})
    batch_size: int = field(default=16, metadata={"help": "images per step"})
    epochs: int = field(default=50, metadata={"help": "passes over the training images (paper: 10,000 steps)"})

    def __post_init__(self) -> None:
        for name in ("groups", "learning_rate", "batch_size", "epochs"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")
        for name in ("dropout", "mining"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} lies between 0 and below 1, not {getattr(self, name)}")
        if self.weight_decay < 0:
            raise UsageError(f"weight_decay cannot be negative: {self.weight_decay}")


class Decoder(nn.Module):
    """Noisy bottleneck (section 3.2) and one block of linear attention (3.3) for each layer that is rebuilt."""

    def __init__(self, width: int, heads: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.bottleneck = MLP(width, dropout)
        self.blocks = nn.ModuleList(Block(width, LinearAttention(width, heads), eps=1e-8) for _ in range(depth))
        self.apply(_initialise)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """Tokens after each block, the last one first: it answers to the encoder's first layer."""
        x = self.bottleneck(tokens)
        outputs: list[Tensor] = []
        for block in self.blocks:
            x = block(x)
            outputs.insert(0, x)
        return outputs


class Dinomaly(Method):
    """Reconstruction of a frozen ViT's middle layers: the angle between its tokens and the decoder's, patch by patch.

    Eight middle layers are averaged and sent through a bottleneck with dropout; eight blocks of linear attention, which
    cannot attend to a token's own place alone, rebuild them. Encoder and decoder layers are averaged in two groups
    (loose reconstruction), and locations that are rebuilt well lose nine tenths of their gradient (loose loss).

    Deviations from the paper:
        - Epochs instead of 10,000 steps; the learning rate falls over those. A run shorter than 1,000 steps warms up
          for a tenth of it; the share of mined locations rises over 1,000 steps as published, whatever the length.
        - The image is resized to the input; the paper crops the middle 392 of 448 pixels, which a finding need not
          keep to.
        - The map is made at 256 pixels or the image's size, whichever is less, in one bilinear resizing, and its border
          is replicated where the Gaussian (5 x 5, sigma 4, authors' code) reaches beyond it.
        - With `pretrained=false` the encoder is random. That is no detector; it serves tests and timing.
    """

    name: ClassVar[str] = "dinomaly"
    paper: ClassVar[str] = (
        "Guo, Lu, Zhang, Chen, Li, Liao: Dinomaly: The Less Is More Philosophy in Multi-Class Unsupervised Anomaly "
        "Detection, CVPR 2025 (arXiv 2405.14325)"
    )
    family: ClassVar[str] = "feature comparison"
    reduction: ClassVar[str] = "top1"
    default_size: ClassVar[int] = 392
    Options: ClassVar[type[base.Options]] = DinomalyOptions

    options: DinomalyOptions

    def __init__(self, options: DinomalyOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        depth = depth_of(options.encoder)
        self.layers = tuple(sorted(set(options.layers))) or LAYERS.get(depth, ())
        if not self.layers:
            raise UsageError(f"the paper has no layers for {options.encoder}, of {depth} blocks: say which by layers=")
        if self.layers[0] < 0 or len(self.layers) % options.groups:
            raise UsageError(f"dinomaly cannot divide layers {self.layers} into {options.groups} equal groups")
        self.encoder = vision_transformer(options.encoder, self.layers[-1] + 1).eval().requires_grad_(False)
        try:
            self.grid = self.encoder.grid(size)
        except UsageError as error:
            raise UsageError(f"dinomaly: {error}") from error
        self.decoder = Decoder(self.encoder.width, self.encoder.heads, len(self.layers), options.dropout)

    def prepare(self) -> None:
        """Load the encoder's published weights, unless `pretrained` is false."""
        if self.options.pretrained:
            try:
                self.encoder.load_pretrained()
            except UsageError as error:
                raise UsageError(f"{error} (pretrained=false goes on with random weights, for tests only)") from error

    def train(self, mode: bool = True) -> Dinomaly:
        """As always, but the encoder stays in eval mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def phases(self) -> list[Phase | Collect]:
        """Training of the decoder; its name says so where the encoder is random."""
        return [
            Phase(
                name="decoder" if self.options.pretrained else "decoder of random encoder",
                epochs=self.options.epochs,
                batch_size=self.options.batch_size,
                optimizers=self._optimizers,
                step=self._step,
                rate=partial(warm_cosine, warm_up=WARM_UP, end=FINAL_RATE),
            )
        ]

    def settled(self) -> dict[str, Any]:
        """Whether the encoder knows anything."""
        return {} if self.options.pretrained else {"encoder": "random weights"}

    def features(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """f_E and f_D of each group, `(N, width, h, w)`, float32, of `(N, C, H, W)` images (equation 3)."""
        with torch.no_grad():
            tokens = self.encoder(images)
            encoded = [tokens[layer].float() for layer in self.layers]
        decoded = [d.float() for d in self.decoder(torch.stack(encoded).mean(dim=0))]
        return self._grouped(encoded), self._grouped(decoded)

    def predict(self, images: Tensor) -> Prediction:
        """Map: mean over the groups of 1 - cosine, smoothed; score: the mean of its highest hundredth."""
        distance = torch.stack([cosine_distances(e, d) for e, d in zip(*self.features(images), strict=True)]).mean(0)
        side = (min(MAP_SIDE, self.size[0]), min(MAP_SIDE, self.size[1]))
        smooth = _smooth(F.interpolate(distance.unsqueeze(1), side, mode="bilinear", align_corners=False))
        return Prediction(smooth, reduce(smooth, "top1"))

    def feature_pairs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The groups side by side."""
        encoded, decoded = self.features(images)
        return torch.cat(encoded, dim=1), torch.cat(decoded, dim=1)

    def _grouped(self, layers: list[Tensor]) -> list[Tensor]:
        """Mean tokens of each group of layers, those of the patches alone, as maps."""
        each = len(layers) // self.options.groups
        means = [torch.stack(layers[i : i + each]).mean(dim=0) for i in range(0, len(layers), each)]
        return [mean[:, self.encoder.prefix :].transpose(1, 2).unflatten(2, self.grid) for mean in means]

    def _optimizers(self) -> Mapping[str, Optimizer]:
        options = self.options
        moved = StableAdamW(
            self.decoder.parameters(), lr=options.learning_rate, eps=1e-10, weight_decay=options.weight_decay
        )
        return {"stable-adamw": clipped(moved, 0.1)}

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        share = self.options.mining * min(1.0, update.step / MINING_STEPS)
        pairs = list(zip(*self.features(images), strict=True))
        loss = torch.stack([mined_cosine(e, d, share).mean() for e, d in pairs]).mean()
        update("stable-adamw", loss)
        return {"loss": loss.detach()}


def mined_cosine(encoded: Tensor, decoded: Tensor, share: float) -> Tensor:
    """L_global-hm of each image `(N,)` of features `(N, C, h, w)` (equations 4 and 5).

    Its gradient towards `decoded` is shrunk at the `share` of the batch's locations that are rebuilt best.
    """
    with torch.no_grad():
        distance = cosine_distances(encoded, decoded)
        kept = max(1, int(distance.numel() * (1 - share)))
        threshold = distance.flatten().topk(kept).values[-1]
        factor = torch.where(distance < threshold, SHRINK, 1.0).unsqueeze(1)
    mined = decoded.view_as(decoded)  # a node of its own, so that the hook scales this loss's gradient and no other's
    if mined.requires_grad:
        mined.register_hook(lambda gradient: gradient * factor)
    return flat_cosine_distances(encoded.detach(), mined)


def _smooth(maps: Tensor) -> Tensor:
    offsets = torch.arange(KERNEL, device=maps.device, dtype=maps.dtype) - KERNEL // 2
    line = torch.softmax(-offsets.square() / (2 * SIGMA**2), 0)
    padded = F.pad(maps, (KERNEL // 2,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))


def _initialise(layer: nn.Module) -> None:
    """Small, as the authors' code does; beyond three deviations clipped, which is faster than drawn anew."""
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.01).data.clamp_(-0.03, 0.03)
        nn.init.zeros_(layer.bias)
