"""What the battery runs on: small synthetic scans, and every method, with small networks, fitted once on them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from unremarkable.methods import make_options, method_class
from unremarkable.methods.base import Method
from unremarkable.training.batches import Labelled
from unremarkable.training.loop import train
from unremarkable.training.settings import TrainSettings

SIZE = (64, 64)
DIFFUSION = {
    "start": 600,
    "calls": 2,
    "widths": (4, 8, 8),
    "blocks": 1,
    "attention": (),
    "learning_rate": 2e-2,
    "epochs": 6,
    "batch_size": 8,
}
#: options that make a method quick to fit; methods that are not listed run with their defaults
SMALL: dict[str, dict[str, Any]] = {
    # wide enough for the features of an untrained discriminator to tell noise from a scan: it takes long to learn more
    "alad": {"width": 16, "latent_dim": 8, "epochs": 1, "batch_size": 8},
    "anoddpm": DIFFUSION | {"octaves": 2},
    "anogan": {"width": 4, "latent_dim": 8, "search_steps": 4, "epochs": 2, "batch_size": 8},
    "autoencoder": {"widths": (4, 8, 8, 8), "latent_dim": 8, "epochs": 2, "batch_size": 8, "learning_rate": 1e-2},
    "ceae": {
        "widths": (4, 8, 8, 8),
        "latent_dim": 8,
        "hidden": 16,
        "epochs": 4,
        "batch_size": 4,
        "learning_rate": 1e-2,
    },
    "classical": {"features": ("hog", "glcm", "wavelet", "lbp", "first-order")},
    "classifier": {"epochs": 3, "batch_size": 8, "learning_rate": 1e-3},
    # black pixels are background by default, and half of the noise is black
    "dae": {"foreground": -1, "widths": (8, 8, 8), "epochs": 3, "batch_size": 8, "learning_rate": 1e-2},
    "ddpm": DIFFUSION,
    "dinomaly": {
        "encoder": "vit-tiny-16",
        "pretrained": False,
        "layers": (0, 1),
        "learning_rate": 1e-2,
        "epochs": 4,
        "batch_size": 8,
    },
    # batch norm follows fast, or scoring would use statistics from before these few steps
    "edc": {"decoder": "resnet18", "epochs": 4, "batch_size": 8, "learning_rate": 3e-3, "momentum": 0.5},
    "efficient-gan": {"width": 2, "latent_dim": 8, "epochs": 2, "batch_size": 8},
    "ensemble": {"members": ("knn", "knn:grid=1;k=2;distance=cosine;@size=32")},
    "f-anogan": {
        "dim": 4,
        "latent_dim": 8,
        "n_critic": 2,
        "kappa": 0.1,  # the features of a critic of so few steps say little
        "gan_epochs": 2,
        "encoder_epochs": 2,
        "batch_size": 8,
    },
    "ganomaly": {
        "generator_width": 8,
        "discriminator_width": 4,
        "latent_dim": 16,
        "epochs": 20,  # the second encoder follows the first with a delay
        "batch_size": 4,
        "learning_rate": 1e-2,
    },
    "hetero-ae": {"epochs": 1, "batch_size": 8, "rule": "max"},
    "ltm": {
        "width": 8,
        "residuals": 1,
        "codes": 8,
        "code_width": 4,
        "codec_learning_rate": 3e-3,
        "codec_epochs": 20,
        "transformer_width": 16,
        "transformer_depth": 1,
        "transformer_heads": 2,
        "transformer_learning_rate": 1e-2,
        "transformer_epochs": 4,
        "batch_size": 8,
    },
    "mae": {
        "width": 32,
        "depth": 1,
        "heads": 2,
        "decoder_width": 32,
        "decoder_depth": 1,
        "decoder_heads": 2,
        "base_learning_rate": 0.3,  # of a batch of 256
        "epochs": 6,
        "batch_size": 8,
    },
    "memae": {
        "widths": (4, 8, 8, 8),
        "latent_dim": 8,
        "slots": 20,
        "epochs": 4,
        "batch_size": 4,
        "learning_rate": 1e-2,
    },
    "mkd": {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2},
    "padim": {"dimensions": 32},
    "phanes": {
        "widths": (8, 16, 16),
        "latent_dim": 8,
        "gamma_r": 0.0,
        "learning_rate": 3e-3,
        "epochs": 3,
        "holes": (10, 20),
        "width": 4,
        "blocks": 1,
        "inpainting_learning_rate": 3e-3,
        "inpainting_epochs": 1,
        "batch_size": 8,
    },
    "ra": {"widths": (8, 16, 16), "latent_dim": 8, "learning_rate": 3e-3, "epochs": 6, "batch_size": 4},
    "rd4ad": {"epochs": 3, "batch_size": 4},
    "salad": {"width": 4, "latent_dim": 8, "epochs": 3, "batch_size": 8, "learning_rate": 1e-3},
    "si-vae": {"widths": (8, 16, 16), "latent_dim": 8, "learning_rate": 3e-3, "epochs": 6, "batch_size": 4},
    "skip-ganomaly": {
        "generator_width": 4,
        "discriminator_width": 4,
        "epochs": 12,
        "batch_size": 4,
        "learning_rate": 1e-2,  # such narrow networks start with next to no signal
    },
    "stfpm": {"epochs": 2, "batch_size": 8},
    "uniad": {"neighbours": 3, "width": 32, "layers": 1, "epochs": 8, "batch_size": 8, "learning_rate": 1e-2},
    "vae": {"widths": (4, 8, 8, 8), "latent_dim": 8, "hidden": 16, "epochs": 4, "batch_size": 4, "learning_rate": 1e-2},
}


def scans(count: int, channels: int, size: tuple[int, int] = SIZE, seed: int = 0) -> NDArray[np.float32]:
    """Bright ellipses on black, `(count, channels, H, W)` in [0, 1]: alike, but no two the same."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    height, width, level = rng.uniform(0.6, 0.8, (3, count, 1, 1))
    inside = (rows / height) ** 2 + (columns / width) ** 2 < 1
    grey = inside * level + rng.normal(0, 0.02, (count, *size))
    return np.repeat(np.clip(grey, 0, 1)[:, None], channels, 1).astype(np.float32)


