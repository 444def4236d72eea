"""SI-VAE: its map and score."""

from __future__ import annotations

import numpy as np
import torch

from unremarkable.methods.introspective import IntrospectiveOptions
from unremarkable.methods.si_vae import SIVAE


def test_map_is_the_absolute_error_of_the_mean_code() -> None:
    torch.manual_seed(0)
    method = SIVAE(IntrospectiveOptions(widths=(4, 4), latent_dim=3), (16, 24), 3).eval()
    images = torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        prediction, again = method.predict(images), method.predict(images)
        rebuilt = method.decoder(method.encoder(images).mean)
    error = np.abs(images.numpy() - rebuilt.numpy()).mean(1, keepdims=True)
    np.testing.assert_allclose(prediction.map.numpy(), error, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(prediction.score.numpy(), error.mean((1, 2, 3)), rtol=1e-5)
    assert torch.equal(prediction.reconstruction, rebuilt)
    assert torch.equal(prediction.score, again.score)
