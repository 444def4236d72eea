"""Layers of numpy, which the blocks' tests write their papers' equations with."""

from __future__ import annotations

from math import erf

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]


def array(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()


def linear(layer: nn.Module, x: Array) -> Array:
    """Of rows `(L, C)`."""
    assert isinstance(layer, nn.Linear)
    out = x @ array(layer.weight).T
    return out if layer.bias is None else out + array(layer.bias)


def layer_norm(layer: nn.Module, x: Array) -> Array:
    assert isinstance(layer, nn.LayerNorm)
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(x.var(-1, keepdims=True) + layer.eps) * array(layer.weight) + array(layer.bias)


def batch_norm(layer: nn.Module, x: Array) -> Array:
    """In eval mode, of `(C, H, W)`."""
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    mean, var, weight, bias = (
        array(t)[:, None, None] for t in (layer.running_mean, layer.running_var, *layer.parameters())
    )
    return (x - mean) / np.sqrt(var + layer.eps) * weight + bias


def gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.vectorize(erf)(x / np.sqrt(2)))


def perceptron(layers: nn.Module, x: Array) -> Array:
    """Layer norm, linear, GELU, linear."""
    norm, widen, _, narrow = layers.children()
    return linear(narrow, gelu(linear(widen, layer_norm(norm, x))))


def softmax(x: Array) -> Array:
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def depthwise(weight: Tensor, x: Array, stride: int) -> Array:
    """Of `(C, H, W)`; 3 × 3 with a border of zeros, or k × k with stride k."""
    kernel = array(weight)[:, 0]
    k = kernel.shape[-1]
    pad = 1 if stride == 1 else 0
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    rows = range(0, x.shape[1] - k + 1, stride)
    columns = range(0, x.shape[2] - k + 1, stride)
    return np.stack([[(x[:, i : i + k, j : j + k] * kernel).sum((1, 2)) for j in columns] for i in rows]).transpose(
        2, 0, 1
    )


def tokens(x: Array) -> Array:
    return x.reshape(len(x), -1).T


def disturb(module: nn.Module, generator_seed: int = 0) -> nn.Module:
    """The module in eval mode with every parameter and statistic far from where it starts."""
    import torch

    generator = torch.Generator().manual_seed(generator_seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return module.eval()
