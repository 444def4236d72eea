"""p-values by references, and their combinations, against numbers from the definitions and against scipy."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import scipy.stats
import torch

from unremarkable.methods.combining import Combination, Scale, combine

HOWS = get_args(Combination)


def scale(*references: float) -> Scale:
    made = Scale()
    made.fit(torch.tensor(references))
    return made


def p_of(made: Scale, *values: float) -> list[float]:
    return made(torch.tensor(values)).exp().tolist()


def test_at_a_reference_and_between_two() -> None:
    made = scale(3.0, 1.0, 2.0, 6.0)  # n = 4: at the j-th smallest p = (5 - j) / 5
    assert p_of(made, 1, 2, 3, 6) == pytest.approx([4 / 5, 3 / 5, 2 / 5, 1 / 5])
    assert p_of(made, 1.5, 4.5, 3.75) == pytest.approx([0.7, 0.3, 0.35])


def test_tails_are_exponential_with_the_mean_excess_as_scale() -> None:
    made = scale(1.0, 2.0, 3.0, 6.0)
    # The count in the tail is the whole sample but one: excesses over the smallest are 1, 2 and 5, mean 8 / 3; what the
    # three smallest lack to the largest is 5, 4 and 3, mean 4.
    assert p_of(made, 6 + 8 / 3) == pytest.approx([math.exp(-1) / 5])
    assert p_of(made, -3.0) == pytest.approx([1 - math.exp(-1) / 5])
    assert made(torch.tensor([6 + 8000.0])).item() == pytest.approx(-3000 - math.log(5))


def test_of_many_references_the_largest_tenth_makes_the_tail() -> None:
    made = scale(*range(200))
    # Excesses of 180..199 over 179: 1 to 20, mean 10.5.
    assert p_of(made, 199 + 10.5) == pytest.approx([math.exp(-1) / 201], rel=1e-5)


def test_never_more_than_one_step_from_the_conformal_p_value() -> None:
    rng = np.random.default_rng(0)
    references, values = rng.gamma(2, size=30), rng.gamma(2, size=500)
    conformal = (1 + (references[None] >= values[:, None]).sum(1)) / 31
    made = scale(*references)
    p = np.array(p_of(made, *values))
    inside = values <= references.max()
    assert (conformal[inside] - p[inside] >= -1e-6).all()
    assert (conformal[inside] - p[inside] <= 1 / 31 + 1e-6).all()
    assert (p[~inside] < 1 / 31).all()


def test_no_two_values_tie() -> None:
    made = scale(*np.random.default_rng(0).normal(size=5))
    log_p = made(torch.linspace(-6, 60, 2000))
    assert (log_p.diff() < 0).all()


def test_references_that_tie_and_references_that_are_all_alike() -> None:
    tied = scale(0.0, 0.0, 0.0, 1.0)
    assert p_of(tied, 0.0, 1.0) == pytest.approx([4 / 5, 1 / 5])  # 1 to 4 normals of 4 are at or above 0
    assert p_of(tied, 0.5) == pytest.approx([0.3])
    alike = scale(*[2.0] * 20)
    log_p = alike(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert log_p.isfinite().all()
    assert (log_p.diff() < 0).all()


def test_quantiles_stand_for_many_references() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(size=100_000)).float()
    few = Scale()
    few.fit(values, most=999)
    assert len(few.references) == 999
    assert few.references[[99, 499, 899]].tolist() == pytest.approx(
        values.quantile(torch.tensor([0.1, 0.5, 0.9])), abs=1e-3
    )
    assert p_of(few, 1.0, 2.0) == pytest.approx(scipy.stats.norm.sf([1, 2]), abs=4e-3)


@pytest.mark.parametrize(("how", "theirs"), [("fisher", "fisher"), ("minimum", "tippett"), ("z", "stouffer")])
def test_combinations_are_those_of_scipy(how: Combination, theirs: str) -> None:
    rng = np.random.default_rng(0)
    for members in (1, 2, 3, 7):
        p = 10 ** rng.uniform(-9, -0.01, (members, 50))
        expected = [scipy.stats.combine_pvalues(column, method=theirs).pvalue for column in p.T]
        np.testing.assert_allclose(combine(torch.tensor(np.log(p)), how), np.log(expected), rtol=1e-9, atol=1e-12)
        single = combine(torch.tensor(np.log(p)).float(), how)
        np.testing.assert_allclose(single, np.log(expected), rtol=1e-4, atol=1e-5)


def test_by_hand() -> None:
    p = torch.tensor([[0.1], [0.25]], dtype=torch.float64)
    combined = {how: combine(p.log(), how).exp().item() for how in HOWS}
    # Fisher: x = -2 ln 0.025; P(chi2_4 >= x) = exp(-x / 2) (1 + x / 2) = 0.025 (1 + 3.688879) = 0.117222
    assert combined["fisher"] == pytest.approx(0.11722199, abs=1e-8)
    # Cauchy: cot(0.1 pi) = 3.0776835, cot(0.25 pi) = 1; mean 2.0388418; 1/2 - arctan(2.0388418) / pi = 0.1451985
    assert combined["cauchy"] == pytest.approx(0.5 - math.atan(2.03884177) / math.pi, abs=1e-8)
    # Tippett: 1 - 0.9^2
    assert combined["minimum"] == pytest.approx(0.19)
    # Stouffer: (1.2815516 + 0.6744898) / sqrt 2 = 1.3831302; P(Z >= that) = 0.083314
    assert combined["z"] == pytest.approx(scipy.stats.norm.sf((1.2815515655 + 0.6744897502) / math.sqrt(2)), abs=1e-9)


@pytest.mark.parametrize("how", HOWS)
def test_one_member_keeps_its_p_value(how: Combination) -> None:
    log_p = torch.tensor([[-1e-3, -0.7, -5.0, -29.0, -31.0, -2000.0]])
    np.testing.assert_allclose(combine(log_p, how), log_p[0], rtol=1e-4)


@pytest.mark.parametrize("how", HOWS)
def test_far_beyond_the_smallest_float_the_order_is_kept(how: Combination) -> None:
    first = torch.cat([torch.linspace(-0.01, -60, 400), -torch.logspace(2, 5, 50)])
    combined = combine(torch.stack([first, torch.full_like(first, -0.4)]), how)
    assert combined.isfinite().all()
    assert (combined <= 0).all()
    steps = combined.diff()
    assert (steps <= 0).all()
    # A member that says less than the other does not move the minimum; nothing else stands still.
    assert (steps < 0)[first[1:] < -0.5].all()


def test_the_deep_tail_by_hand() -> None:
    log_p = torch.tensor([[-400.0], [-400.0], [-1.0]], dtype=torch.float64)
    # Harmonic mean: 3 / (2 e^400 + ...); Tippett: 3 p
    assert combine(log_p, "cauchy").item() == pytest.approx(math.log(1.5) - 400)
    assert combine(log_p, "minimum").item() == pytest.approx(math.log(3) - 400)
    # exp(-801) (1 + 801 + 801^2 / 2)
    assert combine(log_p, "fisher").item() == pytest.approx(-801 + math.log(1 + 801 + 801**2 / 2))
    # Two deviates whose tail is e^-400, found by scipy, and that of e^-1.
    z = (2 * _deviate(-400.0) + scipy.stats.norm.isf(math.exp(-1))) / math.sqrt(3)
    assert combine(log_p, "z").item() == pytest.approx(scipy.stats.norm.logsf(z))


def _deviate(log_p: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(lambda z: scipy.stats.norm.logsf(z) - log_p, 0, 100, xtol=1e-12))
