"""Simulated artefacts at graded strength, on model input: what a picture may show that is no disease.

Huang et al. ("Hetero-AE", Fig. 7) show a few by eye and give no definitions; those here are this package's own.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import UsageError, unknown_name

Floats = NDArray[np.float32]

#: strengths of every kind; 0 leaves the image untouched
LEVELS = (0, 1, 2, 3, 4)
#: side of a square and height of the text, as shares of the image's shorter side
EXTENT = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4)
#: standard deviation of the noise, as a share of the intensity range
NOISE = (0.0, 0.02, 0.05, 0.1, 0.2)
#: degrees
ANGLE = (0.0, 2.0, 5.0, 10.0, 20.0)
#: what is left of each value's distance from the image's mean
CONTRAST = (1.0, 0.8, 0.6, 0.4, 0.2)


@dataclass(frozen=True, eq=False)
class Altered:
    """An image with an artefact.

    Attributes:
        image: `(C, H, W)` float32 in [0, 1].
        mask: `(H, W)`, True where a pixel changed; None for kinds that change the whole image.
    """

    image: Floats
    mask: NDArray[np.bool_] | None


def add_artefact(image: Floats, kind: str, level: int, seed: int | tuple[int, ...] = 0) -> Altered:
    """A copy of `(C, H, W)` in [0, 1] with one artefact; the same in every channel.

    What is random about it (place, side, pattern) depends on `seed` and `kind` alone, so that the levels show one
    artefact growing.

    Args:
        kind: a name in `KINDS`.
        level: one of `LEVELS`; 0 changes nothing.

    Raises:
        UsageError: no such kind or level.
    """
    draw = check_kind(kind)
    check_level(level)
    local = kind in LOCAL
    if level == 0:
        return Altered(image.copy(), np.zeros(image.shape[1:], np.bool_) if local else None)
    parts = seed if isinstance(seed, tuple) else (seed,)
    altered = draw(image, level, np.random.default_rng((*parts, zlib.crc32(kind.encode()))))
    return Altered(altered, (altered != image).any(axis=0) if local else None)


def case_seed(inputs: Floats, seed: int = 0) -> tuple[int, int]:
    """A seed of a case's own, from its model input `(N, C, H, W)`: the same wherever its file lies.

    Taken over 8 bits a value, so that the last bits, in which machines differ, do not move the artefact.
    """
    return seed, zlib.crc32((inputs * 255).round().astype(np.uint8).tobytes())


def squares(image: Floats, level: int, rng: np.random.Generator) -> Floats:
    """Three filled squares, each of side `EXTENT` × the shorter side, one in each of three quarters of the image.

    Each is white where the mean beneath it is below one half, else black; so each changes its pixels by one half or
    more on average.
    """
    height, width = image.shape[1:]
    side = _pixels(EXTENT[level], image)
    centres = rng.uniform(size=(4, 2))
    changed = image.copy()
    for quarter in rng.permutation(4)[:3]:
        # Centres leave room for the largest square, so that squares never overlap or leave the image.
        top, left = (
            round(length * (place // 1 / 2 + 1 / 8 + centre / 4) - side / 2)
            for length, place, centre in zip((height, width), divmod(int(quarter), 2), centres[quarter], strict=True)
        )
        _fill(changed, image, max(top, 0), max(left, 0), np.ones((side, side), np.float32))
    return changed


def text(image: Floats, level: int, rng: np.random.Generator) -> Floats:
    """A side marker such as "R 42" in one corner, `EXTENT` × the shorter side high, in Pillow's own bitmap font.

    White or black as `squares`; 1/32 of the side from the border.
    """
    words = f"{'LR'[rng.integers(2)]} {rng.integers(10, 100)}"
    corner = rng.integers(2, size=2)
    letters = _letters(words, _pixels(EXTENT[level], image), image.shape[2])
    margin = _pixels(1 / 32, image)
    top, left = (
        max(length - margin - size, 0) if far else min(margin, length - size)
        for length, size, far in zip(image.shape[1:], letters.shape, corner, strict=True)
    )
    changed = image.copy()
    _fill(changed, image, top, left, letters)
    return changed


def noise(image: Floats, level: int, rng: np.random.Generator) -> Floats:
    """White Gaussian noise of standard deviation `NOISE`, clipped to [0, 1]."""
    field = rng.standard_normal(image.shape[1:], dtype=np.float32)
    return np.clip(image + np.float32(NOISE[level]) * field, 0, 1)


def rotation(image: Floats, level: int, rng: np.random.Generator) -> Floats:
    """Turned about its centre by `ANGLE` degrees, one way or the other; bilinear, black where nothing is known."""
    from PIL.Image import Resampling, fromarray

    angle = ANGLE[level] * (1 if rng.random() < 0.5 else -1)
    turned = [fromarray(np.ascontiguousarray(channel)).rotate(angle, Resampling.BILINEAR) for channel in image]
    return np.stack([np.asarray(channel) for channel in turned])


def contrast(image: Floats, level: int, rng: np.random.Generator) -> Floats:
    """Flattened: each value keeps `CONTRAST` of its distance from the image's mean. Nothing about it is random."""
    mean = image.mean(dtype=np.float64).astype(np.float32)
    return np.clip(mean + np.float32(CONTRAST[level]) * (image - mean), 0, 1)


#: the artefacts by name
KINDS: Mapping[str, Callable[[Floats, int, np.random.Generator], Floats]] = MappingProxyType(
    {"squares": squares, "noise": noise, "text": text, "rotation": rotation, "contrast": contrast}
)
#: kinds that change a part of the image only, and so have a mask
LOCAL = frozenset({"squares", "text"})


def check_kind(kind: str) -> Callable[[Floats, int, np.random.Generator], Floats]:
    """The function that draws a kind; raises UsageError where there is none of that name."""
    if kind not in KINDS:
        raise unknown_name("artefact", kind, KINDS)
    return KINDS[kind]


def check_level(level: int) -> None:
    """Raise UsageError for a strength that is not one of `LEVELS`."""
    if level not in LEVELS:
        raise UsageError(f"unknown artefact level {level}; levels: {', '.join(map(str, LEVELS))} (0 changes nothing)")


def _fill(changed: Floats, image: Floats, top: int, left: int, opacity: Floats) -> None:
    """Paint `(h, w)` opacity in [0, 1] at a place, in white or black, whichever is farther from the mean beneath."""
    place = (slice(None), slice(top, top + opacity.shape[0]), slice(left, left + opacity.shape[1]))
    value = np.float32(1 if image[place].mean() < 0.5 else 0)
    changed[place] = image[place] + opacity * (value - image[place])


def _pixels(share: float, image: Floats) -> int:
    return max(1, round(share * min(image.shape[1:])))


def _letters(words: str, height: int, widest: int) -> Floats:
    """The words' opacity `(height, w)`, w at most `widest`."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default_imagefont()
    page = Image.new("L", (16 * len(words), 32))
    ImageDraw.Draw(page).text((0, 0), words, fill=255, font=font)
    ink = page.crop(page.getbbox())
    width = min(widest, max(1, round(ink.width * height / ink.height)))
    return np.asarray(ink.resize((width, height), Image.Resampling.BOX), np.float32) / np.float32(255)
