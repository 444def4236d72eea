"""Running means of weights."""

from __future__ import annotations

import torch
from torch import nn

from unremarkable.networks.averaged import averaged, early_decay, follow
from unremarkable.networks.spectral import normalise_spectrally


def test_the_copy_computes_the_same_and_has_no_parameters() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4, 2))
    average, x = averaged(network), torch.rand(2, 1, 3, 3)
    assert torch.equal(average(x), network(x))
    assert not list(average.parameters())
    assert average.state_dict().keys() == network.state_dict().keys()
    assert not average(x).requires_grad


def test_it_follows_by_the_decay() -> None:
    network = nn.Linear(1, 1)
    average = averaged(network)
    with torch.no_grad():
        network.weight.fill_(1.0)
        average.weight.fill_(0.0)
    for expected in (0.25, 0.4375):  # 0.75 * 0.25 + 0.25
        follow(average, network, 0.75)
        assert average.weight.item() == expected
    assert network.weight.item() == 1


def test_buffers_are_the_network_s_own() -> None:
    network = nn.BatchNorm1d(2)
    average = averaged(network)
    network.train()(torch.rand(4, 2))
    assert not torch.equal(average.running_mean, network.running_mean)
    follow(average, network, 0.75)
    assert torch.equal(average.running_mean, network.running_mean)
    assert average.num_batches_tracked == 1


def test_a_copy_under_spectral_normalisation_follows_too() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2))
    normalise_spectrally(network)
    average, x = averaged(network), torch.rand(4, 3)
    with torch.no_grad():
        network[0].bias.fill_(1.0)
        network(x)  # moves the singular vectors
    follow(average, network, 0.0)
    assert not list(average.parameters())
    torch.testing.assert_close(average.eval()(x), network.eval()(x))


def test_gradients_reach_the_inputs_alone() -> None:
    average, x = averaged(nn.Linear(2, 1)), torch.rand(1, 2, requires_grad=True)
    average(x).sum().backward()
    torch.testing.assert_close(x.grad, average.weight)


def test_early_averages_forget_sooner() -> None:
    assert early_decay(0.999, 0) == 0.1
    assert early_decay(0.999, 2) == 0.25
    assert early_decay(0.999, 10**6) == 0.999
