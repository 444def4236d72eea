"""Calibration: from the scores of held-out normals to p-values and a verdict at a stated false-alarm rate.

The guarantee is that of conformal anomaly detection (Laxhammar and Falkman, 2010; Vovk et al., *Algorithmic Learning
in a Random World*, 2005): if a new normal is exchangeable with the calibration normals, P(p ≤ rate) ≤ rate. It says
nothing of normals from another scanner or population, and several images of one patient count for fewer than they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.errors import UsageError
from unremarkable.scoring.checks import finite_scores
from unremarkable.scoring.thresholds import ThresholdChoice

#: share of the normals' pixels above `Calibration.map_low`
MAP_RATE = 0.05


def normals_needed(rate: float) -> int:
    """The fewest held-out normals that support a false-alarm rate: ceil(1 / rate) − 1.

    Raises:
        UsageError: the rate is not between 0 and 1.
    """
    _check_rate(rate)
    near = math.ceil(1 / rate)
    # 1 / rate is rounded (1 / (1 / 49) > 49); what counts is whether the smallest p-value, 1 / (n + 1), is ≤ rate.
    return next(total - 1 for total in (near - 1, near, near + 1) if total and 1 / total <= rate)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Held-out normals' scores, and the scale on which every case's map is coloured.

    Attributes:
        scores: `(n,)` ascending float64.
        map_low: map value below which a heat map shows the bare image, and above which a pixel is flagged: the 95th
            percentile of the normals' pixels, all held-out images counting alike.
        map_high: map value of the strongest colour: their 99.9th percentile.
    """

    scores: NDArray[np.float64]
    map_low: float = 0.0
    map_high: float = 1.0

    @classmethod
    def from_normals(cls, scores: ArrayLike, maps: NDArray[np.floating] | None = None) -> Calibration:
        """From the scores `(n,)` of normals that were not used for training, and their maps' pixels (any shape).

        Raises:
            UsageError: no scores at all.
            InputError: a score is not finite.
        """
        values = np.sort(finite_scores(scores))
        if not len(values):
            raise UsageError("calibration needs the scores of held-out normals, and there are none")
        if maps is None:
            return cls(values)
        low, high = np.percentile(maps, (100 * (1 - MAP_RATE), 99.9))
        return cls(values, float(low), float(high))

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def map_range(self) -> tuple[float, float]:
        """`(map_low, map_high)`."""
        return self.map_low, self.map_high

    def p_values(self, scores: ArrayLike) -> NDArray[np.float64]:
        """(1 + number of calibration scores ≥ score) / (n + 1) of each of `(N,)` scores: small is abnormal.

        Raises:
            InputError: a score is not finite.
        """
        return (1 + self._at_least(scores)) / (len(self) + 1)

    def flag(self, scores: ArrayLike, rate: float) -> NDArray[np.bool_]:
        """Whether each of `(N,)` scores has p ≤ `rate`; the same as score > `threshold(rate)`.

        Raises:
            UsageError: the rate is not between 0 and 1, or needs more normals than there are.
            InputError: a score is not finite.
        """
        return self._at_least(scores) < self._allowed(rate)

    def threshold(self, rate: float) -> float:
        """The score above which, and only above which, a case is flagged at that false-alarm rate.

        Raises:
            UsageError: as `flag`.
        """
        return float(self.scores[len(self) - self._allowed(rate)])

    def choose(self, rate: float) -> ThresholdChoice:
        """`threshold(rate)` with the record of how it was chosen."""
        return ThresholdChoice(self.threshold(rate), "false-alarm rate", rate=rate, n_normals=len(self))

    def expected_rate(self, rate: float) -> float:
        """The share of exchangeable normals flagged on average: floor(rate (n + 1)) / (n + 1), less with ties."""
        return self._allowed(rate) / (len(self) + 1)

    def rate_interval(self, rate: float, level: float = 0.95) -> tuple[float, float]:
        """Where the false-alarm rate of *this* threshold lies, for a share `level` of all such calibrations.

        With continuous scores it follows Beta(l, n + 1 − l), l = floor(rate (n + 1)): the l-th largest of n draws.

        Raises:
            UsageError: as `flag`.
        """
        from scipy.special import betaincinv

        allowed = self._allowed(rate)
        tail = (1 - level) / 2
        low, high = betaincinv(allowed, len(self) + 1 - allowed, [tail, 1 - tail])
        return float(low), float(high)

    def describe(self, rate: float) -> str:
        """The promise in one plain sentence."""
        low, high = self.rate_interval(rate)
        return (
            f"flags {100 * self.expected_rate(rate):.1f} % of normals like the {len(self)} it was calibrated on "
            f"(95 % of such calibrations lie between {100 * low:.1f} and {100 * high:.1f} %)"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible form; Python writes each float so that it reads back to the same bits."""
        return {"scores": self.scores.tolist(), "map_low": self.map_low, "map_high": self.map_high}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """The inverse of `to_dict`.

        Raises:
            UsageError: a field is missing or holds something else than finite numbers.
        """
        try:
            scores = np.asarray(values["scores"], dtype=np.float64)
            low, high = float(values["map_low"]), float(values["map_high"])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"the model's calibration is damaged ({error}); calibrate it again") from error
        if scores.ndim != 1 or not len(scores) or not np.isfinite([*scores, low, high]).all():
            raise UsageError("the model's calibration is damaged (scores must be finite numbers); calibrate it again")
        return cls(np.sort(scores), low, high)

    def _at_least(self, scores: ArrayLike) -> NDArray[np.int64]:
        return len(self) - np.searchsorted(self.scores, finite_scores(scores), side="left")

    def _allowed(self, rate: float) -> int:
        """The largest l with l / (n + 1) ≤ rate, compared as p-values are, at least 1."""
        _check_rate(rate)
        total = len(self) + 1
        # rate * total may round to either side of a whole number (0.29 * 100 < 29); the quotient decides.
        allowed = round(rate * total)
        if allowed / total > rate:
            allowed -= 1
        if not allowed:
            raise UsageError(
                f"a false-alarm rate of {rate:g} needs at least {normals_needed(rate)} held-out normals and this "
                f"calibration has {len(self)}; the smallest rate they support is {1 / total:.4g}"
            )
        return allowed


def _check_rate(rate: float) -> None:
    if not 0 < rate < 1:
        raise UsageError(f"a false-alarm rate lies between 0 and 1 (0.05 for 5 %), not {rate:g}")
