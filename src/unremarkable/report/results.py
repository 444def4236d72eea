"""What a page can be about besides an `Evaluation`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unremarkable.scoring.thresholds import ThresholdChoice


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """Scores of cases whose labels are not known: `(N,)` each, `flagged` and `p_values` None where there are none."""

    scores: NDArray[np.float64]
    p_values: NDArray[np.float64] | None
    flagged: NDArray[np.bool_] | None
    threshold: ThresholdChoice | None
