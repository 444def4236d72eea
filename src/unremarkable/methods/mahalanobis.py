"""mahalanobis: a Gaussian of the normals' pooled features at every stage of a pretrained network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.errors import UsageError, unknown_name
from unremarkable.methods.base import Collect, Options, Phase, Prediction
from unremarkable.methods.checks import require_positive
from unremarkable.methods.frozen import FrozenBackbone

Components = Literal["all", "pca", "npca"]
#: weight of the multiple of the identity in the covariances of the map, which have samples enough
_SHRINKAGE = 0.01


@dataclass(frozen=True)
class MahalanobisOptions(Options):
    """What `mahalanobis` can be told."""

    backbone: str = field(default="efficientnet-lite0", metadata={"help": "pretrained network that gives the features"})
    stages: tuple[int, ...] | None = field(
        default=None, metadata={"help": "its stages whose distances are added; 0 the finest, none for all"}
    )
    components: Components = field(
        default="all",
        metadata={"help": "of the features: all, pca (those that vary most), npca (those that vary least)"},
    )
    variance: float = field(
        default=0.99, metadata={"help": "share of the variance that pca keeps, and npca leaves out"}
    )
    batch_size: int = field(default=8, metadata={"help": "images that go through the network at once"})

    def __post_init__(self) -> None:
        require_positive(self, "batch_size")
        if self.components not in ("all", "pca", "npca"):
            raise unknown_name("value of components", self.components, ("all", "pca", "npca"))
        if not 0 < self.variance < 1:
            raise ValueError(f"variance is a share between 0 and 1, not {self.variance}")


class Mahalanobis(FrozenBackbone):
    """Gaussians of deep features.

    Score: for every stage, the Mahalanobis distance of the image's globally averaged features to the normals' mean,
    the covariance estimated with the shrinkage of Ledoit and Wolf (2004); added over the stages. `components` selects
    principal components first (section III of the paper).

    The map is not the paper's, which has none: the same distance at every location of every stage, from the mean and
    covariance of the normals' features at all locations of that stage, added over the stages on the finest one's grid.

    Deviations, each for a reason that holds before any label is seen:
    - the backbone is the one that comes with the installation (paper: EfficientNet-B4), and its stages are the four at
      which the resolution changes (paper: each of nine blocks);
    - all components are the default: which of them to leave out could only be judged with labels.
    """

    name = "mahalanobis"
    paper = (
        "Rippel, Mertens, Merhof: Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly "
        "Detection, ICPR 2020 (published 2021)"
    )
    family = "gaussian"
    reduction = "own"
    default_size = 224
    half_precision = True
    Options = MahalanobisOptions

    def __init__(self, options: MahalanobisOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.options: MahalanobisOptions = options
        self._take(options, options.stages)
        self.whole = nn.ModuleList(Gaussian() for _ in self.backbone.stages)
        self.local = nn.ModuleList(Gaussian() for _ in self.backbone.stages)

    def phases(self) -> list[Phase | Collect]:
        """One pass over the normals."""
        return [Collect("features", self.options.batch_size, self._collect)]

    def predict(self, images: Tensor) -> Prediction:
        """Score: Mahalanobis distance of the pooled features, added over stages. Map: the same at each location."""
        stages = self.stages(images)
        grid = stages[0].shape[2:]
        score, maps = torch.zeros(len(images), device=images.device), []
        for stage, whole, local in zip(stages, self.whole, self.local, strict=True):
            score = score + whole(stage.mean((2, 3)))
            distances = local(stage.flatten(2).mT).view(-1, 1, *stage.shape[2:])
            maps.append(F.interpolate(distances, grid, mode="bilinear", align_corners=False))
        return Prediction(map=torch.stack(maps).sum(0), score=score)

    def _collect(self, batches: Iterable[Tensor]) -> None:
        pooled: list[list[Tensor]] = [[] for _ in self.whole]
        sums = [_Sums() for _ in self.local]
        for images in batches:
            for stage, features, moments in zip(self.stages(images), pooled, sums, strict=True):
                features.append(stage.mean((2, 3)))
                moments.add(stage.flatten(2).mT.flatten(0, 1))
        if sum(map(len, pooled[0])) < 2:
            raise UsageError("mahalanobis needs at least 2 normals, not 1")
        for features, moments, whole, local in zip(pooled, sums, self.whole, self.local, strict=True):
            assert isinstance(whole, Gaussian)
            assert isinstance(local, Gaussian)
            rows = torch.cat(features)
            whole.settle(*_fit(rows.cpu().double(), self.options.components, self.options.variance), rows.device)
            local.settle(*moments.gaussian(), rows.device)


class Gaussian(nn.Module):
    """Mean `(C,)` and whitening `(C, k)`, with which the Mahalanobis distance is a Euclidean norm."""

    mean: Tensor
    whitening: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.empty(0))
        self.register_buffer("whitening", torch.empty(0))

    def settle(self, mean: Tensor, whitening: Tensor, device: torch.device) -> None:
        """Take what was estimated."""
        self.mean, self.whitening = mean.float().to(device), whitening.float().to(device)

    def forward(self, features: Tensor) -> Tensor:
        """Mahalanobis distances `(...)` of float32 features `(..., C)`."""
        with torch.autocast(features.device.type, enabled=False):
            return torch.linalg.vector_norm((features - self.mean) @ self.whitening, dim=-1)


class _Sums:
    """Sums over many feature vectors, in float64, about the first batch's mean."""

    def __init__(self) -> None:
        self._count = 0
        self._shift = self._total = self._products = torch.empty(0)

    def add(self, rows: Tensor) -> None:
        """Features `(n, C)`."""
        with torch.autocast(rows.device.type, enabled=False):
            if self._count == 0:
                self._shift = rows.mean(0)
                self._total = self._products = torch.zeros((), dtype=torch.float64)
            away = rows - self._shift
            self._count += len(rows)
            self._total = self._total + away.sum(0).cpu().double()
            self._products = self._products + (away.mT @ away).cpu().double()

    def gaussian(self) -> tuple[Tensor, Tensor]:
        """Mean and whitening of all that was added."""
        offset = self._total / self._count
        covariance = self._products / self._count - torch.outer(offset, offset)
        return self._shift.cpu().double() + offset, _whitening(_shrunk(covariance, _SHRINKAGE))


