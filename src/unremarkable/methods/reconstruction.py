"""What the autoencoders share: the options of their networks and of the training, and its one phase."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor
from torch.optim import Adam, Optimizer

from unremarkable.methods import base
from unremarkable.methods.base import Collect, Method, Phase, Update
from unremarkable.methods.checks import require_not_negative, require_positive
from unremarkable.networks.autoencoder import Bottleneck, Variant, build_autoencoder


@dataclass(frozen=True)
class NetworkOptions(base.Options):
    """Options of the networks and of their training."""

    variant: Variant = field(
        default="pooled",
        metadata={"help": "convolutions: pooled, strided (Bergmann et al. 2019) or normed (Cai et al. 2025)"},
    )
    bottleneck: Bottleneck = field(
        default="vector",
        metadata={"help": "vector: one for the image; spatial: one for each 16x16 pixels"},
    )
    latent_dim: int = field(default=128, metadata={"help": "length of the bottleneck; smaller rebuilds less"})
    hidden: int = field(default=0, metadata={"help": "units of a layer on either side of the bottleneck; 0 for none"})
    widths: tuple[int, ...] = field(
        default=(16, 32, 64, 128), metadata={"help": "channels after each of the four halvings of the resolution"}
    )
    learning_rate: float = field(default=1e-3, metadata={"help": "Adam's learning rate"})
    weight_decay: float = field(default=0.0, metadata={"help": "Adam's weight decay"})
    epochs: int = field(default=100, metadata={"help": "at most so many passes over the normals"})
    batch_size: int = field(default=32, metadata={"help": "images per step"})
    patience: int = field(default=10, metadata={"help": "epochs without improvement that end the training"})
    plateau: int | None = field(
        default=5, metadata={"help": "epochs without improvement that divide the learning rate by 10; none: never"}
    )

    def __post_init__(self) -> None:
        if len(self.widths) != 4 or min(self.widths) < 1:
            raise ValueError(f"widths are four numbers of channels, not {self.widths}")
        require_positive(self, "latent_dim", "epochs", "batch_size", "patience", "plateau")
        require_not_negative(self, "hidden")


def _help(name: str) -> Mapping[str, str]:
    """What an option of the networks says of itself, for one that has another default."""
    return NetworkOptions.__dataclass_fields__[name].metadata


@dataclass(frozen=True)
class MedIAnomalyOptions(NetworkOptions):
    """The same with the network and the training of Cai et al., "MedIAnomaly", Medical Image Analysis 2025."""

    variant: Variant = field(default="normed", metadata=_help("variant"))
    widths: tuple[int, ...] = field(default=(16, 32, 64, 64), metadata=_help("widths"))
    epochs: int = field(default=250, metadata=_help("epochs"))
    batch_size: int = field(default=64, metadata=_help("batch_size"))
    patience: int = field(default=20, metadata=_help("patience"))
    plateau: int | None = field(default=None, metadata=_help("plateau"))


class Reconstruction(Method):
    """An encoder and a decoder that learn together, by one loss, to rebuild normal images.

    A subclass says what the loss is; the epoch that is best on held-out normals is kept.
    """

    #: latent codes that the encoder gives; the decoder takes one
    heads: ClassVar[int] = 1

    options: NetworkOptions

    def __init__(self, options: NetworkOptions, size: tuple[int, int], channels: int) -> None:
        """Build encoder and decoder with random weights.

        Raises:
            UsageError: a side of `size` is not a multiple of 16.
        """
        super().__init__(options, size, channels)
        self.encoder, self.decoder = build_autoencoder(
            self.name,
            options.variant,
            options.bottleneck,
            options.widths,
            options.hidden,
            options.latent_dim,
            size,
            channels,
            heads=self.heads,
            outputs=self._outputs(),
        )

    def phases(self) -> list[Phase | Collect]:
        """One phase of training on the loss."""
        options = self.options
        return [
            Phase(
                "reconstruction",
                options.epochs,
                options.batch_size,
                self._optimizers,
                self._step,
                validate=self.held_out_loss,
                patience=options.patience,
                plateau=options.plateau,
            )
        ]

    @abstractmethod
    def losses(self, images: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """What is minimised, a scalar, and what is logged of it, by name, for `(N, C, H, W)` images in [0, 1]."""

    @abstractmethod
    def held_out_loss(self, images: Tensor) -> Tensor:
        """Loss `(N,)` of each image, without anything random."""

    def _outputs(self) -> int:
        """Channels that the decoder gives."""
        return self.channels

    def _optimizers(self) -> Mapping[str, Optimizer]:
        options = self.options
        weights = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return {"adam": Adam(weights, lr=options.learning_rate, weight_decay=options.weight_decay, fused=True)}

    def _step(self, images: Tensor, update: Update) -> Mapping[str, Tensor]:
        loss, parts = self.losses(images)
        update("adam", loss)
        return {name: part.detach() for name, part in parts.items()}


def squared_error(images: Tensor, mean: Tensor) -> Tensor:
    """`(N, 1, H, W)`: squared error on [-1, 1], averaged over channels, of images and pixels in [0, 1]."""
    return (2 * (images - mean)).square().mean(1, keepdim=True)
