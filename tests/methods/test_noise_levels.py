"""Noise levels and the way back, against the equations of Ho et al. and Song et al."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unremarkable.methods.noise_levels import kept_shares, mix, step_down, stops


def test_kept_shares() -> None:
    expected, product = [1.0], 1.0
    for t in range(1000):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * t / 999)
        expected.append(product)
    np.testing.assert_allclose(kept_shares().numpy(), expected, rtol=1e-5)


def test_mixture_by_hand() -> None:
    assert mix(torch.tensor(0.5), torch.tensor(2.0), torch.tensor(0.64)).item() == pytest.approx(0.8 * 0.5 + 0.6 * 2)


@pytest.mark.parametrize(("start", "calls"), [(250, 250), (250, 25), (250, 10), (7, 3), (1, 1)])
def test_stops_fall_evenly_to_0(start: int, calls: int) -> None:
    levels = stops(start, calls)
    assert (levels[0], levels[-1], len(levels)) == (start, 0, calls + 1)
    steps = -np.diff(levels)
    assert steps.min() >= 1
    assert steps.max() - steps.min() <= 1


def test_the_true_noise_leads_to_the_same_mixture_at_a_lower_level() -> None:
    """Whatever the noise, Gaussian or not."""
    kept, generator = kept_shares(), torch.Generator().manual_seed(0)
    image = 2 * torch.rand(1, 1, 6, 6, generator=generator) - 1
    noise = torch.rand(1, 1, 6, 6, generator=generator).round()
    lower = step_down(mix(image, noise, kept[250]), noise, kept[250], kept[120])
    torch.testing.assert_close(lower, mix(image, noise, kept[120]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(step_down(lower, noise, kept[120], kept[0]), image, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("t", [2, 100, 250])
def test_a_full_step_with_fresh_noise_is_the_posterior_of_ho(t: int) -> None:
    kept, generator = kept_shares(), torch.Generator().manual_seed(t)
    noisy, estimate, fresh = torch.randn(3, 40, generator=generator)
    ours = step_down(noisy, estimate, kept[t], kept[t - 1], 1.0, fresh)
    now, then = (kept[level].double().item() for level in (t, t - 1))
    beta = 1 - now / then
    image = np.clip((noisy - (1 - now) ** 0.5 * estimate) / now**0.5, -1, 1)
    mean = then**0.5 * beta / (1 - now) * image + (now / then) ** 0.5 * (1 - then) / (1 - now) * noisy
    variance = (1 - then) / (1 - now) * beta
    np.testing.assert_allclose(ours.numpy(), mean + variance**0.5 * fresh.numpy(), rtol=1e-3, atol=1e-3)


def test_an_estimate_out_of_range_is_clipped_and_the_noise_follows() -> None:
    noisy, estimate, kept, then = 2.0, -1.0, 0.64, 0.81
    assert (noisy - 0.6 * estimate) / 0.8 > 1
    noise = (noisy - 0.8 * 1) / 0.6
    expected = 0.9 * 1 + (1 - 0.81) ** 0.5 * noise
    ours = step_down(*(torch.tensor(value) for value in (noisy, estimate, kept, then)))
    assert ours.item() == pytest.approx(expected)


def test_the_last_step_gives_the_image_and_draws_nothing() -> None:
    kept = kept_shares()
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    last = step_down(x, 0 * x, kept[3], kept[0], 1.0, torch.full_like(x, 1e3))
    torch.testing.assert_close(last, (x / kept[3].sqrt()).clamp(-1, 1))
