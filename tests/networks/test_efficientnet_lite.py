from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data as pictures
from skimage.transform import resize

from unremarkable.networks.backbones import Backbone
from unremarkable.networks.efficientnet_lite import SameConv2d
from unremarkable.networks.weights import find_weights

CHANNELS = {
    "efficientnet-lite0": (24, 40, 112, 320),
    "efficientnet-lite1": (24, 40, 112, 320),
    "efficientnet-lite2": (24, 48, 120, 352),
}


def tensorflow_same(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """One channel, by the definition in TensorFlow's documentation, tap by tap."""
    size, kernel = x.shape[0], weight.shape[0]
    outputs = -(-size // stride)
    before = max((outputs - 1) * stride + kernel - size, 0) // 2
    result = np.zeros((outputs, outputs))
    for row, column in np.ndindex(result.shape):
        for i, j in np.ndindex(weight.shape):
            y, z = row * stride + i - before, column * stride + j - before
            if 0 <= y < size and 0 <= z < size:
                result[row, column] += x[y, z] * weight[i, j]
    return result


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_is_tensorflows_same(size: int, kernel: int, stride: int) -> None:
    convolution = SameConv2d(1, 1, kernel, stride)
    x = torch.randn(1, 1, size, size, dtype=torch.float64)
    with torch.no_grad():
        result = convolution.double()(x)[0, 0].numpy()
    expected = tensorflow_same(x[0, 0].numpy(), convolution.weight[0, 0].detach().numpy(), stride)
    np.testing.assert_allclose(result, expected, atol=1e-12)


def test_rows_and_columns_are_padded_by_their_own_size() -> None:
    convolution = SameConv2d(2, 2, 3, 2)
    x = torch.randn(1, 2, 9, 8)
    expected = F.conv2d(F.pad(x, (0, 1, 1, 1)), convolution.weight, stride=2)
    torch.testing.assert_close(convolution(x), expected)


@pytest.mark.parametrize("name", CHANNELS)
def test_the_published_file_fits_exactly(name: str) -> None:
    backbone = Backbone(name)
    published = torch.load(find_weights(name), weights_only=True)
    trunk = {key: value for key, value in published.items() if not key.startswith(backbone.net.HEAD)}
    assert {key: value.shape for key, value in backbone.net.state_dict().items()} == {
        key: value.shape for key, value in trunk.items()
    }
    assert {key.split(".")[0] for key in published.keys() - trunk.keys()} == {"_conv_head", "_bn1", "_fc"}
    assert tuple(stage.channels for stage in backbone.stages) == CHANNELS[name]


@pytest.mark.parametrize(("name", "size"), [("efficientnet-lite0", 224), ("efficientnet-lite1", 240)])
def test_pretrained_network_knows_a_cat(name: str, size: int) -> None:
    """With the head of the published file put on top: class 285 of ImageNet is the Egyptian cat."""
    cat = resize(pictures.chelsea()[:, 75:375], (size, size), anti_aliasing=True).astype(np.float32)
    backbone = Backbone(name, (-1,)).eval()
    backbone.load_pretrained()
    head = torch.load(find_weights(name), weights_only=True)
    with torch.no_grad():
        (x,) = backbone(torch.from_numpy(cat).permute(2, 0, 1)[None])
        x = F.conv2d(x, head["_conv_head.weight"])
        moments = (head[f"_bn1.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        x = F.relu6(F.batch_norm(x, *moments, eps=1e-3)).mean((2, 3))
        classes = F.linear(x, head["_fc.weight"], head["_fc.bias"])
    assert classes.argmax().item() == 285
