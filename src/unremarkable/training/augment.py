"""Random flips and affine moves of a whole batch at once, on the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unremarkable.training.settings import Augment


def make_augment(settings: Augment) -> Callable[[Tensor], Tensor]:
    """A function from `(N, C, H, W)` images in [0, 1] to changed ones; draws from torch's global random state.

    Each image is turned, shifted and scaled in one bilinear resampling. What comes in from outside repeats the
    border: black corners would be the one thing no scan has.
    """
    from kornia.augmentation import RandomAffine, RandomHorizontalFlip

    affine = RandomAffine(
        degrees=settings.degrees,
        translate=(settings.translate, settings.translate),
        scale=settings.zoom,
        padding_mode="border",
        p=1.0,
    )
    moves = settings.degrees > 0 or settings.translate > 0 or settings.zoom != (1, 1)
    change = nn.Sequential(*([affine] if moves else []), RandomHorizontalFlip(p=settings.flip))

    def augment(images: Tensor) -> Tensor:
        with torch.no_grad():
            changed: Tensor = change(images)
        return changed

    return augment
