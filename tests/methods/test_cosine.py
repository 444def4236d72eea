from __future__ import annotations

import numpy as np
import torch

from unremarkable.methods.cosine import cosine_distance, global_cosine


def test_both_angles_in_numpy() -> None:
    rng = np.random.default_rng(0)
    e, d = rng.normal(size=(2, 2, 5, 3, 4))
    local, whole = np.zeros((2, 3, 4)), np.zeros(2)
    for n, h, w in np.ndindex(2, 3, 4):
        a, b = e[n, :, h, w], d[n, :, h, w]
        local[n, h, w] = 1 - a @ b / np.sqrt((a @ a) * (b @ b))
    for n in range(2):
        whole[n] = 1 - (e[n] * d[n]).sum() / np.sqrt((e[n] ** 2).sum() * (d[n] ** 2).sum())
    np.testing.assert_allclose(cosine_distance(torch.from_numpy(e), torch.from_numpy(d)), local)
    np.testing.assert_allclose(global_cosine(torch.from_numpy(e), torch.from_numpy(d)), whole)


def test_no_gradient_reaches_the_target() -> None:
    e, d = torch.rand(1, 2, 3, 3, requires_grad=True), torch.rand(1, 2, 3, 3, requires_grad=True)
    global_cosine(e, d).sum().backward()
    assert e.grad is None
    assert d.grad is not None
