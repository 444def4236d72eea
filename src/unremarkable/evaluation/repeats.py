"""Tests over repetitions: two detectors over the same seeds, several over the same data sets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unremarkable.errors import UsageError
from unremarkable.evaluation.metrics import Floats


@dataclass(frozen=True)
class MeanSd:
    """Mean and sample standard deviation (n − 1) of n values; `sd` is None for a single one."""

    mean: float
    sd: float | None
    n: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible form."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.sd is None else f"{self.mean:.3f} ± {self.sd:.3f}"


@dataclass(frozen=True)
class PairedTests:
    """Two detectors over the same seeds: the first's values minus the second's.

    Attributes:
        difference: mean and standard deviation.
        low, high: t interval of the mean difference.
        p_t: of the paired t-test; None, as the interval, where the differences do not vary.
        p_wilcoxon: of the signed-rank test; None where every difference is zero.
        p_wilcoxon_least: the smallest p-value that this many differences can give: 0.0625 of five seeds, so that the
            test cannot reach 0.05 whatever the detectors do.
    """

    difference: MeanSd
    low: float | None
    high: float | None
    p_t: float | None
    p_wilcoxon: float | None
    p_wilcoxon_least: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible form."""
        return asdict(self)


@dataclass(frozen=True)
class RankTest:
    """Several methods over the same data sets, by their ranks (Demšar 2006); rank 1 is best.

    Attributes:
        methods: their names.
        mean_ranks: one a method.
        statistic, p_value: Friedman's chi-square with its correction for ties; None where every rank is tied. The
            chi-square is coarse below about ten data sets or five methods.
        critical_difference: mean ranks further apart than this differ by Nemenyi's test at `alpha`.
        pairs: Nemenyi's p-value of every two methods, which is adjusted for their number already.
        cliques: methods that Nemenyi's test does not tell apart, from the best rank; the bars of a critical-difference
            plot. Only the largest such sets of at least two.
        datasets: how many.
        alpha: level of the critical difference.
    """

    methods: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    statistic: float | None
    p_value: float | None
    critical_difference: float
    pairs: tuple[tuple[str, str, float], ...]
    cliques: tuple[tuple[str, ...], ...]
    datasets: int
    alpha: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-compatible form."""
        return asdict(self)


def mean_sd(values: ArrayLike) -> MeanSd:
    """Mean and sample standard deviation of `(n,)` values.

    Raises:
        UsageError: no values, or one that is not finite.
    """
    found = _finite(values, 1)
    return MeanSd(float(found.mean()), float(found.std(ddof=1)) if len(found) > 1 else None, len(found))


def paired_tests(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> PairedTests:
    """Paired t-test and Wilcoxon signed-rank test of two detectors' values `(seeds,)`, seed by seed, two-sided.

    What they can tell is whether the detectors differ over training seeds *on these cases*; cases vary too, and for
    that there are `comparison.delong` and the bootstrap.

    Raises:
        UsageError: not the same number of values, fewer than two, or one that is not finite.
    """
    one, other = _finite(first, 1), _finite(second, 1)
    if one.shape != other.shape or len(one) < 2:
        raise UsageError("paired tests need the values of both detectors for the same two seeds or more")
    from scipy.stats import t, ttest_rel, wilcoxon

    differences = one - other
    summary = mean_sd(differences)
    # Equal numbers subtract to equal differences but for rounding, which is no variation.
    moving = float(np.ptp(differences)) > 1e-12
    nonzero = differences[np.abs(differences) > 1e-12]
    low = high = p_t = None
    if moving:
        half = float(t.ppf((1 + level) / 2, len(one) - 1)) * (summary.sd or 0.0) / math.sqrt(len(one))
        low, high = summary.mean - half, summary.mean + half
        p_t = float(ttest_rel(one, other).pvalue)
    return PairedTests(
        difference=summary,
        low=low,
        high=high,
        p_t=p_t,
        p_wilcoxon=float(wilcoxon(nonzero).pvalue) if len(nonzero) else None,
        p_wilcoxon_least=2.0 ** (1 - len(nonzero)) if len(nonzero) else None,
    )


def friedman(
    table: ArrayLike, methods: Sequence[str], *, larger_is_better: bool = True, alpha: float = 0.05
) -> RankTest:
    """Friedman's test over data sets, and Nemenyi's test of every two methods (Demšar 2006, section 3.2.2).

    Args:
        table: `(datasets, methods)` of one metric.
        methods: names of the columns.
        larger_is_better: whether the largest value of a row gets rank 1; equal values share their mean rank.
        alpha: level of the critical difference.

    Raises:
        UsageError: fewer than three methods or two data sets, another number of names, or a value that is missing.
    """
    values = _finite(table, 2)
    n, k = values.shape
    if k != len(methods):
        raise UsageError(f"{len(methods)} names for {k} columns: each method needs one")
    if k < 3 or n < 2:
        raise UsageError(
            f"Friedman's test compares three methods or more over two data sets or more, not {k} over {n}; "
            "for two methods take the signed-rank test"
        )
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    ranks = rankdata(-values if larger_is_better else values, axis=1)
    mean_ranks = ranks.mean(axis=0)
    tied = (ranks == ranks[:, :1]).all()
    test = None if tied else friedmanchisquare(*ranks.T)
    error = math.sqrt(k * (k + 1) / (6 * n))
    # Nemenyi's q is that of the studentized range for infinitely many degrees of freedom, / √2.
    critical = float(studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2) * error
    pairs = tuple(
        (
            methods[i],
            methods[j],
            float(studentized_range.sf(abs(mean_ranks[i] - mean_ranks[j]) / error * math.sqrt(2), k, np.inf)),
        )
        for i, j in combinations(range(k), 2)
    )
    return RankTest(
        methods=tuple(methods),
        mean_ranks=tuple(mean_ranks.tolist()),
        statistic=None if test is None else float(test.statistic),
        p_value=None if test is None else float(test.pvalue),
        critical_difference=critical,
        pairs=pairs,
        cliques=_cliques(mean_ranks, methods, critical),
        datasets=n,
        alpha=alpha,
    )


def _cliques(mean_ranks: Floats, methods: Sequence[str], critical: float) -> tuple[tuple[str, ...], ...]:
    order = np.argsort(mean_ranks, kind="stable")
    ends = [int(np.searchsorted(mean_ranks[order], mean_ranks[i] + critical, side="right")) for i in order]
    longest = [(i, end) for i, end in enumerate(ends) if end - i > 1 and (i == 0 or ends[i - 1] < end)]
    return tuple(tuple(methods[j] for j in order[i:end]) for i, end in longest)


def _finite(values: ArrayLike, dimensions: int) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != dimensions or not found.size or not np.isfinite(found).all():
        raise UsageError("a test over repetitions needs a finite number in every cell: leave out what was not measured")
    return found
