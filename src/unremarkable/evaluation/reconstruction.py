"""How faithfully a method that reconstructs gives back normal images: SSIM, PSNR, L1, perceptual distances.

On normal cases alone: an abnormal image is not meant to come back. Images are compared as the method saw them, at its
input size, and as the 8-bit pictures that scoring keeps; that rounding adds at most 1/255 to L1 and shows in PSNR only
above some 50 dB. Of a volume, the slice that gave its score is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unremarkable.errors import UsageError
from unremarkable.evaluation.case_weights import patient_intervals
from unremarkable.evaluation.intervals import Interval

if TYPE_CHECKING:
    from torch import Tensor

    from unremarkable.networks.perceptual import PerceptualName

PERCEPTUAL = "perceptual_efficientnet_lite0"
#: the published distance, of AlexNet as in the evaluation of Bercea et al. 2024; measured where its files are at hand
LPIPS = "lpips_alex"
_NETWORKS: dict[str, PerceptualName] = {PERCEPTUAL: "efficientnet-lite0", LPIPS: "lpips-alex"}
_LPIPS_FILES = {"alexnet-owt", "lpips-alex"}
#: below it, nothing is left of an image at AlexNet's third stage
_SMALLEST = 31
#: the window of SSIM: Gaussian of 1.5 pixels, cut at 11 × 11 (Wang et al. 2004)
_WINDOW = 11
REASONS = {
    "ssim": f"needs normal images of {_WINDOW} × {_WINDOW} pixels or more",
    "psnr": "a reconstruction equals its image, so the ratio is infinite",
    "l1": "needs normal images",
    LPIPS: f"needs normal images of {_SMALLEST} × {_SMALLEST} pixels or more",
}


def ssim(image: NDArray[np.uint8], reconstruction: NDArray[np.uint8]) -> float:
    """Structural similarity (Wang et al. 2004, eq. 13) with a Gaussian window of 1.5 pixels, 1 for equal images.

    Colour channels are averaged; NaN for images smaller than the window.

    Args:
        image: `(H, W)` or `(H, W, 3)`.
        reconstruction: same shape.
    """
    from skimage.metrics import structural_similarity

    if min(image.shape[:2]) < _WINDOW:
        return float("nan")
    return float(
        structural_similarity(
            *_unit(image, reconstruction),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=-1 if image.ndim == 3 else None,
        )
    )


def psnr(image: NDArray[np.uint8], reconstruction: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(1 / mean squared error) of values in [0, 1]; NaN for equal images."""
    first, second = _unit(image, reconstruction)
    error = float(np.mean((first - second) ** 2))
    return -10 * float(np.log10(error)) if error else float("nan")


def l1(image: NDArray[np.uint8], reconstruction: NDArray[np.uint8]) -> float:
    """Mean absolute difference of values in [0, 1]."""
    first, second = _unit(image, reconstruction)
    return float(np.abs(first - second).mean())


class PerceptualDistance:
    """`Perceptual` of two pictures: by the offline backbone, which is not LPIPS and does not compare, or LPIPS itself.

    Args:
        metric: `PERCEPTUAL` or `LPIPS`.

    Raises:
        UsageError: its network's weights are not on this machine.
    """

    def __init__(self, metric: str = PERCEPTUAL) -> None:
        from unremarkable.networks.perceptual import Perceptual

        self._distance = Perceptual(_NETWORKS[metric])
        self._distance.load_pretrained()
        self._smallest = _SMALLEST if metric == LPIPS else 1

    def __call__(self, image: NDArray[np.uint8], reconstruction: NDArray[np.uint8]) -> float:
        """The distance of two images `(H, W)` or `(H, W, 3)`; NaN where they are too small for the network."""
        import torch

        if min(image.shape[:2]) < self._smallest:
            return float("nan")
        with torch.inference_mode():
            return float(self._distance(_tensor(image), _tensor(reconstruction)))


@dataclass
class Fidelity:
    """Gathers the fidelity of normal cases as they are scored; nothing but numbers is kept."""

    groups: list[str] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    _measures: dict[str, Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]] = field(default_factory=dict)
    _missing: dict[str, str] = field(default_factory=dict)

    def add(self, image: NDArray[np.uint8], reconstruction: NDArray[np.uint8], group: str) -> None:
        """Take one normal case of a patient; shapes as for `ssim`."""
        if not self.groups:
            self._load()
        self.groups.append(group)
        for name, measure in self._measures.items():
            self.values.setdefault(name, []).append(measure(image, reconstruction))

    def metrics(self, *, replicates: int = 2000, seed: int = 0, level: float = 0.95) -> dict[str, Interval]:
        """The mean of each over cases, with its interval over patients; empty without any case."""
        if not self.groups:
            return {}
        columns = {name: np.array(values) for name, values in self.values.items()}
        found = patient_intervals(
            lambda weights: {name: weights @ each / weights.sum(axis=1) for name, each in columns.items()},
            self.groups,
            np.zeros(len(self.groups), bool),
            replicates=replicates,
            seed=seed,
            level=level,
            undefined=REASONS,
        )
        return found | {name: Interval(None, None, None, reason) for name, reason in self._missing.items()}

    def _load(self) -> None:
        """Choose what is measured. Where LPIPS' files are not, nothing is said of it: most machines have none."""
        from unremarkable.networks.weights import weights_table

        here = {row["name"] for row in weights_table() if row["path"]}
        self._measures = {"ssim": ssim, "psnr": psnr, "l1": l1}
        for name in (PERCEPTUAL, LPIPS) if here >= _LPIPS_FILES else (PERCEPTUAL,):
            try:
                self._measures[name] = PerceptualDistance(name)
            except UsageError as error:
                self._missing[name] = str(error)


def _unit(*images: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
    return [image.astype(np.float64) / 255 for image in images]


def _tensor(image: NDArray[np.uint8]) -> Tensor:
    import torch

    channels = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(channels)).float()[None] / 255
