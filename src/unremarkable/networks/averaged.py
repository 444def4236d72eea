"""A network whose weights are a running mean of another's."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

_Network = TypeVar("_Network", bound=nn.Module)


def averaged(network: _Network) -> _Network:
    """A copy whose weights are buffers: saved with the rest and moved by `follow`, but by no optimiser."""
    average = copy.deepcopy(network)
    for module in average.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach())
    return average


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Each weight of `average` becomes `decay` times itself and the rest the weight of `network`.

    Buffers, such as batch normalisation's statistics, become those of `network`.
    """
    weights, others = dict(network.named_parameters()), dict(network.named_buffers())
    for name, kept in average.named_buffers():
        if name in weights:
            kept.lerp_(weights[name], 1 - decay)
        else:
            kept.copy_(others[name])


def early_decay(decay: float, step: int) -> float:
    """A smaller decay after so few steps that the average would otherwise be the weights that training began with."""
    return min(decay, (1 + step) / (10 + step))
