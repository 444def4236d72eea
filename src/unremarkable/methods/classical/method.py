"""classical: hand-made texture and shape features, and a classical model of what is normal. No network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.methods.base import Collect, Method, Options, Phase, Prediction
from unremarkable.methods.classical.features import Family, describe
from unremarkable.methods.classical.kernels import SVDD, SVM, Kernel, KernelName, OneClassSVM
from unremarkable.methods.classical.models import IsolationForest, Model, Neighbours, Subspace

#: float64 values that may be scored at once: 128 MB
_AT_ONCE = 2**24
#: the lowest share of its family's usual variation that a feature's standard deviation is counted as
_FLOOR = 0.1

ModelName = Literal["one-class-svm", "svdd", "knn", "isolation-forest", "pca", "svm"]


@dataclass(frozen=True)
class ClassicalOptions(Options):
    """What `classical` can be told."""

    features: tuple[Family, ...] = field(
        default=("hog", "glcm", "wavelet"), metadata={"help": "any of hog, glcm, wavelet, lbp, first-order"}
    )
    model: ModelName = field(
        default="one-class-svm", metadata={"help": "what is learned of the features; svm also needs abnormal images"}
    )
    patch: int = field(default=32, metadata={"help": "side in pixels of the described patches; a multiple of 8"})
    map: Literal["auto", "patches", "occlusion"] = field(
        default="auto", metadata={"help": "how the map is made; auto is patches, but occlusion for svm"}
    )
    nu: float = field(
        default=0.1, metadata={"help": "one-class-svm, svdd: share of the normals that may lie outside, at most"}
    )
    kernel: KernelName = field(default="rbf", metadata={"help": "svdd, svm; one-class-svm takes rbf only"})
    gamma: float = field(
        default=1.0, metadata={"help": "kernel width; 1 is the usual 1 / (total variance of the features)"}
    )
    degree: int = field(default=3, metadata={"help": "of the poly kernel"})
    c: float = field(default=1.0, metadata={"help": "svm: cost of a training image on the wrong side"})
    k: int = field(default=5, metadata={"help": "knn: the score is the mean distance to so many nearest normals"})
    variance: float = field(default=0.95, metadata={"help": "pca: share of the variance that its components hold"})
    trees: int = field(default=100, metadata={"help": "isolation-forest: trees"})
    samples: int = field(default=256, metadata={"help": "isolation-forest: normals that each tree is grown from"})
    limit: int = field(
        default=4000, metadata={"help": "learn from at most so many images (and patches, for the map), evenly spaced"}
    )

    def __post_init__(self) -> None:
        unknown = [name for name in self.features if name not in get_args(Family)]
        if unknown or not self.features or len(set(self.features)) < len(self.features):
            raise ValueError(f"features must be different ones of {', '.join(get_args(Family))}")
        if self.patch < 16 or self.patch % 8:
            raise ValueError(f"patch must be a multiple of 8 and at least 16, not {self.patch}")
        for name in ("nu", "variance"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, not {getattr(self, name)}")
        for name in ("gamma", "c"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a positive number, not {getattr(self, name)}")
        for name, least in (("degree", 1), ("k", 1), ("trees", 1), ("samples", 2), ("limit", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.model == "one-class-svm" and self.kernel != "rbf":
            raise ValueError(
                "one-class-svm sets normals apart from the origin, here their mean: use kernel=rbf, or svdd"
            )
        if self.model == "svm" and self.map == "patches":
            raise ValueError("svm learns from labelled images, and patches have no labels: use map=occlusion")

    @property
    def needs_labels(self) -> bool:
        """Only the supervised SVM does."""
        return self.model == "svm"


class Classical(Method):
    """Hand-made features with a classical model, as Suzuki et al. and others had them before deep networks.

    The image is cut into patches; each is described by every family in `features`; features are standardised by the
    normals' mean and standard deviation at the same place. Families weigh the same, however many values they have: the
    total variance of an image's features is 1. Score: the model's value of all patches together. Map, `patches`: the
    value that the same kind of model, learned from the normals' patches of all places, gives to each patch. Map,
    `occlusion`: how much the image's score falls when the patch is replaced by that of the normals' mean image. As
    families look at each patch alone, this replaces a patch's description; none is computed anew.

    Features: HOG (Dalal and Triggs, 2005), GLCM (Haralick et al., 1973), wavelet energies (Mallat, 1989), LBP (Ojala
    et al., 2002), first-order statistics. Models: one-class SVM (Schoelkopf et al., 2001), SVDD (Tax and Duin, 2004),
    nearest neighbours, isolation forest (Liu et al., 2008), PCA reconstruction, and a supervised SVM.

    The paper names HOG, GLCM, wavelets, SVM and k-NN but no settings: those are the ones usual for each, fixed before
    any result was seen. Deviations from the features' papers:
    - everything is computed within patches, and a place is compared with itself: medical images are taken in standard
      positions. `patch` as large as the image describes it as a whole;
    - HOG's blocks do not overlap: one of 2 x 2 cells a patch, so that patches do not depend on one another;
    - of Haralick's 14 measures, the five in widest use; of their angles, mean and range, as he has them;
    - wavelet energies enter as their square roots, which have the image's unit and no long tail.
    """

    name = "classical"
    paper = (
        "Anomaly Detection in Medical Images, IJARSCT 5(3), 2025 (sections II and III); features: Dalal, Triggs 2005; "
        "Haralick, Shanmugam, Dinstein 1973; Mallat 1989; Ojala, Pietikäinen, Mäenpää 2002; models: Schölkopf et al. "
        "2001; Tax, Duin 2004; Liu, Ting, Zhou 2008; Cortes, Vapnik 1995"
    )
    family = "classical"
    reduction = "own"
    default_size = 224
    Options = ClassicalOptions

    mean: Tensor
    scale: Tensor
    replacement: Tensor

    def __init__(self, options: ClassicalOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.options: ClassicalOptions = options
        if min(size) < options.patch:
            shape = f"{size[0]} x {size[1]}"
            raise UsageError(f"classical with patch = {options.patch} needs images of that side at least, not {shape}")
        self._grid = (round(size[0] / options.patch), round(size[1] / options.patch))
        self._by_patches = options.map == "patches" or (options.map == "auto" and options.model != "svm")
        for name in ("mean", "scale", "replacement"):
            self.register_buffer(name, torch.empty(0))
        self.whole = make_model(options)
        self.local = make_model(options) if self._by_patches else None

    def phases(self) -> list[Phase | Collect]:
        """One pass over the normals; over both classes for `svm`."""
        return [Collect("features", 32, self._collect)]

    def predict(self, images: Tensor) -> Prediction:
        """Score: the model's value of the image. Map: one value for each patch."""
        x = self._standardised(self._described(images)[0])
        score = self._score(x)
        if self.local is None:
            values = torch.stack([score[n] - self._occluded(one) for n, one in enumerate(x)])
        else:
            patches = x.flatten(0, 1)
            values = torch.cat([self.local(rows) for rows in patches.split(_rows(self.options.limit))])
        return Prediction(map=values.reshape(-1, 1, *self._grid).float(), score=score.float())

    def _collect(self, batches: Iterable[Any]) -> None:
        kept: list[Tensor] = []
        flags: list[Tensor] = []
        total, normals = torch.zeros(self.channels, *self.size, dtype=torch.float64), 0
        seen, step = 0, 1  # every step-th image is kept
        for batch in batches:
            images, abnormal = batch if self.options.needs_labels else (batch, torch.zeros(len(batch)))
            images, abnormal = images.cpu(), abnormal.cpu()
            total += images[abnormal == 0].double().sum(0)
            normals += int((abnormal == 0).sum())
            chosen = slice(-seen % step, None, step)
            seen += len(images)
            if not len(images[chosen]):
                continue
            features, widths = self._described(images[chosen])
            kept += [one.clone() for one in features]  # not views, which would keep the others' memory
            flags += abnormal[chosen]
            while len(kept) > self.options.limit:
                kept, flags, step = kept[::2], flags[::2], 2 * step
        described, labels = torch.stack(kept), torch.stack(flags)
        if self.options.needs_labels and len(labels.unique()) < 2:
            raise UsageError("classical with model = svm needs normal and abnormal images to learn from")
        self._standardise_by(described[labels == 0], widths)
        x = self._standardised(described)
        self.replacement = self._standardised(self._described((total / normals).float()[None])[0])[0]
        self.whole.learn(self._together(x), labels)
        if self.local is not None:
            patches = x.flatten(0, 1)
            patches = patches[:: -(-len(patches) // self.options.limit)]
            self.local.learn(patches, torch.zeros(len(patches)))

    def _described(self, images: Tensor) -> tuple[Tensor, list[int]]:
        """Features `(N, P, d)`, float32, of images, and how many of them each family gives."""
        patch = self.options.patch
        wanted = (self._grid[0] * patch, self._grid[1] * patch)
        images = images.cpu()
        if wanted != self.size:
            images = F.interpolate(images, wanted, mode="bilinear", antialias=True)
        found = [describe(one, self.options.features, patch) for one in images.numpy()]
        features = np.stack([np.concatenate(families, axis=1) for families in found])
        return torch.from_numpy(features).float(), [family.shape[1] for family in found[0]]

    def _standardise_by(self, normals: Tensor, widths: list[int]) -> None:
        """Settle `mean` and `scale` from `(n, P, d)` features of normals."""
        wide = normals.double()
        sd = wide.std(0, correction=0)
        # What hardly varies at a place would outweigh all others there by the error of its own estimate.
        sd = sd.maximum(_FLOOR * sd.mean(0))
        share = torch.cat([torch.full((width,), (width * len(widths)) ** -0.5) for width in widths])
        self.mean = wide.mean(0).float()
        self.scale = (share / torch.where(sd > 0, sd, 1.0)).float()

    def _standardised(self, features: Tensor) -> Tensor:
        """`(N, P, d)` such that a normal patch's squared length is 1 on average."""
        return (features - self.mean.cpu()) * self.scale.cpu()

    def _together(self, x: Tensor) -> Tensor:
        """`(N, P, d)` as one vector an image, `(N, P * d)`, whose squared length is 1 for normals, on average."""
        return x.flatten(1) / x.shape[1] ** 0.5

    def _score(self, x: Tensor) -> Tensor:
        rows = self._together(x)
        return torch.cat([self.whole(part) for part in rows.split(_rows(rows.shape[1]))])

    def _occluded(self, x: Tensor) -> Tensor:
        """Scores `(P,)` of one image `(P, d)`, each with another patch replaced."""
        places = torch.arange(len(x))
        changed = x.repeat(len(x), 1, 1)
        changed[places, places] = self.replacement.cpu()
        return self._score(changed)


def make_model(options: ClassicalOptions) -> Model:
    """What `options.model` names, not yet fitted."""
    kernel = Kernel(options.kernel, options.gamma, options.degree)
    if options.model == "one-class-svm":
        return OneClassSVM(kernel, options.nu)
    if options.model == "svdd":
        return SVDD(kernel, options.nu)
    if options.model == "svm":
        return SVM(kernel, options.c)
    if options.model == "knn":
        return Neighbours(options.k)
    if options.model == "pca":
        return Subspace(options.variance)
    return IsolationForest(options.trees, options.samples)


def _rows(width: int) -> int:
    """Rows of that many float64 values that may be worked on at once."""
    return max(1, _AT_ONCE // width)
