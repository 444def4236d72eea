"""What tests of methods with several optimisers hand to a step in place of the loop's `Update`."""

from __future__ import annotations

import torch
from torch import Tensor

from unremarkable.methods.base import Method


class Watcher:
    """An `Update` of the first phase that moves, where `move` says so, and notes for each optimiser what it did.

    Attributes:
        order: the optimisers, as they were called.
        losses: what each was given.
        gradients: what its backward pass left, by weight.
        weights: names of the weights that its step moved.
        moved: the networks that these belong to, by the first part of their names.
    """

    def __init__(self, method: Method, *, move: bool = True) -> None:
        self.method, self.move, self.step = method, move, 0
        self.optimizers = method.phases()[0].optimizers()
        self.order: list[str] = []
        self.losses: dict[str, float] = {}
        self.gradients: dict[str, dict[str, Tensor]] = {}
        self.weights: dict[str, set[str]] = {}
        self.moved: dict[str, set[str]] = {}

    def __call__(self, optimizer: str, loss: Tensor) -> None:
        self.order.append(optimizer)
        self.losses[optimizer] = float(loss.detach())
        self.method.zero_grad()
        loss.backward()
        named = dict(self.method.named_parameters())
        self.gradients[optimizer] = {k: p.grad.clone() for k, p in named.items() if p.grad is not None}
        before = {key: p.detach().clone() for key, p in named.items()}
        if self.move:
            self.optimizers[optimizer].step()
        self.weights[optimizer] = {key for key, p in named.items() if not torch.equal(p, before[key])}
        self.moved[optimizer] = {key.split(".")[0] for key in self.weights[optimizer]}
