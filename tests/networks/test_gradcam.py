from __future__ import annotations

import numpy as np
import torch

from unremarkable.networks.gradcam import grad_cam, grad_cam_plus_plus

# Two features of 1 x 2 locations, and gradients, of one image.
FEATURES = torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])
GRADIENT = torch.tensor([[[[0.5, 1.5]], [[-1.0, 0.0]]]])


def test_grad_cam_by_hand() -> None:
    # a = (0.5 + 1.5) / 2 = 1 and (-1 + 0) / 2 = -0.5; 1 * 1 - 0.5 * 2 = 0 and 1 * 3 - 0.5 * 0 = 3
    assert grad_cam(FEATURES, GRADIENT).tolist() == [[[[0.0, 3.0]]]]
    # With the signs turned, all but nothing speaks against: ReLU leaves zeros.
    assert grad_cam(FEATURES, -GRADIENT).tolist() == [[[[0.0, 0.0]]]]


def test_grad_cam_plus_plus_by_hand() -> None:
    # First feature, sum(A) = 4. At 0.5: alpha = 0.25 / (2 * 0.25 + 0.125 * 4) = 0.25, at 1.5:
    # alpha = 2.25 / (2 * 2.25 + 3.375 * 4) = 0.125; w = 0.25 * 0.5 + 0.125 * 1.5 = 0.3125.
    # The second has no positive gradient: w = 0.
    torch.testing.assert_close(grad_cam_plus_plus(FEATURES, GRADIENT), torch.tensor([[[[0.3125, 0.9375]]]]))


def test_grad_cam_plus_plus_is_the_papers_sum_over_locations() -> None:
    rng = np.random.default_rng(0)
    features, gradient = rng.random((3, 4, 2, 5)), rng.normal(size=(3, 4, 2, 5))
    expected = np.zeros((3, 2, 5))
    for n in range(3):
        for k in range(4):
            weight = 0.0
            for g in gradient[n, k].ravel():
                alpha = g**2 / (2 * g**2 + features[n, k].sum() * g**3)
                weight += alpha * max(g, 0.0)
            expected[n] += weight * features[n, k]
    found = grad_cam_plus_plus(torch.from_numpy(features), torch.from_numpy(gradient))
    np.testing.assert_allclose(found[:, 0].numpy(), expected.clip(0), rtol=1e-9)


def test_without_a_gradient_the_maps_are_zero_and_not_undefined() -> None:
    nothing = torch.zeros_like(GRADIENT)
    for explain in (grad_cam, grad_cam_plus_plus):
        assert explain(FEATURES, nothing).tolist() == [[[[0.0, 0.0]]]]
        assert explain(-FEATURES, GRADIENT).isfinite().all(), "features that can be negative"


def test_of_a_linear_head_grad_cam_adds_up_to_what_each_location_gives_to_the_logit() -> None:
    torch.manual_seed(0)
    features = torch.rand(2, 6, 3, 3, requires_grad=True)
    weights = torch.rand(6)
    logit = features.mean((2, 3)) @ weights
    (gradient,) = torch.autograd.grad(logit.sum(), features)
    torch.testing.assert_close(grad_cam(features, gradient).sum((1, 2, 3)), logit)
