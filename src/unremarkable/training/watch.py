"""After the last phase, a look at what was learnt: a collapsed discriminator, a constant picture, a copy of the input.

None of these stops a fit, and none shows in its losses alone; each makes scores that mean little. They are looked for
on a few held-out normals, without a label, and said in plain words with what to try.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unremarkable.methods.base import Collect, Method, Phase, Prediction
from unremarkable.training.batches import Images, Labelled, load
from unremarkable.training.history import History
from unremarkable.training.machine import Machine

#: normals that are looked at, and as many textures; few, since some methods take seconds for one image
LOOKED_AT = 8
#: How near to the loss of guessing a discriminator stays that has learnt nothing: what chance does to an epoch's mean.
BLIND = 0.01
#: How near to the loss of certainty it ends that teaches nothing: it then gives wrong answers 0.1 %, geometric mean.
SURE = 0.001
#: Reconstructions that differ by less than this share of what the images do, in standard deviations, are one picture:
#: they can explain at most 1 - 0.95^2, a tenth, of what tells one normal from another.
CONSTANT = 0.05
#: A network copies that rebuilds a texture with an error below this many times that of the normal whose spectrum the
#: texture has. Whatever only filters its input, as a copy or a blur does, has 1, since its error depends on the
#: spectrum alone; a network that knows normals is better at them. The quarter is for clipping and for the few images.
COPY = 1.25


def look_over(
    method: Method,
    phases: Sequence[Phase | Collect],
    images: Images,
    held_out: Images | None,
    machine: Machine,
    history: History,
) -> list[str]:
    """What is wrong with a fitted method, one sentence each without its full stop; empty where nothing is.

    Args:
        method: fitted, in eval mode.
        phases: its phases, as they were run.
        images: what it learnt from; looked at where fewer than two normals were held out.
        held_out: what early stopping went by.
        machine: where it was trained.
        history: of the training.
    """
    found = _discriminators(phases, history)
    normals = _normals(images if held_out is None or len(_rows(held_out)) < 2 else held_out, machine)
    if len(normals) < 2:
        return found
    seen = _predict(method, normals, machine)
    parts = [seen.map, seen.score] + ([] if seen.reconstruction is None else [seen.reconstruction])
    if not all(bool(part.isfinite().all()) for part in parts):
        return [
            *found,
            "maps, scores or reconstructions of normal images are not finite numbers, though the weights are; try a"
            " lower learning rate, or precision 32",
        ]
    if seen.reconstruction is None or _spread(normals) == 0:
        return found
    return found + _reconstructions(method, normals, seen.reconstruction, machine)


def _discriminators(phases: Sequence[Phase | Collect], history: History) -> list[str]:
    """Discriminators that were blind in every epoch, or sure of everything in the last."""
    found = []
    for phase, past in zip(phases, history.phases, strict=True):
        for one in phase.adversaries if isinstance(phase, Phase) else ():
            losses = [epoch.losses[one.loss] for epoch in past.epochs if one.loss in epoch.losses]
            if not losses:
                continue
            last = f"phase {phase.name!r}, loss {one.loss!r} at {losses[-1]:.2g}"
            if all(abs(loss - one.blind) < BLIND for loss in losses):
                found.append(
                    f"the discriminator never told real images from generated ones ({last}, that of guessing) and so"
                    " taught the generator nothing; try a higher learning rate or more epochs"
                )
            elif one.sure is not None and abs(losses[-1] - one.sure) < SURE:
                found.append(
                    f"the discriminator has won ({last}): it is sure of every image, and the generator learns nothing"
                    " from it any more; try a lower learning rate, fewer epochs, or a narrower discriminator"
                )
    return found


def _reconstructions(method: Method, normals: Tensor, rebuilt: Tensor, machine: Machine) -> list[str]:
    """Reconstructions that are the same for all images, that copy whatever they are made from, or that fail."""
    share = _spread(rebuilt) / _spread(normals)
    if share < CONSTANT:
        return [
            "the reconstructions of different normal images are all but one and the same picture (they differ by"
            f" {share:.1%} of what the images do); try more epochs, another learning rate, another seed, or a larger"
            " bottleneck"
        ]
    textures = scrambled(normals)
    copied = _predict(method, textures, machine).reconstruction
    assert copied is not None
    errors = _errors(normals, rebuilt)
    ratio = float((_errors(textures, copied) / errors.clamp_min(1e-12)).median())
    if ratio >= COPY:
        return []
    if float(errors.mean()) > _spread(normals) ** 2:
        return [
            "normal images are rebuilt worse than by their mean picture, and no better than a texture that shows"
            " nothing: the network has learnt little yet; try more epochs, or a higher learning rate"
        ]
    return [
        f"a texture that shows nothing is rebuilt as well as a normal image (its error is {ratio:.2g} times as large):"
        " the network copies what it is given, and may copy what is abnormal; try a smaller bottleneck, or more noise"
        " or masking where the method has it"
    ]


def scrambled(images: Tensor) -> Tensor:
    """A texture for each of `(N, C, H, W)` images in [0, 1]: its spectrum with phases at random, the same every time.

    So it has the image's brightness, contrast and graininess, looks like cloud or bark, and shows nothing. The phases
    are those of white noise, whose spectrum has the symmetry that makes a picture of real numbers.
    """
    shape = images.shape[-2:]
    noise = np.random.default_rng(0).standard_normal((len(images), 1, *shape)).astype(np.float32)
    phase = torch.fft.rfft2(torch.from_numpy(noise).to(images))
    phase = phase / phase.abs().clamp_min(1e-12)
    phase[..., 0, 0] = 1  # keeps the mean
    return torch.fft.irfft2(torch.fft.rfft2(images) * phase, s=shape).clamp(0, 1)


def _predict(method: Method, images: Tensor, machine: Machine) -> Prediction:
    with torch.no_grad(), machine.scoring(method.half_precision):
        return method.predict(images)


def _rows(images: Images) -> NDArray[np.int64]:
    """Rows of the normals among them."""
    return np.flatnonzero(images.labels == 0) if isinstance(images, Labelled) else np.arange(len(images))


def _normals(images: Images, machine: Machine) -> Tensor:
    """At most `LOOKED_AT` normals, spread over all of them."""
    rows = _rows(images)
    places = np.linspace(0, max(0, len(rows) - 1), min(LOOKED_AT, len(rows)))
    return load(images, rows[places.round().astype(np.int64)], machine)[0]


def _spread(images: Tensor) -> float:
    """How much images differ from their mean picture, root mean square."""
    return float((images - images.mean(0)).square().mean().sqrt())


def _errors(images: Tensor, rebuilt: Tensor) -> Tensor:
    """Mean squared error of each image."""
    return (images - rebuilt).square().mean((1, 2, 3))
