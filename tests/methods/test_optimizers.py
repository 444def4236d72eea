"""StableAdamW against numpy, clipping and the warm cosine against numbers worked out by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from unremarkable.methods.optimizers import StableAdamW, clipped, dcgan_adam, warm_cosine


def test_stable_adamw_in_numpy() -> None:
    """Algorithm 2 of Wortsman et al. with the largest v so far, on gradients that jump, fall and vanish."""
    lr, decay, eps, b1, b2 = 0.1, 0.01, 1e-10, 0.9, 0.999
    rng = np.random.default_rng(0)
    x = rng.normal(size=5)
    parameter = torch.nn.Parameter(torch.from_numpy(x.copy()))
    optimizer = StableAdamW([parameter], lr=lr, eps=eps, weight_decay=decay)
    m, v, largest = np.zeros(5), np.zeros(5), np.zeros(5)
    for t, size in enumerate((1.0, 50.0, 0.0, 1e-3, 2.0), start=1):
        g = size * rng.normal(size=5)
        parameter.grad = torch.from_numpy(g.copy())
        optimizer.step()
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        largest = np.maximum(largest, v)
        root = np.sqrt(largest / (1 - b2**t)) + eps
        rate = lr / max(1.0, np.sqrt(np.mean((g / root) ** 2)))
        x = x - lr * decay * x - rate * (m / (1 - b1**t)) / root
        np.testing.assert_allclose(parameter.detach(), x, rtol=1e-10)


def test_stable_adamw_is_adamw_while_gradients_stay_the_same() -> None:
    """Then RMS is 1 and the largest v is the present one."""
    start = torch.randn(4, dtype=torch.float64)
    pair = [torch.nn.Parameter(start.clone()) for _ in range(2)]
    both = [StableAdamW([pair[0]], lr=0.1, weight_decay=0.1), AdamW([pair[1]], lr=0.1, weight_decay=0.1)]
    for _ in range(3):
        for parameter, optimizer in zip(pair, both, strict=True):
            parameter.grad = torch.full((4,), 0.3, dtype=torch.float64)
            optimizer.step()
    torch.testing.assert_close(pair[0], pair[1])


def test_stable_adamw_goes_on_from_its_state() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = StableAdamW([parameter])
    parameter.grad = torch.tensor([1.0, -2.0, 0.5])
    optimizer.step()
    other = torch.nn.Parameter(parameter.detach().clone())
    again = StableAdamW([other])
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for p, o in ((parameter, optimizer), (other, again)):
        p.grad = torch.tensor([3.0, 1.0, 1.0])
        o.step()
    assert torch.equal(parameter, other)


def test_gradients_are_clipped_together() -> None:
    """Norm 5 over two tensors, brought to 1; a smaller one is left alone."""
    a, b = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimizer = clipped(SGD([{"params": [a]}, {"params": [b]}], lr=1.0), 1.0)
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])
    optimizer.step()
    assert [a.item(), b.item()] == pytest.approx([-0.6, -0.8], rel=1e-5)
    a.grad, b.grad = torch.tensor([0.3]), torch.tensor([0.4])
    optimizer.step()
    assert [a.item(), b.item()] == pytest.approx([-0.9, -1.2], rel=1e-5)


def test_dcgan_adam_holds_each_network_on_its_own() -> None:
    networks = {"generator": nn.Linear(2, 3), "discriminator": nn.Linear(3, 1)}
    for beta1, optimizers in ((0.5, dcgan_adam(networks, 2e-4)), (0.3, dcgan_adam(networks, 2e-4, 0.3))):
        assert list(optimizers) == ["generator", "discriminator"]
        for name, optimizer in optimizers.items():
            assert isinstance(optimizer, Adam)
            (group,) = optimizer.param_groups
            assert (group["lr"], group["betas"]) == (2e-4, (beta1, 0.999))
            assert {id(p) for p in group["params"]} == {id(p) for p in networks[name].parameters()}


def test_the_rate_rises_and_falls() -> None:
    """1,100 steps, 100 of them up: half of the fall at 600, and a tenth at the end."""
    rates = {step: warm_cosine(step, 1100, 100, 0.1) for step in (0, 49, 99, 100, 600, 1100, 2000)}
    assert rates == pytest.approx({0: 0.01, 49: 0.5, 99: 1.0, 100: 1.0, 600: 0.55, 1100: 0.1, 2000: 0.1})
    assert warm_cosine(0, 20, 100, 0.1) == 0.5  # two steps up
    assert warm_cosine(0, 1, 100, 0.1) == 1.0
