"""classifier: a pretrained network fine-tuned to tell normal from abnormal. It learns from labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from unremarkable.errors import UsageError
from unremarkable.methods.base import Collect, Method, Options, Phase, Prediction, Update
from unremarkable.networks.backbones import Backbone
from unremarkable.networks.gradcam import grad_cam, grad_cam_plus_plus
from unremarkable.networks.heads import PooledHead, SqueezeExciteHead, TransformerHead

_MAPS = {"grad-cam": grad_cam, "grad-cam++": grad_cam_plus_plus}
#: images looked at together where nothing is learnt from them by gradient
_BATCH = 32


@dataclass(frozen=True)
class ClassifierOptions(Options):
    """What `classifier` can be told."""

    backbone: str = field(default="efficientnet-lite0", metadata={"help": "pretrained network that is fine-tuned"})
    attention: Literal["none", "se", "transformer"] = field(
        default="none", metadata={"help": "head: pooling alone, or squeeze-and-excitation or a transformer before it"}
    )
    explanation: Literal["grad-cam", "grad-cam++"] = field(default="grad-cam", metadata={"help": "what the map shows"})
    class_weights: bool = field(default=True, metadata={"help": "both classes count alike in the loss, however many"})
    dropout: float = field(default=0.2, metadata={"help": "share of the last features dropped in training"})
    learning_rate: float = field(default=1e-4, metadata={"help": "Adam's learning rate"})
    epochs: int = field(default=50, metadata={"help": "at most so many passes over the training images"})
    batch_size: int = field(default=32, metadata={"help": "images per step"})
    patience: int = field(default=10, metadata={"help": "epochs without improvement that end the training"})
    plateau: int = field(default=5, metadata={"help": "epochs without improvement that divide the learning rate by 10"})
    se_reduction: int = field(default=16, metadata={"help": "squeeze-and-excitation: channels per hidden unit"})
    width: int = field(default=256, metadata={"help": "transformer: length of a token; a multiple of 4 and of heads"})
    layers: int = field(default=1, metadata={"help": "transformer: encoder layers"})
    heads: int = field(default=8, metadata={"help": "transformer: attention heads"})

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "plateau", "se_reduction", "width", "layers", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a share from 0 to below 1, not {self.dropout}")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be above 0, not {self.learning_rate}")
        if self.width % 4 or self.width % self.heads:
            raise ValueError(f"width must be a multiple of 4 and of heads ({self.heads}), not {self.width}")

    @property
    def needs_labels(self) -> bool:
        """It does."""
        return True


class Classifier(Method):
    """Supervised classifier, normal against abnormal: fine-tunes a pretrained network on labelled images of both.

    Score: the logit of the probability of "abnormal", and not the probability itself, which rounds to 1 where the
    network is sure, so that cases could no longer be told apart. Map: Grad-CAM or Grad-CAM++ of that logit in the last
    features, scaled so that its peak is that probability.

    Paper: "Anomaly detection in medical imaging", IJARSCT 5(3), 2025, sections IV.3 to IV.6 and VI.2 to VI.5: ResNet-50
    or EfficientNet from ImageNet, the last layer replaced; optional squeeze-and-excitation or transformer attention;
    binary cross-entropy; Adam at 1e-4 with ReduceLROnPlateau; batches of 32; 50 to 100 epochs, stopped after 10 without
    improvement; dropout; 224 x 224 pixels in [0, 1]; Grad-CAM. DenseNet-121 as in CheXNet, which it cites.

    The verdict follows the false-alarm rate on held-out normals, as for every method. Beside it `settled` tells the
    threshold that the paper's ROC analysis gives: of the highest sensitivity + specificity - 1 (Youden) on the cases
    held out for early stopping, in the score's unit and as a probability.

    Deviations and choices, each for a reason that holds before any test label is seen:
        - The backbone is the one that comes with the installation; `backbone=resnet50` is the paper's.
        - The paper augments the rarer class. Here the loss weighs each class by n / (2 n_class), which costs no time,
          and images are augmented where the user asks (`--augment`), as for every method.
        - It names dropout and no rate; 0.2 before the last layer, as EfficientNet was published with.
        - It leaves open the plateau's length; 5 epochs, so that the rate falls before the training stops at 10.
        - The new last layer starts at zero, so that Grad-CAM shows what was learnt and no random start.
        - It names attention and no sizes. Squeeze-and-excitation reduces by 16, as published; one transformer layer of
          width 256: seven by seven locations are few.
        - It thresholds the probability "e.g." at 0.5 and the other detectors by ROC analysis; here the latter for both.
        - The map, in the resolution of the last features (7 x 7 at 224 pixels), is scaled to [0, 1] image by image as
          is usual, and then by the probability: an image that is taken for normal shows little.
    """

    name = "classifier"
    paper = (
        "Anomaly detection in medical imaging, IJARSCT 5(3), 2025, section VI.3; Grad-CAM: Selvaraju et al., ICCV 2017;"
        " Grad-CAM++: Chattopadhay et al., WACV 2018"
    )
    family = "supervised"
    reduction = "own"
    default_size = 224
    map_full = 1.0
    half_precision = True
    Options = ClassifierOptions

    #: weight of a normal and of an abnormal image in the loss
    weights: Tensor
    #: logit above which Youden's rule flags, its sensitivity and its specificity; empty until settled
    youden: Tensor

    def __init__(self, options: ClassifierOptions, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.options: ClassifierOptions = options
        if min(size) < 32:
            raise UsageError(f"classifier needs images of at least 32 x 32 pixels, not {size[0]} x {size[1]}")
        self.backbone = Backbone(options.backbone, (-1,), head=True)
        self.head = _head(options, self.backbone.stages[0].channels)
        self.register_buffer("weights", torch.ones(2))
        self.register_buffer("youden", torch.empty(0))

    def prepare(self) -> None:
        """Load the backbone's published weights."""
        self.backbone.load_pretrained()

    def phases(self) -> list[Phase | Collect]:
        """Count the classes; fine-tune; settle the threshold on the held-out cases."""
        options = self.options
        train = Phase(
            "classification",
            options.epochs,
            options.batch_size,
            self._optimizers,
            self._step,
            validate=self._loss,
            patience=options.patience,
            plateau=options.plateau,
        )
        count = [Collect("class weights", _BATCH, self._weigh)] if options.class_weights else []
        return [*count, train, Collect("threshold", _BATCH, self._settle, held_out=True)]

    def predict(self, images: Tensor) -> Prediction:
        """Score: the logit of "abnormal". Map: its Grad-CAM, scaled to the probability of "abnormal" at the peak."""
        features = self._features(images)
        with torch.enable_grad(), torch.autocast(features.device.type, enabled=False):
            # A view is no leaf, which torch's counter of operations could not follow through autograd.grad.
            features = features.requires_grad_().view_as(features)
            logit = self.head(features)
            (gradient,) = torch.autograd.grad(logit.sum(), features)
        score = logit.detach()
        found = _MAPS[self.options.explanation](features.detach(), gradient)
        peak = found.amax((1, 2, 3)).clamp_min(torch.finfo(found.dtype).tiny)
        return Prediction(found * (score.sigmoid() / peak)[:, None, None, None], score)

    def settled(self) -> dict[str, Any]:
        """The threshold by Youden's rule on the cases held out for early stopping; nothing if these were of one class.

        Where there were too few to hold any out, it is from the training ones.
        """
        if not self.youden.numel():
            return {}
        threshold, sensitivity, specificity = self.youden.tolist()
        return {
            "Youden threshold": threshold,
            "Youden threshold as a probability": float(self.youden[0].double().sigmoid()),
            "sensitivity at the Youden threshold": sensitivity,
            "specificity at the Youden threshold": specificity,
        }

    def _features(self, images: Tensor) -> Tensor:
        """The last features in float32: in bfloat16 many images would share one score."""
        features: Tensor = self.backbone(images)[0].float()
        return features

    def _logit(self, images: Tensor) -> Tensor:
        features = self._features(images)
        with torch.autocast(features.device.type, enabled=False):
            logit: Tensor = self.head(features)
        return logit

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Weighted binary cross-entropy of each image, `(N,)`."""
        weight = torch.where(labels > 0, self.weights[1], self.weights[0])
        return F.binary_cross_entropy_with_logits(self._logit(images), labels, weight, reduction="none")

    def _optimizers(self) -> Mapping[str, Optimizer]:
        return {"adam": Adam(self.parameters(), lr=self.options.learning_rate, fused=True)}

    def _step(self, images: Tensor, labels: Tensor, update: Update) -> Mapping[str, Tensor]:
        loss = self._loss(images, labels).mean()
        update("adam", loss)
        return {"cross-entropy": loss.detach()}

    def _weigh(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        abnormal = torch.cat([labels for _, labels in batches])
        counts = torch.stack([(abnormal == 0).sum(), (abnormal == 1).sum()])
        if not counts.all():
            raise UsageError("classifier needs labels: the training images are all of one class")
        self.weights = len(abnormal) / (2 * counts)

    def _settle(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        pairs = [(self._logit(images), labels) for images, labels in batches]
        scores, labels = (torch.cat(parts).double() for parts in zip(*pairs, strict=True))
        self.youden = best_youden(scores, labels > 0).to(self.youden)


def best_youden(scores: Tensor, abnormal: Tensor) -> Tensor:
    """Threshold of the highest sensitivity + specificity - 1 (Youden, Cancer 1950), then those two, `(3,)`.

    A score above the threshold is flagged. It lies half-way between two neighbouring scores; of equal choices the
    highest is taken. Empty where `scores` `(N,)` are of one class.
    """
    if abnormal.all() or not abnormal.any():
        return scores.new_empty(0)
    levels, place = scores.unique(return_inverse=True)  # ascending
    flagged = [torch.bincount(place[one], minlength=len(levels)).flip(0).cumsum(0) for one in (abnormal, ~abnormal)]
    positives, negatives = int(abnormal.sum()), int((~abnormal).sum())
    # Times both class sizes the criterion stays whole, so that equal choices compare equal.
    best = int((flagged[0] * negatives - flagged[1] * positives).argmax())
    lowest = len(levels) - 1 - best  # of the flagged scores
    threshold = (levels[lowest] + levels[lowest - 1]) / 2 if lowest else levels[0] - 1
    return torch.stack([threshold, flagged[0][best] / positives, 1 - flagged[1][best] / negatives])


def _head(options: ClassifierOptions, channels: int) -> nn.Module:
    if options.attention == "se":
        return SqueezeExciteHead(channels, options.dropout, options.se_reduction)
    if options.attention == "transformer":
        return TransformerHead(channels, options.dropout, options.width, options.layers, options.heads)
    return PooledHead(channels, options.dropout)
