"""One scale for the scores of several detectors, and the classical ways to combine p-values.

Everything is in natural logarithms of p-values, so that a score far beyond every normal keeps its order: a p-value of
1e-400 is a zero, its logarithm is not.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Combination = Literal["fisher", "cauchy", "minimum", "z"]

#: the tail of the references is fitted to a tenth of them, and to so many at least
_TAIL_SHARE, _TAIL_LEAST = 10, 10
#: below this log p-value float32's own functions give way to their limits, which are then exact to its precision
_DEEP = -30.0
#: p-values count as at most this, where 1 itself would outweigh every other member ("cauchy", "z")
_MOST = 1 - 1e-6


class Scale(nn.Module):
    """p-values of values among the values `(n,)` of reference normals: p = P(a normal's value is at least this one).

    A conformal p-value, (1 + #{references >= value}) / (n + 1), is a step function: it ties all values between two
    references, and all values beyond the last. This one is the continuous curve through its lower corners:

    - at the j-th smallest reference p = (n + 1 - j) / (n + 1), which is the expectation of the true probability there
      for any continuous distribution (Weibull 1939), and the conformal p-value of every value just above it;
    - between references p is linear in the value, and at most 1 / (n + 1) below the conformal one;
    - beyond the largest p = exp(-(value - largest) / b) / (n + 1), below the smallest the same is taken from 1. The
      scale b is the mean excess of the largest (smallest) tenth of the references, ten at least, over the next one:
      the maximum likelihood of an exponential tail. A generalised Pareto tail has one parameter more, which a few
      dozen references do not settle, and where it comes out negative all values beyond an end point tie again.
    """

    references: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("references", torch.empty(0))

    def fit(self, values: Tensor, most: int | None = None) -> None:
        """Keep the reference values `(n,)`, n >= 2; of more than `most` evenly spaced quantiles."""
        values = values.float().sort().values
        if most is not None and len(values) > most:
            share = torch.arange(1, most + 1, device=values.device, dtype=torch.float64) / (most + 1)
            values = values[(share * (len(values) + 1)).round().long() - 1]
        self.references = values

    def forward(self, values: Tensor) -> Tensor:
        """Log p of values of any shape; strictly decreasing in the value, as far as float32 tells values apart."""
        known, n = self.references, len(self.references)
        low, high = self._tails()
        smaller = torch.searchsorted(known, values.contiguous())
        left, right = known[(smaller - 1).clamp_min(0)], known[smaller.clamp_max(n - 1)]
        between = ((values - left) / (right - left).clamp_min(torch.finfo(known.dtype).tiny)).clamp(0, 1)
        share = torch.where(smaller == 0, torch.exp((values - known[0]).clamp_max(0) / low), between)
        # Two forms of one number: each loses digits where the other keeps them.
        p, rest = (n - smaller + (1 - share)) / (n + 1), (smaller + share) / (n + 1)
        inside = torch.where(p > 0.5, torch.log1p(-rest), torch.log(p))
        beyond = (known[-1] - values) / high - math.log(n + 1)
        return torch.where(smaller == n, beyond, inside)

    def _tails(self) -> tuple[Tensor, Tensor]:
        """Scales of the lower and the upper tail; a floor keeps references that are all alike from giving zero."""
        known = self.references
        count = min(max(_TAIL_LEAST, len(known) // _TAIL_SHARE), len(known) - 1)
        floor = (1e-6 * known.abs().max()).clamp_min(1e-12)
        low = (known[count] - known[:count]).mean()
        high = (known[-count:] - known[-count - 1]).mean()
        return torch.maximum(low, floor), torch.maximum(high, floor)


def combine(log_p: Tensor, how: Combination) -> Tensor:
    """Log of the combined p-value `(...)` of the log p-values `(M, ...)` of M members.

    It is a p-value where the members' are uniform and, but for "cauchy", independent; the members of an ensemble are
    not, and the combined value serves as a score that is calibrated again.

    Args:
        how: "fisher": -2 sum log p has a chi-squared distribution of 2M degrees of freedom (Fisher 1932).
            "cauchy": the mean of tan((1/2 - p) pi) has a standard Cauchy distribution, nearly so in the tail for
            dependent members too (Liu and Xie 2020).
            "minimum": P(the smallest <= p) = 1 - (1 - p)^M (Tippett 1931).
            "z": sum z / sqrt(M), z the normal deviate of 1 - p, is standard normal (Stouffer 1949): the mean of z.
    """
    return _COMBINATIONS[how](log_p)


def _fisher(log_p: Tensor) -> Tensor:
    half = -log_p.sum(dim=0)
    # The survival function of chi-squared with 2M degrees of freedom: exp(-x / 2) sum_k<M (x / 2)^k / k!
    k = torch.arange(len(log_p), device=log_p.device, dtype=log_p.dtype).view(-1, *[1] * half.ndim)
    terms = torch.xlogy(k, half) - torch.lgamma(k + 1)
    return (torch.logsumexp(terms, dim=0) - half).clamp_max(0)


def _cauchy(log_p: Tensor) -> Tensor:
    p = log_p.exp().clamp_max(_MOST)
    statistic = (1 / torch.tan(torch.pi * p.clamp_min(math.exp(_DEEP)))).mean(dim=0)
    usual = torch.log(torch.atan2(torch.ones_like(statistic), statistic) / torch.pi)
    # Where one p is so small, cot(pi p) is 1 / (pi p), and so is the tail of the distribution: a harmonic mean.
    deep = math.log(len(log_p)) - torch.logsumexp(-log_p, dim=0)
    return torch.where(log_p.amin(dim=0) < _DEEP, deep, usual)


def _minimum(log_p: Tensor) -> Tensor:
    least = log_p.amin(dim=0)
    usual = torch.log(-torch.expm1(len(log_p) * torch.log1p(-least.exp())))
    return torch.where(least < _DEEP, least + math.log(len(log_p)), usual)


def _mean_z(log_p: Tensor) -> Tensor:
    return torch.special.log_ndtr(-_deviates(log_p).sum(dim=0) / math.sqrt(len(log_p)))


def _deviates(log_p: Tensor) -> Tensor:
    """Z with P(Z >= z) = p."""
    usual = -torch.special.ndtri(log_p.exp().clamp(math.exp(_DEEP), _MOST))
    # Beyond, z^2 / 2 + log z + log sqrt(2 pi) = -log p to first order; Newton's steps do the rest.
    twice = -2 * log_p.clamp_max(_DEEP)
    z = (twice - torch.log(2 * torch.pi * twice)).sqrt()
    for _ in range(3):
        error = torch.special.log_ndtr(-z) - log_p.clamp_max(_DEEP)
        z = z + error / (z + 1 / z)  # the hazard of the normal tail, to first order
    return torch.where(log_p < _DEEP, z, usual)


_COMBINATIONS = {"fisher": _fisher, "cauchy": _cauchy, "minimum": _minimum, "z": _mean_z}
