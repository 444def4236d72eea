"""MKD: a small network clones a pretrained one on normals, at several depths; anomalies are what it cannot clone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
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
from unremarkable.networks import vgg
from unremarkable.networks.backbones import Backbone
from unremarkable.networks.cloner import STRIDES, GuidedBackprop, PlainCloner, Source
from unremarkable.networks.weights import TIMM

MAPS = ("features", "gradients", "smoothgrad", "gbp")
CLONERS = ("small", "equal")
#: batches on which the two terms of the loss are weighed against each other, at most
SCALE_BATCHES = 16


@dataclass(frozen=True)
class MKDOptions(base.Options):
    """Options of `MKD`."""

    backbone: str = field(default="efficientnet-lite0", metadata={"help": "the source network (paper: vgg16)"})
    cloner: Literal["small", "equal"] = field(
        default="small", metadata={"help": "smaller than the source, as the paper prefers, or of its size"}
    )
    direction_weight: float | None = field(
        default=None, metadata={"help": "lambda of the loss; none balances its two terms before training (paper)"}
    )
    critical: int = field(default=4, metadata={"help": "so many of the last critical points are cloned (of 4)"})
    scored: int = field(default=3, metadata={"help": "so many of the last critical points enter score and map"})
    map: Literal["features", "gradients", "smoothgrad", "gbp"] = field(
        default="features",
        metadata={"help": "features: the loss at each location; or gradients (paper), smoothgrad, gbp"},
    )
    sigma: float = field(default=4.0, metadata={"help": "pixels by which gradient maps are smoothed; 0 for none"})
    noise_samples: int = field(default=50, metadata={"help": "smoothgrad: noisy copies of each image"})
    noise: float = field(default=0.05, metadata={"help": "smoothgrad: the noise's sd as a share of the image's range"})
    learning_rate: float = field(default=1e-3, metadata={"help": "of Adam"})
    batch_size: int = field(default=64, metadata={"help": "images per step"})
    epochs: int = field(default=201, metadata={"help": "passes over the training images, at most"})
    patience: int = field(default=10, metadata={"help": "epochs without a better held-out loss before training stops"})

    def __post_init__(self) -> None:
        for name, known in (("cloner", CLONERS), ("map", MAPS)):
            if getattr(self, name) not in known:
                raise unknown_name(name, getattr(self, name), known)
        if not 1 <= self.scored <= self.critical <= len(STRIDES):
            raise UsageError(f"1 ≤ scored ≤ critical ≤ 4, not scored {self.scored} and critical {self.critical}")
        if self.direction_weight is not None and self.direction_weight < 0:
            raise UsageError(f"direction_weight must not be negative, and is {self.direction_weight}")
        if not 0 <= self.sigma < float("inf"):
            raise UsageError(f"sigma must be 0 or a positive number of pixels, not {self.sigma}")
        for name in ("noise_samples", "noise", "learning_rate", "batch_size", "epochs", "patience"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")


class MKD(Method):
    """Multiresolution knowledge distillation: how far a cloner's activations lie from its source's.

    The score is the loss (eq. 4) of one image; the map is the same loss location by location, or its gradient with
    respect to the image (eq. 5 and 6), plain, by SmoothGrad or by guided backpropagation.

    Deviations from the paper, and choices where it and its code differ:

    - the source is EfficientNet-Lite0, whose weights work offline (`backbone=vgg16` is the paper's). Its critical
      points are the last features of strides 4, 8, 16 and 32, those of pool2 to pool5 in VGG-16, and the small cloner
      is the paper's with the source's channels there. They are signed, so the cloner has no ReLU at them;
    - the equal cloner of VGG-16 is the authors'; of another source it is the same network with random weights;
    - lambda weighs the direction and is measured on the untrained cloner, as the paper says; in the authors' code it
      weighs the values, with 0.01 or 0.5 set by data set. Equation 3 is read as the sum of 1 - cosine;
    - score and map use the last three critical points, as the authors' code does (`scored=4` is the equation);
    - batch norm follows all but critical convolutions, as in the authors' code; the paper's text names none;
    - images are normalised as the source expects (paper: for CIFAR-10 only);
    - the map shows the loss itself unless `map` asks for its gradient, which is the paper's. A gradient says how steep
      the loss is, not how high: it can be smaller in pure noise than in normals. It finds a place within an
      image, but cannot be compared between images, as a heat map's common scale and pixel metrics do;
    - gradients are those of both networks, which is what eq. 5 says and the code does. Their absolute values are summed
      over channels, smoothed and opened. The code also clips and stretches each map by itself, which would make maps
      of different images incomparable;
    - smoothgrad's noise is the same for every image and run, its size the code's 5 % of the image's range;
    - training stops early on held-out normals (paper: until the loss has converged).
    """

    name: ClassVar[str] = "mkd"
    paper: ClassVar[str] = (
        "Salehi, Sadjadi, Baselizadeh, Rohban, Rabiee: Multiresolution Knowledge Distillation for Anomaly Detection, "
        "CVPR 2021 (arXiv 2011.11108)"
    )
    family: ClassVar[str] = "feature comparison"
    reduction: ClassVar[str] = "own"
    default_size: ClassVar[int] = 128
    Options: ClassVar[type[base.Options]] = MKDOptions

    options: MKDOptions
    weight: Tensor

    def __init__(self, options: MKDOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        if min(size) < 64 or size[0] % 32 or size[1] % 32:
            raise UsageError(f"mkd needs a height and width that 32 divides, of at least 64, not {size[0]} × {size[1]}")
        self.source = Source(options.backbone)
        self._plain = options.cloner == "small" or options.backbone in vgg.VARIANTS
        if options.map == "gbp" and not self._plain and options.backbone.startswith(TIMM):
            raise UsageError("mkd cannot tell how timm's networks rectify: map=gbp takes cloner=small there")
        self.cloner: nn.Module
        if self._plain:
            self.cloner = PlainCloner(self.source.channels, self.source.rectified, options.cloner == "small")
        else:
            self.cloner = Backbone(options.backbone, self.source.stages)
        self.register_buffer("weight", torch.tensor(options.direction_weight or 0.0))

    def prepare(self) -> None:
        """Load the source's published weights."""
        self.source.backbone.load_pretrained()

    def phases(self) -> list[Phase | Collect]:
        """The weight of the loss's second term, where none was given, and distillation."""
        options = self.options
        distil = Phase(
            name="distillation",
            epochs=options.epochs,
            batch_size=options.batch_size,
            optimizers=self._optimizers,
            step=self._step,
            validate=lambda images: self.loss(images, options.critical),
            patience=options.patience,
        )
        if options.direction_weight is not None:
            return [distil]
        return [Collect("loss scale", options.batch_size, self._weigh), distil]

    def loss(self, images: Tensor, last: int) -> Tensor:
        """L_total of each image `(N,)` (eq. 4), over the `last` critical points."""
        values, directions = terms(self._pairs(images)[-last:])
        return values + self.weight * directions

    def predict(self, images: Tensor) -> Prediction:
        """L_total of the scored critical points, and the map that `map` names."""
        if self.options.map == "features":
            return self._compare(images)
        # One by one: the rounding of a batch can push an activation over a ReLU's kink, and a gradient then jumps.
        alone = [self._explain(image) for image in images.split(1)]
        return Prediction(torch.cat([p.map for p in alone]), torch.cat([p.score for p in alone]))

    def feature_pairs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features of source and cloner on the coarsest critical point's grid."""
        return on_one_grid(self._pairs(images))

    def _explain(self, image: Tensor) -> Prediction:
        """The score, and the saliency of each pixel for it, of one image `(1, C, H, W)`."""
        score, gradient = self._gradient(image)
        if self.options.map == "smoothgrad":
            gradient = torch.stack([self._gradient(noisy)[1] for noisy in self._noisy(image)]).mean(dim=0)
        saliency = gradient.abs().sum(dim=1, keepdim=True)
        return Prediction(opened(smooth(saliency, self.options.sigma)), score)

    def _compare(self, images: Tensor) -> Prediction:
        """The score, and the loss's two terms at each location of every scored critical point."""
        pairs = self._pairs(images)[-self.options.scored :]
        values, directions = terms(pairs)
        local = [(s - c).square().mean(dim=1) + self.weight * cosine_distances(s, c) for s, c in pairs]
        maps = torch.cat([enlarge(each, self.size) for each in local], dim=1)
        return Prediction(maps.sum(dim=1, keepdim=True), values + self.weight * directions)

    def _gradient(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """L_total `(N,)`, and its derivative with respect to the images, of their shape (eq. 5)."""
        with torch.enable_grad():
            images = images.detach().clone().requires_grad_()
            loss = self.loss(images, self.options.scored)
            (gradient,) = torch.autograd.grad(loss.sum(), images)
        return loss.detach(), gradient

    def _noisy(self, image: Tensor) -> Iterator[Tensor]:
        """Copies of the image with noise that is the same for every image and at every call."""
        generator = torch.Generator().manual_seed(0)
        sd = self.options.noise * (image.max() - image.min())
        for _ in range(self.options.noise_samples):
            yield image + sd * torch.randn(image.shape, generator=generator).to(image)

    def _pairs(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Features of source and cloner at all four critical points, fine to coarse, float32."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and images.requires_grad):
            sources = self.source(images)
        with GuidedBackprop() if self.options.map == "gbp" and images.requires_grad else nullcontext():
            clones = self.cloner(self.source.normalise(images) if self._plain else images)
        return [(s.float(), c.float()) for s, c in zip(sources, clones, strict=True)]

    def _optimizers(self) -> Mapping[str, Optimizer]:
        return {"adam": Adam(self.cloner.parameters(), lr=self.options.learning_rate, fused=True)}

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        values, directions = terms(self._pairs(images)[-self.options.critical :])
        loss = (values + self.weight * directions).mean()
        update("adam", loss)
        return {"loss": loss.detach(), "values": values.mean().detach(), "direction": directions.mean().detach()}

    def _weigh(self, batches: Iterable[Tensor]) -> None:
        """Set lambda such that both terms of the untrained cloner's loss are of one size."""
        sums = torch.zeros(2, device=self.weight.device)
        for images in islice(batches, SCALE_BATCHES):
            sums += torch.stack([term.sum() for term in terms(self._pairs(images)[-self.options.critical :])])
        values, directions = sums
        self.weight.copy_(values / directions.clamp_min(1e-12))


def terms(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """L_val (eq. 1) and L_dir (eq. 3) of each image `(N,)`, over pairs of `(N, C, h, w)` activations."""
    values = torch.stack([(s - c).square().mean(dim=(1, 2, 3)) for s, c in pairs]).sum(dim=0)
    directions = torch.stack([flat_cosine_distances(s, c) for s, c in pairs]).sum(dim=0)
    return values, directions


def opened(maps: Tensor) -> Tensor:
    """Grey opening of `(N, 1, H, W)` maps by an ellipse of 3 x 3 pixels, which is a cross (eq. 6)."""
    return _dilated(-_dilated(-maps))


def _dilated(maps: Tensor) -> Tensor:
    rows = F.max_pool2d(maps, (3, 1), stride=1, padding=(1, 0))
    return torch.maximum(rows, F.max_pool2d(maps, (1, 3), stride=1, padding=(0, 1)))
