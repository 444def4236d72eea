"""The networks that the adversarial methods share: a DCGAN read downwards and upwards, and how its weights start.

Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional generative adversarial networks",
ICLR 2016, in the form that GANomaly gave them (Akcay et al., ACCV 2018): 4x4 convolutions of stride 2 halve the side
until it is 4, the width doubles each time, and one 4x4 convolution over what is left makes the vector. That last one
sees its whole input at once, so it is a linear layer here, which is the same sum and a matrix product.

Images are in [-1, 1] inside these networks (`signed`), in [0, 1] outside of them (`unsigned`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.errors import UsageError

#: side of the grid at which the pyramid ends
GRID = 4
#: a discriminator whose loss falls below this has stopped teaching, and GANomaly starts it anew
COLLAPSED = 1e-5
#: sides of the input up to which a convolution is made a matrix product
_SMALL = 16


def require_side(name: str, size: tuple[int, int], least: int = 16) -> int:
    """The side of square images that these networks can take.

    Raises:
        UsageError: the size is not square with a side that is a power of two, at least `least`.
    """
    side = size[0]
    if size[0] != size[1] or side < least or side & (side - 1):
        sides = ", ".join(str(least * 2**i) for i in range(3))
        raise UsageError(f"{name} takes square images of side {sides}, ...; not {size[0]}x{size[1]}")
    return side


def pyramid(side: int, width: int) -> list[int]:
    """Channels after each halving of `side` down to 4, fine to coarse: `width`, and twice the one before."""
    return [width * 2**i for i in range((side // GRID).bit_length() - 1)]


class Encoder(nn.Module):
    """`(N, channels, side, side)` to `(N, outputs)`, without a last activation."""

    def __init__(self, side: int, channels: int, width: int, outputs: int) -> None:
        super().__init__()
        widths = pyramid(side, width)
        layers: list[nn.Module] = [_down(channels, width), nn.LeakyReLU(0.2, inplace=True)]
        for a, b in pairwise(widths):
            layers += [_down(a, b), nn.BatchNorm2d(b), nn.LeakyReLU(0.2, inplace=True)]
        self.blocks = nn.Sequential(*layers)
        self.last = nn.Linear(widths[-1] * GRID * GRID, outputs, bias=False)

    def features(self, images: Tensor) -> Tensor:
        """`(N, width * side / 8, 4, 4)`: what the last layer sees."""
        return self.blocks(images)

    def forward(self, images: Tensor) -> Tensor:
        """The vectors."""
        return self.last(self.features(images).flatten(1))


class Discriminator(Encoder):
    """Features `(N, F, 4, 4)` and logits `(N,)` of images, both float32; a positive logit says real."""

    def __init__(self, side: int, channels: int, width: int) -> None:
        super().__init__(side, channels, width, outputs=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Features and logits from one pass."""
        features = self.features(images)
        return features.float(), self.last(features.flatten(1)).float().squeeze(1)


class Decoder(nn.Module):
    """`(N, latent)` to `(N, channels, side, side)` in [-1, 1]: the encoder's mirror image."""

    def __init__(self, side: int, channels: int, width: int, latent: int) -> None:
        super().__init__()
        widths = pyramid(side, width)[::-1]
        self.first = nn.Linear(latent, widths[0] * GRID * GRID, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
        for a, b in pairwise(widths):
            layers += [_up(a, b), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
        self.blocks = nn.Sequential(*layers, _up(widths[-1], channels), nn.Tanh())

    def forward(self, latent: Tensor) -> Tensor:
        """The images."""
        return self.blocks(self.first(latent).unflatten(1, (-1, GRID, GRID)))


def initialise(module: nn.Module) -> None:
    """Start every layer in `module` as DCGAN does: N(0, 0.02), batch norm's scale N(1, 0.02), and no offsets."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Leave out the gradients of weights that a step does not move; gradients still pass through them."""
    for module in modules:
        module.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            module.requires_grad_(True)


def signed(images: Tensor) -> Tensor:
    """[0, 1] to [-1, 1]."""
    return 2 * images - 1


def unsigned(images: Tensor) -> Tensor:
    """[-1, 1] to [0, 1], in float32."""
    return ((images.float() + 1) / 2).clamp(0, 1)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Mean cross-entropy of a discriminator's logits `(N,)` for real and for generated images; log 2 is a coin's.

    Half the sum of both kinds' means, as GANomaly weighs them; the logits go through the sigmoid here.
    """
    return (nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()) / 2


def handed_on(loss: Tensor, seen: Tensor, generated: Tensor) -> Tensor:
    """A term for the generator that has the gradient of a discriminator's `loss`; a number without a meaning.

    `seen` are the detached copies of `generated` images that `loss` was computed from. Its gradient is taken here, for
    the images alone and not for the discriminator's weights, and its graph is kept: one pass of the discriminator
    serves the generator's step and, if that comes first, its own.
    """
    with torch.autocast(seen.device.type, enabled=False):
        (wanted,) = torch.autograd.grad(loss, seen, retain_graph=True)
    return (wanted * generated).sum()


def restart_collapsed(discriminator: nn.Module, loss: Tensor, restarts: Tensor) -> None:
    """Draw new weights for a discriminator whose `loss` is below `COLLAPSED`, and count it in `restarts`, in place."""
    if loss.detach() < COLLAPSED:
        initialise(discriminator)
        restarts += 1


class _Halving(nn.Conv2d):
    """A 4x4 convolution of stride 2, which on small grids is one matrix product.

    There the many channels make nearly all of the work, and the gradient of a processor's convolution takes four times
    as long as that of the product (1024 to 2048 channels on 8x8).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 4, stride=2, padding=1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        if images.is_cuda or max(height, width) > _SMALL:
            return super().forward(images)
        patches = F.pad(images, (1, 1, 1, 1)).unfold(2, 4, 2).unfold(3, 4, 2).permute(0, 2, 3, 4, 5, 1)
        rows = patches.reshape(count * (height // 2) * (width // 2), -1)
        weight = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, -1)
        return F.linear(rows, weight).view(count, height // 2, width // 2, -1).permute(0, 3, 1, 2)


def _down(inputs: int, outputs: int) -> nn.Conv2d:
    return _Halving(inputs, outputs)


def _up(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
