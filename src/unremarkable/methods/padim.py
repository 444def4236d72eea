"""padim: a Gaussian of the normals' features at every location."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods.base import Collect, Options, Phase, Prediction
from unremarkable.methods.checks import require_positive
from unremarkable.methods.feature_maps import enlarge, smooth
from unremarkable.methods.frozen import FrozenBackbone

#: covariances that are inverted at once, in float64
_CHUNK = 256


@dataclass(frozen=True)
class PaDiMOptions(Options):
    """What `padim` can be told."""

    backbone: str = field(default="efficientnet-lite0", metadata={"help": "pretrained network that gives the features"})
    stages: tuple[int, ...] = field(default=(0, 1, 2), metadata={"help": "its stages that are concatenated; 0 finest"})
    dimensions: int = field(default=100, metadata={"help": "channels drawn at random from those of all stages"})
    epsilon: float = field(default=0.01, metadata={"help": "added to every variance, with features at unit scale"})
    sigma: float = field(default=4.0, metadata={"help": "of the Gaussian over the map, in pixels; 0 for none"})
    memory_megabytes: int = field(default=1024, metadata={"help": "larger covariances are refused"})
    batch_size: int = field(default=8, metadata={"help": "images that go through the network at once"})

    def __post_init__(self) -> None:
        require_positive(self, "dimensions", "memory_megabytes", "batch_size")
        if not 0 < self.epsilon < math.inf:
            raise ValueError(f"epsilon must be above 0, not {self.epsilon}: few normals have no inverse covariance")
        if not 0 <= self.sigma < math.inf:
            raise ValueError(f"sigma must be 0 or more, not {self.sigma}")


class PaDiM(FrozenBackbone):
    """PaDiM: the Mahalanobis distance of each location's features from those of the normals at the same location.

    Embedding (section III.A): every location of the finest stage with the features of the coarser ones that lie over
    it, in `dimensions` channels drawn at random (III.D). Mean and covariance of each location, eq. 1; distance, eq. 2;
    score: the maximum of the map, enlarged and smoothed (III.C).

    Deviations, each for a reason that holds before any label is seen:
    - the backbone is the one that comes with the installation (paper: ResNet-18 with 100 of 448 channels, Wide
      ResNet-50 with 550 of 1792), whose three stages have 176 channels, 100 of which are drawn;
    - features are divided by their root mean square over the normals before `epsilon` is added, because 0.01 means
      something only beside the features' variance; those of the paper's ResNets are about at that scale.
    """

    name = "padim"
    paper = (
        "Defard, Setkov, Loesch, Audigier: PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and "
        "Localization, ICPR workshops 2021"
    )
    family = "gaussian"
    reduction = "max"
    default_size = 224
    half_precision = True
    Options = PaDiMOptions

    chosen: Tensor
    mean: Tensor
    whitening: Tensor

    def __init__(self, options: PaDiMOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.options: PaDiMOptions = options
        self._take(options, options.stages)
        self._widths = [stage.channels for stage in self.backbone.stages]
        drawn = torch.randperm(sum(self._widths))[: options.dimensions].sort().values
        self.register_buffer("chosen", drawn)
        for name in ("mean", "whitening"):
            self.register_buffer(name, torch.empty(0))
        if self._megabytes > options.memory_megabytes:
            raise UsageError(
                f"padim's covariances take {self._megabytes:,} MB, and memory_megabytes is {options.memory_megabytes};"
                " use fewer dimensions, smaller images, or stages from a coarser one on"
            )

    def phases(self) -> list[Phase | Collect]:
        """One pass over the normals."""
        return [Collect("features", self.options.batch_size, self._collect)]

    def notes(self, images: int) -> tuple[str, ...]:
        """The memory that the covariances take, however many images there are."""
        return (f"memory: the covariances take {self._megabytes:,} MB, while fitted and in the model",)

    def predict(self, images: Tensor) -> Prediction:
        """Map: eq. 2 at every location, enlarged to the images' size and smoothed. Score: its maximum."""
        embedding, grid = self._embedding(images)
        with torch.autocast(images.device.type, enabled=False):
            white = torch.bmm(embedding - self.mean, self.whitening.mT)  # ‖W (x - μ)‖² = (x - μ)ᵀ Σ⁻¹ (x - μ)
            distances = torch.linalg.vector_norm(white, dim=2).T.reshape(-1, *grid)
            anomaly_map = smooth(enlarge(distances, self.size), self.options.sigma)
        return Prediction(map=anomaly_map, score=anomaly_map.flatten(1).amax(1))

    def _embedding(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """`(h * w, N, d)`, and the grid `(h, w)`."""
        stages = self.stages(images)
        grid = (stages[0].shape[-2], stages[0].shape[-1])
        parts, first = [], 0
        for stage, width in zip(stages, self._widths, strict=True):
            drawn = self.chosen[(self.chosen >= first) & (self.chosen < first + width)] - first
            parts.append(F.interpolate(stage[:, drawn], grid, mode="nearest"))
            first += width
        return torch.cat(parts, dim=1).flatten(2).permute(2, 0, 1).contiguous(), grid

    def _collect(self, batches: Iterable[Tensor]) -> None:
        shift = total = products = torch.empty(0)
        seen = 0
        for images in batches:
            embedding, _ = self._embedding(images)
            with torch.autocast(images.device.type, enabled=False):
                if seen == 0:
                    # Sums of squares about a feature vector near the mean keep float32 exact enough; about zero, not.
                    shift = embedding[:, :1].clone()
                    total = torch.zeros_like(shift)
                    products = shift.new_zeros(len(shift), shift.shape[2], shift.shape[2])
                away = embedding - shift
                total += away.sum(1, keepdim=True)
                products.baddbmm_(away.mT, away)
                seen += len(images)
        if seen < 2:
            raise UsageError("padim needs at least 2 normals, not 1")
        with torch.autocast(products.device.type, enabled=False):
            self._settle(shift, total / seen, products, seen)

    def _settle(self, shift: Tensor, offset: Tensor, products: Tensor, seen: int) -> None:
        """Mean and whitening from sums about `shift`; what takes memory is overwritten in place."""
        self.mean = shift + offset
        products.baddbmm_(offset.mT, offset, alpha=-seen)
        spread = products.diagonal(dim1=1, dim2=2) / seen + self.mean.square().squeeze(1)
        square = float(spread.mean()) or 1.0
        factor = math.sqrt(square)
        for part in products.split(_CHUNK):
            covariance = part.cpu().double() / ((seen - 1) * square)
            covariance.diagonal(dim1=1, dim2=2).add_(self.options.epsilon)
            lower = torch.linalg.cholesky(covariance)
            unit = torch.eye(part.shape[1], dtype=torch.float64)
            part.copy_(torch.linalg.solve_triangular(lower, unit, upper=False) / factor)
        self.whitening = products

    @property
    def _megabytes(self) -> int:
        stride = self.backbone.stages[0].stride
        locations = math.prod(-(-side // stride) for side in self.size)
        return math.ceil(locations * len(self.chosen) ** 2 * 4 / 1_000_000)
