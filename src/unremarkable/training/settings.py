"""What a user may choose about training, whatever the method."""

from __future__ import annotations

from dataclasses import dataclass

from unremarkable.errors import UsageError, unknown_name

PRECISIONS = ("auto", "32", "bf16")


@dataclass(frozen=True)
class Augment:
    """Random changes to the training images, drawn anew for every image in every epoch.

    The defaults are those of Bercea et al., "Towards universal unsupervised anomaly detection in medical imaging"
    (their code). A mirrored chest has its heart on the wrong side: set `flip` to 0 where sides matter.

    Attributes:
        degrees: rotation, uniform in ±degrees.
        translate: shift along each axis, uniform within ± this share of the side.
        zoom: lowest and highest scale factor, uniform between them.
        flip: probability of a left-right flip.

    Raises:
        UsageError: a value is out of range.
    """

    degrees: float = 10.0
    translate: float = 0.1
    zoom: tuple[float, float] = (0.9, 1.1)
    flip: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise UsageError(f"augment: degrees must lie in 0 to 180, not {self.degrees}")
        if not 0 <= self.translate <= 1:
            raise UsageError(f"augment: translate is a share of the side, 0 to 1, not {self.translate}")
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise UsageError(f"augment: zoom must be a lowest and a highest factor above 0, not {self.zoom}")
        if not 0 <= self.flip <= 1:
            raise UsageError(f"augment: flip is a probability, 0 to 1, not {self.flip}")


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Attributes:
        seed: of everything random; same seed, data and machine give the same bits.
        device: "auto" (a CUDA GPU if there is one, else the processor), "cpu", "cuda", "cuda:1" or "mps".
        precision: "32"; "bf16" for bfloat16 mixed precision; "auto" takes bf16 where the processor computes in it.
        augment: random changes to the training images in phases that allow it; None for none.
        fingerprint: identifies the images; an interrupted run goes on only with the same.

    Raises:
        UsageError: a value is out of range.
    """

    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    augment: Augment | None = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"the seed must be 0 or more, not {self.seed}")
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
