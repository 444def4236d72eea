"""What every score and label must be before anything is computed from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.errors import InputError, UsageError


def finite_scores(scores: ArrayLike, names: Sequence[str] | None = None) -> NDArray[np.float64]:
    """`(N,)` scores as float64.

    Raises:
        InputError: a score is NaN or infinite; names the first such case (its path from `names`, else its position).
    """
    values = np.atleast_1d(np.asarray(scores, dtype=np.float64))
    if values.ndim != 1:
        raise UsageError(f"anomaly scores are one number per case, not an array of shape {values.shape}")
    if names is not None and len(names) != len(values):
        raise UsageError(f"{len(values)} scores for {len(names)} cases")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        first = int(bad[0])
        others = f" (and of {bad.size - 1} other cases)" if bad.size > 1 else ""
        raise InputError(
            names[first] if names is not None else f"case {first}",
            f"the anomaly score is {values[first]}, not a finite number{others}",
        )
    return values


def binary_labels(labels: ArrayLike, count: int) -> NDArray[np.bool_]:
    """`(count,)` labels 0 normal, 1 abnormal as booleans.

    Raises:
        UsageError: another number of labels, or a label that is neither 0 nor 1.
    """
    values = np.atleast_1d(np.asarray(labels))
    if values.shape != (count,):
        raise UsageError(f"{count} scores and {values.size} labels: each case needs one of each")
    if values.dtype == object or not np.isin(values, (0, 1)).all():
        raise UsageError("labels are 0 (normal) or 1 (abnormal); leave out cases without a label")
    return values.astype(bool)
