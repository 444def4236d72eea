"""Resampling whole patients, for metrics that take weights of the cases, such as sums over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unremarkable.evaluation.bca import accelerations, find_strata
from unremarkable.evaluation.intervals import Interval, interval_of
from unremarkable.evaluation.metrics import Floats

#: replicates held at once: few enough that what is counted for them stays in the processor's cache
BLOCK = 16


def case_weights(
    groups: Sequence[str], abnormal: ArrayLike, replicates: int, seed: int, block: int = BLOCK
) -> Iterator[NDArray[np.float32]]:
    """How often each of N cases counts in each replicate, in blocks `(at most block, N)`.

    Patients are drawn with replacement, all their cases with them: normal and abnormal ones apart where no patient has
    cases of both, else all together. The same for any order of the cases.

    Args:
        groups: `(N,)`, the patient of each case.
        abnormal: `(N,)`, whether a case is.
        replicates: resamples in all.
        seed: of the drawing.
        block: resamples that are held at once.
    """
    cluster = np.unique(np.asarray(groups), return_inverse=True)[1]
    strata = find_strata(cluster, np.asarray(abnormal, dtype=bool))
    generators = np.random.default_rng(seed).spawn(len(strata))
    for start in range(0, replicates, block):
        rows = min(block, replicates - start)
        counts = np.zeros((rows, int(cluster.max()) + 1), np.float32)
        for rng, members in zip(generators, strata, strict=True):
            drawn = members[rng.integers(len(members), size=(rows, len(members)))]
            np.add.at(counts, (np.arange(rows)[:, None], drawn), 1)
        yield counts[:, cluster]


def patient_intervals(
    metrics: Callable[[NDArray[np.floating]], dict[str, Floats]],
    groups: Sequence[str],
    abnormal: ArrayLike,
    *,
    replicates: int,
    seed: int,
    level: float,
    undefined: Mapping[str, str],
    otherwise: str = "",
    values: Mapping[str, float] | None = None,
) -> dict[str, Interval]:
    """Each metric with its BCa interval over patients.

    Args:
        metrics: takes weights `(B, N)` of the cases, and gives each metric `(B,)`, NaN where undefined.
        groups: `(N,)`, the patient of each case.
        abnormal: `(N,)`, whether a case is.
        replicates: resamples; 0 for values without intervals.
        seed: of the drawing.
        level: how often the interval of a new sample should hold the truth.
        undefined: why a metric is undefined, where it is.
        otherwise: the same for metrics that are not in `undefined`.
        values: the metrics in the sample, where they are known more exactly than `metrics` has them.
    """
    centres = {name: float(found[0]) for name, found in metrics(np.ones((1, len(groups)), np.float32)).items()}
    parts: dict[str, list[Floats]] = {name: [np.empty(0)] for name in centres}
    for weights in case_weights(groups, abnormal, replicates, seed):
        for name, found in metrics(weights).items():
            parts[name].append(found)
    cluster = np.unique(np.asarray(groups), return_inverse=True)[1]
    strata = find_strata(cluster, np.asarray(abnormal, dtype=bool))
    skewness = accelerations(metrics, cluster, strata, seed, BLOCK) if replicates else {}
    return {
        name: interval_of(
            float((values or centres)[name]),
            np.concatenate(parts[name]),
            skewness.get(name, 0.0),
            level,
            undefined=undefined.get(name, otherwise),
            centre=centre,
        )
        for name, centre in centres.items()
    }
