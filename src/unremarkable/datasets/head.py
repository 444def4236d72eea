"""The anatomy of the simulated slices: skin, skull, folded cortex, deep grey matter, ventricles; then field and noise.

Coordinates run from -1 to 1 over the picture, x to the right and y downwards; the forehead is up. Signals are relative.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
#: Relative signal of a T1-weighted slice.
SCALP, SKULL, FLUID, GREY, WHITE = 0.82, 0.06, 0.13, 0.45, 0.66
#: Where the brain's surface lies, as a share of the head's radius.
SURFACE = 0.83


def pose(rng: np.random.Generator, x: Array, y: Array) -> tuple[Array, Array]:
    """The picture's coordinates seen from a head that is turned, moved and scaled a little."""
    turn, scale = np.deg2rad(rng.normal(0, 4)), rng.uniform(0.94, 1.06)
    x, y = (x - rng.normal(0, 0.025)) / scale, (y - rng.normal(0, 0.025)) / scale
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return cos * x + sin * y, cos * y - sin * x


def radius(rng: np.random.Generator, x: Array, y: Array) -> Array:
    """Distance from the middle over the head's own radius in that direction: 1 on the skin."""
    width, length = 0.72 * rng.uniform(0.95, 1.05), 0.9 * rng.uniform(0.96, 1.04)
    angle = np.arctan2(x, -y)
    egg = 1 - 0.035 * np.cos(angle)  # narrower at the forehead
    return np.hypot(x / (width * egg), y / length) / (1 + wobble(rng, angle, range(2, 5), 0.008))


def tissue(rng: np.random.Generator, x: Array, y: Array, rho: Array) -> Array:
    """The signal of a head whose skin lies at `rho` 1."""
    sharp = 1.5 / len(x)
    fluid = _distance_to_fluid(rng, x, y, (SURFACE - rho) * 0.8)
    white = step(fluid - rng.uniform(0.042, 0.056), 2 * sharp)
    signal = GREY + (WHITE - GREY) * white + 0.012 * noise(rng, len(x), 0.05)
    side = x + 0.012 * noise(rng, len(x), 0.5)
    signal = _deep_grey(rng, signal, np.abs(side), y)
    liquid = np.maximum(step(0.010 - fluid, sharp), step(-_ventricles(rng, side, y), sharp))
    signal += (FLUID - signal) * liquid
    for beyond, value in ((0.0, FLUID), (0.025, SKULL)):
        signal += (value - signal) * step(rho - SURFACE - beyond, sharp)
    signal += 0.2 * np.exp(-(((rho - 0.895) / 0.012) ** 2))  # marrow between the tables of the skull
    signal += (SCALP - signal) * step(rho - rng.uniform(0.925, 0.945), sharp)
    return signal * step(1 - rho, sharp)


def _distance_to_fluid(rng: np.random.Generator, x: Array, y: Array, depth: Array) -> Array:
    """About how far the nearest sulcus, fissure or outer surface is; negative outside the brain."""
    # Where a wave around the head passes zero, bent by noise, lie the sulci; its height over its slope is the distance.
    angle = np.arctan2(x, -y)
    field = np.sin(rng.integers(10, 13) * angle + rng.uniform(0, 6) + 1.4 * noise(rng, len(x), 0.22))
    field += 0.35 * noise(rng, len(x), 0.1)
    gap = np.abs(field) / (np.hypot(*np.gradient(field, 2 / len(x))) + 3.0)
    reach = rng.uniform(0.12, 0.16) * np.exp(0.35 * np.tanh(noise(rng, len(x), 0.2)))
    sulcus = gap + np.clip(depth - reach, 0, None) * 1.2
    # The fissure between the hemispheres is open in front and behind, and crossed by the corpus callosum between.
    fissure = np.abs(x + 0.012 * noise(rng, len(x), 0.25)) + np.clip(0.36 - np.abs(y + 0.03), 0, None)
    return np.minimum(np.minimum(depth, sulcus), fissure + 0.002)