def ledoit_wolf(rows: Tensor) -> Tensor:
    """Covariance of centred rows `(n, C)`, shrunk towards a multiple of the identity (Ledoit and Wolf, 2004).

    Their d², b̄² and m are those of Lemmas 3.2 to 3.4; the weight of the identity is min(b̄², d²) / d².
    """
    count, dimensions = rows.shape
    covariance = rows.mT @ rows / count
    level = covariance.trace() / dimensions
    identity = torch.eye(dimensions, dtype=rows.dtype)
    apart = (covariance - level * identity).square().sum()
    # The sum over rows of ‖x xᵀ - S‖² is Σ ‖x‖⁴ - n ‖S‖².
    noise = (rows.square().sum(1).square().sum() / count - covariance.square().sum()) / count
    return _shrunk(covariance, float((noise / apart).clamp(0, 1)) if apart > 0 else 0.0)


def _shrunk(covariance: Tensor, weight: float) -> Tensor:
    identity = torch.eye(len(covariance), dtype=covariance.dtype)
    return (1 - weight) * covariance + weight * covariance.trace() / len(covariance) * identity


def _whitening(covariance: Tensor) -> Tensor:
    """`(C, C)` W with W Wᵀ = the inverse; where nothing varies, a variance of 1 stands in for zero."""
    values, vectors = torch.linalg.eigh(covariance)
    mean = float(values.mean())
    return vectors / values.clamp_min(1e-9 * mean if mean > 0 else 1.0).sqrt()


def _fit(rows: Tensor, components: Components, variance: float) -> tuple[Tensor, Tensor]:
    """Mean and whitening of float64 rows `(n, C)`, in the principal components that are wanted."""
    mean = rows.mean(0)
    away = rows - mean
    if components == "all":
        return mean, _whitening(ledoit_wolf(away))
    values, vectors = torch.linalg.eigh(away.mT @ away / len(rows))
    below = values.cumsum(0) / values.sum().clamp_min(torch.finfo(values.dtype).tiny)  # ascending
    least = below <= 1 - variance
    kept = vectors[:, least if components == "npca" else ~least]
    if kept.shape[1] == 0:
        kept = vectors[:, :1]  # the least varying one alone has more than its share
    return mean, kept @ _whitening(ledoit_wolf(away @ kept))
