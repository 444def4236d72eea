"""What torch's optimisers lack and papers use: StableAdamW, gradients clipped before a step, DCGAN's Adam."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam, Optimizer


class StableAdamW(Optimizer):
    """AdamW whose step shrinks where gradients are larger than their running variance says, here with AMSGrad.

    Wortsman et al., "Stable and low-precision training for large-scale vision-language models", NeurIPS 2023,
    algorithm 2: each tensor's rate is divided by max(1, RMS), RMS² being the mean of g² / v over the tensor. AMSGrad
    (Reddi, Kale and Kumar, ICLR 2018) puts the largest v so far for v, as Dinomaly trains.

    Args:
        parameters: tensors, or groups of them.
        lr: learning rate.
        betas: decay of the running means of the gradient and of its square.
        eps: added to the root of v.
        weight_decay: decoupled, times the learning rate, before the step.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; `closure`, where given, computes the loss anew and is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            for name in ("mean", "square", "largest"):
                state[name] = torch.zeros_like(parameter)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        state["mean"].lerp_(grad, 1 - beta1)
        state["square"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        torch.maximum(state["largest"], state["square"], out=state["largest"])
        root = (state["largest"] / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
        rms = (grad / root).square().mean().sqrt()
        rate = group["lr"] / rms.clamp_min(1.0)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.sub_(rate / (1 - beta1 ** state["step"]) * state["mean"] / root)


def dcgan_adam(networks: Mapping[str, nn.Module], lr: float, beta1: float = 0.5) -> dict[str, Optimizer]:
    """An Adam for each of these networks, by name, with decays as in DCGAN (Radford et al., ICLR 2016)."""
    return {name: Adam(one.parameters(), lr=lr, betas=(beta1, 0.999), fused=True) for name, one in networks.items()}


def clipped(optimizer: Optimizer, norm: float) -> Optimizer:
    """The same optimiser, which from now on scales its gradients down to this total norm before each step."""

    def clip(itself: Optimizer, *_: Any) -> None:
        clip_grad_norm_((p for group in itself.param_groups for p in group["params"]), norm)

    optimizer.register_step_pre_hook(clip)
    return optimizer


def warm_cosine(step: int, steps: int, warm_up: int, end: float) -> float:
    """Factor of a learning rate that rises to 1 over `warm_up` steps and falls as a cosine to `end` at `steps`.

    Of runs shorter than ten times `warm_up`, the first tenth warms up.
    """
    warm_up = min(warm_up, steps // 10)
    if step < warm_up:
        return (step + 1) / warm_up
    share = min(1.0, (step - warm_up) / max(1, steps - warm_up))
    return end + 0.5 * (1 - end) * (1 + math.cos(math.pi * share))
