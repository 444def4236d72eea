"""Simulated head-like slices, with and without lesions, for the demonstration and for tests.

Nothing here is a patient: every file is named `simulated_...`, says so in its PNG text, and lies below a README that
says so too. The slices imitate what makes real ones hard (anatomy and pose vary, the field is uneven, noise is Rician,
lesions may be small and faint); they stand for no scanner and no disease.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unremarkable.datasets import head
from unremarkable.datasets.parallel import map_in_order, with_progress
from unremarkable.errors import UsageError

BITS = 12
NOTE = "simulated: drawn by unremarkable, shows no patient"
_README = f"""{NOTE}

Head-like slices for trying the software without data: train/normal, test/normal and test/lesion, with the outlines of
the lesions in test/masks. Nothing about disease, or about how well a method does on patients, can be learnt from them.
"""


@dataclass(frozen=True)
class Phantom:
    """One simulated slice: `pixels` `(size, size)` of 12 bits, and `mask`, True in the lesion if there is one."""

    pixels: NDArray[np.uint16]
    mask: NDArray[np.bool_]


def make_phantom(rng: np.random.Generator, size: int = 128, lesion: bool = False) -> Phantom:
    """Draw one slice. The same state of `rng` gives the same slice."""
    step = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    rows, columns = np.meshgrid(step, step, indexing="ij")
    x, y = head.pose(rng, columns, rows)
    growth, mask = None, np.zeros((size, size), np.bool_)
    if lesion:
        growth = _Lesion.draw(rng)
        shape = growth.distance(rng, x, y)
        x, y = growth.push(x, y)
    radius = head.radius(rng, x, y)
    signal = head.tissue(rng, x, y, radius)
    if growth is not None:
        inside = head.step(head.SURFACE - 0.02 - radius, 0.01)
        signal = growth.paint(signal, shape, inside)
        mask = (shape < 1) & (inside > 0.5)
    signal = head.rician(rng, head.blur(signal, 0.004) * head.uneven_field(rng, size), rng.uniform(0.012, 0.025))
    pixels = np.clip(signal * rng.uniform(2600, 3400), 0, 2**BITS - 1).round().astype(np.uint16)
    return Phantom(pixels, mask)


def make_phantom_dataset(
    folder: str | Path,
    *,
    n_train: int = 200,
    n_test_normal: int = 50,
    n_test_abnormal: int = 50,
    size: int = 128,
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Write a labelled set of simulated slices, 16-bit PNG with 12 bits in use, and return its folder.

    The layout is `train/normal`, `test/normal`, `test/lesion`, and `test/masks/lesion` with one 8-bit mask a lesion.
    The same arguments give the same files; slice i does not depend on how many others there are.

    Raises:
        UsageError: `folder` holds other files already, or cannot be written.
    """
    folder = Path(folder)
    parts = (("train", "normal", n_train), ("test", "normal", n_test_normal), ("test", "lesion", n_test_abnormal))

    def draw(job: tuple[int, str, str, int]) -> None:
        part, split, kind, index = job
        phantom = make_phantom(np.random.default_rng((seed, part, index)), size, lesion=kind == "lesion")
        name = f"simulated_{kind}_{index:04d}"
        _write(folder / split / kind / f"{name}.png", phantom.pixels)
        if kind == "lesion":
            _write(folder / split / "masks" / kind / f"{name}_mask.png", phantom.mask.astype(np.uint8) * 255)

    try:
        readme = folder / "README.txt"
        ours = readme.is_file() and readme.read_text(encoding="utf-8", errors="replace").startswith(NOTE)
        if folder.exists() and any(folder.iterdir()) and not ours:
            raise UsageError(f"{folder}: holds other files; name an empty folder for the simulated slices")
        folder.mkdir(parents=True, exist_ok=True)
        readme.write_text(_README, encoding="utf-8")
        jobs = [(part, split, kind, n) for part, (split, kind, count) in enumerate(parts) for n in range(count)]
        list(with_progress(map_in_order(draw, jobs), len(jobs), "Drawing simulated slices", progress))
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return folder


@dataclass(frozen=True)
class _Lesion:
    """A growth in head coordinates: where, how large, how it looks."""

    x: float
    y: float
    radius: float
    core: float
    rim: float
    halo: float
    mass: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> _Lesion:
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0.02, 0.75))
        radius = float(np.exp(rng.uniform(np.log(0.08), np.log(0.24))))
        dark = rng.random() < 0.5
        return cls(
            x=float(0.5 * reach * np.cos(angle)),
            y=float(0.62 * reach * np.sin(angle)),
            radius=radius,
            core=float(rng.uniform(-0.34, -0.18) if dark else rng.uniform(0.16, 0.34)),
            rim=float(rng.uniform(0.1, 0.35) if dark and rng.random() < 0.6 else 0.0),
            halo=float(rng.uniform(-0.14, 0.0)),
            mass=float(rng.uniform(0.1, 0.5)),
        )

    def distance(self, rng: np.random.Generator, x: head.Array, y: head.Array) -> head.Array:
        """Distance from the centre over the irregular outline's own: 1 on the outline."""
        angle = np.arctan2(y - self.y, x - self.x)
        outline = 1 + head.wobble(rng, angle, range(2, 6), 0.09)
        stretch = 1 + rng.uniform(-0.2, 0.2)
        return np.hypot((x - self.x) * stretch, (y - self.y) / stretch) / (self.radius * outline)

    def push(self, x: head.Array, y: head.Array) -> tuple[head.Array, head.Array]:
        """Where each point of the picture came from before the growth pushed its surroundings aside."""
        dx, dy = x - self.x, y - self.y
        pull = 1 - self.mass * np.exp(-(dx**2 + dy**2) / (2.2 * self.radius) ** 2)
        return self.x + dx * pull, self.y + dy * pull

    def paint(self, signal: head.Array, shape: head.Array, inside: head.Array) -> head.Array:
        soft = 0.03 / self.radius
        core = head.step(1 - shape, soft) * inside
        ring = np.exp(-(((shape - 0.9) / 0.18) ** 2)) * inside
        halo = np.clip(1.9 - shape, 0, 0.9) / 0.9 * (1 - core) * inside
        painted = (signal + self.halo * halo) * (1 - core) + core * (
            0.35 * signal + 0.65 * (head.WHITE * 0.85 + self.core)
        )
        return np.maximum(painted + self.rim * ring, 0)


def _write(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Description", NOTE)
    if pixels.dtype == np.uint16:
        text.add(b"sBIT", bytes([BITS]))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, pnginfo=text)