def _deep_grey(rng: np.random.Generator, signal: Array, side: Array, y: Array) -> Array:
    """Thalamus and lentiform nucleus, alike on both sides."""
    for cx, cy, rx, ry, tilt in ((0.105, 0.08, 0.075, 0.11, 0.35), (0.235, -0.03, 0.05, 0.125, -0.2)):
        dx, dy = side - cx - rng.normal(0, 0.008), y - cy - rng.normal(0, 0.012)
        inside = 1 - np.hypot((dx + tilt * dy) / (rx * rng.uniform(0.9, 1.1)), dy / (ry * rng.uniform(0.9, 1.1)))
        signal = signal + (GREY + 0.04 - signal) * 0.85 * step(inside, 0.12)
    return signal


def _ventricles(rng: np.random.Generator, side: Array, y: Array) -> Array:
    """Signed distance to the ventricles, negative inside: horns as strokes of varying width, the third as a slit."""
    width = np.exp(rng.normal(0, 0.22)) * np.exp(rng.normal(0, 0.07) * np.sign(side))
    spread, high, low = rng.uniform(0.9, 1.15), rng.normal(0, 0.015), rng.normal(0, 0.02)
    side = np.abs(side)
    distance = np.hypot(side / 0.6, np.clip(np.abs(y - 0.07) - 0.07, 0, None)) - 0.008 * width
    frontal = ((0.035, -0.10, 0.022), (0.045, -0.20, 0.028), (0.085, -0.27, 0.033), (0.135, -0.31, 0.026))
    occipital = ((0.150, 0.20, 0.042), (0.190, 0.26, 0.040), (0.200, 0.33, 0.028), (0.180, 0.42, 0.012))
    for horn, shift in ((frontal, high), (occipital, low)):
        for (ax, ay, a_width), (bx, by, b_width) in pairwise(horn):
            dx, dy = (bx - ax) * spread, by - ay
            px, py = side - ax * spread, y - ay - shift
            along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy), 0, 1)
            stroke = (a_width + (b_width - a_width) * along) * width
            distance = np.minimum(distance, np.hypot(px - along * dx, py - along * dy) - stroke)
    return distance


def uneven_field(rng: np.random.Generator, size: int) -> Array:
    """The smooth gain of a receive coil, within some 20 % of 1."""
    t = np.linspace(-1, 1, size, dtype=np.float32)
    y, x = np.meshgrid(t, t, indexing="ij")
    a, b, c, d, e = rng.normal(0, 0.07, 5).astype(np.float32)
    return np.exp(a * x + b * y + c * x * y + d * (x**2 - 0.3) + e * (y**2 - 0.3))


def rician(rng: np.random.Generator, signal: Array, sigma: float) -> Array:
    """The magnitude of a complex signal with Gaussian noise in both parts."""
    real, imaginary = rng.normal(0, sigma, (2, *signal.shape)).astype(np.float32)
    return np.hypot(signal + real, imaginary)


def blur(signal: Array, width: float) -> Array:
    """Gaussian smoothing; `width` is a share of the picture."""
    from scipy.ndimage import gaussian_filter

    smooth: Array = gaussian_filter(signal, width * len(signal), mode="nearest", truncate=3)
    return smooth


def noise(rng: np.random.Generator, size: int, length: float) -> Array:
    """Smooth noise of standard deviation 1 whose bumps are about `length` wide, the picture being 2."""
    # White noise on a coarse grid, spread by Gaussians: the same seed gives the same anatomy at any picture size.
    cells = int(np.ceil(4 / length)) + 6
    places = (np.arange(size) + 0.5) / size * (cells - 6) + 2.5
    spread = np.exp(-0.5 * (places[:, None] - np.arange(cells)) ** 2)
    spread /= np.sqrt((spread**2).sum(axis=1, keepdims=True))
    return (spread @ rng.normal(size=(cells, cells)) @ spread.T).astype(np.float32)


def wobble(rng: np.random.Generator, angle: Array, orders: Iterable[int], amount: float) -> Array:
    """A smooth random function of an angle, about `amount` in size."""
    total = np.zeros_like(angle)
    for order in orders:
        total += np.float32(rng.normal(0, amount / np.sqrt(order))) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    return total


def step(value: Array, width: float) -> Array:
    """0 far below zero, 1 far above, smooth over about `width`."""
    return 0.5 * (1 + np.tanh(value / width))