def noise(count: int, channels: int, size: tuple[int, int] = SIZE, seed: int = 1) -> Tensor:
    """What no scan looks like: every pixel black or white."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (count, channels, *size)).astype(np.float32))


def learning(
    method: Method, count: int, channels: int, size: tuple[int, int] = SIZE, seed: int = 0
) -> NDArray[np.float32] | Labelled:
    """`count` scans; for a method that needs labels, half as many abnormal images with them."""
    normals = scans(count, channels, size, seed)
    if not method.options.needs_labels:
        return normals
    abnormal = noise(count // 2, channels, size, seed=seed + 10).numpy()
    labels = np.repeat(np.float32([0, 1]), [len(normals), len(abnormal)])
    return Labelled(np.concatenate([normals, abnormal]), labels)


def build(name: str, channels: int = 1, size: tuple[int, int] = SIZE, seed: int = 0) -> Method:
    """A small instance with weights drawn from `seed`."""
    cls = method_class(name)
    torch.manual_seed(seed)
    return cls(make_options(cls, SMALL.get(name, {})), size, channels)


def fit(name: str, channels: int = 1, size: tuple[int, int] = SIZE, count: int = 16) -> Method:
    """A small instance, prepared and trained on `count` scans."""
    method = build(name, channels, size)
    method.prepare()
    settings = TrainSettings(seed=0, device="cpu", precision="32")
    train(method, learning(method, count, channels, size), learning(method, 4, channels, size, seed=1), settings)
    return method


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No method may reach for the network, whatever it is asked to do in a test of the battery."""

    def refuse(*_: object) -> None:
        raise AssertionError("a method reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="session")
def fitted() -> Callable[[str, int], Method]:
    """The fitted instance of a method for a channel count, made once; tests must leave it as it is."""
    return cache(fit)
