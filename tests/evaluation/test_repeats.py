from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from unremarkable.errors import UsageError
from unremarkable.evaluation.repeats import friedman, mean_sd, paired_tests


def test_friedman_is_that_of_scipy_and_ties_share_their_rank() -> None:
    table = np.round(np.random.default_rng(1).random((14, 4)), 1)
    table[0] = [0.9, 0.7, 0.9, 0.8]
    found = friedman(table, list("abcd"))
    expected = stats.friedmanchisquare(*table.T)
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    assert sum(found.mean_ranks) == pytest.approx(10)
    alone = friedman(np.vstack([table[:1]] * 2), list("abcd"))
    assert alone.mean_ranks == (1.5, 4, 1.5, 3)
    # The worked example of Demšar (2006), section 3.2.4, has four methods over 14 data sets as well.
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("methods", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)]
)
def test_critical_values_are_those_of_the_published_table(methods: int, q: float) -> None:
    table = np.random.default_rng(0).random((12, methods))
    found = friedman(table, [str(i) for i in range(methods)])
    assert found.critical_difference == pytest.approx(q * (methods * (methods + 1) / 72) ** 0.5, rel=5e-4)
    for first, second, p in found.pairs:
        apart = abs(found.mean_ranks[int(first)] - found.mean_ranks[int(second)])
        assert (p < 0.05) == (apart > found.critical_difference)


def test_cliques_and_the_direction_of_ranks() -> None:
    table = np.arange(5.0) + np.zeros((30, 1))
    found = friedman(table, list("abcde"))
    assert found.mean_ranks == (5, 4, 3, 2, 1)
    assert found.critical_difference == pytest.approx(1.114, abs=0.001)
    assert found.cliques == (("e", "d"), ("d", "c"), ("c", "b"), ("b", "a"))
    assert friedman(table, list("abcde"), larger_is_better=False).mean_ranks == (1, 2, 3, 4, 5)
    assert friedman(np.arange(5.0) + np.zeros((200, 1)), list("abcde")).cliques == ()


def test_methods_that_are_equal_everywhere() -> None:
    found = friedman(np.ones((4, 3)), list("abc"))
    assert (found.statistic, found.p_value) == (None, None)
    assert found.mean_ranks == (2, 2, 2)
    assert found.cliques == (("a", "b", "c"),)
    assert all(p == pytest.approx(1) for _, _, p in found.pairs)


def test_paired_tests_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.9, 0.02, 8), rng.normal(0.88, 0.02, 8)
    found = paired_tests(first, second)
    expected = stats.ttest_rel(first, second)
    bounds = expected.confidence_interval()
    assert found.p_t == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((bounds.low, bounds.high))
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert found.p_wilcoxon_least == 2**-7
    assert found.difference == mean_sd(first - second)
    assert mean_sd(first).sd == pytest.approx(np.std(first, ddof=1))


def test_five_seeds_cannot_reach_five_percent_with_the_signed_rank_test() -> None:
    found = paired_tests(np.arange(5) + 0.9, np.zeros(5))
    assert found.p_wilcoxon == found.p_wilcoxon_least == 0.0625


def test_differences_that_do_not_vary() -> None:
    equal = paired_tests([0.9, 0.8, 0.7], [0.9, 0.8, 0.7])
    assert (equal.p_t, equal.p_wilcoxon, equal.low) == (None, None, None)
    shifted = paired_tests([0.9, 0.8, 0.7], [0.8, 0.7, 0.6])
    assert shifted.p_t is None
    assert shifted.p_wilcoxon == pytest.approx(0.25)
    one_zero = paired_tests([0.9, 0.8, 0.7], [0.9, 0.6, 0.6])
    assert one_zero.p_wilcoxon_least == 0.5
    json.dumps(equal.to_dict(), allow_nan=False)


def test_mean_and_standard_deviation_as_text() -> None:
    assert str(mean_sd([0.9, 0.92, 0.94])) == "0.920 ± 0.020"
    assert str(mean_sd([0.9])) == "0.900"
    assert mean_sd([0.9]).sd is None


def test_refusals() -> None:
    for bad in ([], [np.nan], [[1.0]]):
        with pytest.raises(UsageError, match="finite number"):
            mean_sd(bad)
    with pytest.raises(UsageError, match="same two seeds"):
        paired_tests([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(UsageError, match="three methods"):
        friedman(np.ones((5, 2)), ["a", "b"])
    with pytest.raises(UsageError, match="2 names for 3"):
        friedman(np.ones((5, 3)), ["a", "b"])
    with pytest.raises(UsageError, match="leave out"):
        friedman([[1.0, np.nan, 2.0]] * 3, list("abc"))
