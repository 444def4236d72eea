"""Grad-CAM and Grad-CAM++: which locations of a network's last features speak for its answer.

Both take the features A `(N, K, h, w)` and the gradient of the answer, before any sigmoid, with respect to them.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def grad_cam(features: Tensor, gradient: Tensor) -> Tensor:
    """Maps `(N, 1, h, w)`, not negative: ReLU of the sum over k of a_k A_k, a_k the mean of k's gradient.

    Selvaraju et al., "Grad-CAM: Visual explanations from deep networks via gradient-based localization", ICCV 2017,
    equations 1 and 2.
    """
    weights = gradient.mean((2, 3), keepdim=True)
    return F.relu((weights * features).sum(1, keepdim=True))


def grad_cam_plus_plus(features: Tensor, gradient: Tensor) -> Tensor:
    """Maps `(N, 1, h, w)`, not negative: as `grad_cam`, weighted by location, and by positive gradients alone.

    Chattopadhay et al., "Grad-CAM++: Generalized gradient-based visual explanations for deep convolutional networks",
    WACV 2018, section 3: w_k is the sum over locations of alpha ReLU(g), g the gradient, and alpha = g^2 / (2 g^2 + g^3
    sum(A)), the closed form for an answer that has passed an exponential. Two choices:

    - The factor exp(answer) that the exponential leaves in every gradient is dropped. It scales a map as a whole, which
      is scaled anew to be shown, and overflows for sure answers.
    - Of features that can be negative, the positive part is summed: the denominator could vanish otherwise.
    """
    positive = F.relu(gradient)
    total = F.relu(features).sum((2, 3), keepdim=True)
    # Where the gradient is positive, g^2 cancels; elsewhere alpha is multiplied by zero.
    weights = (positive / (2 + positive * total)).sum((2, 3), keepdim=True)
    return F.relu((weights * features).sum(1, keepdim=True))
