from __future__ import annotations

import torch
from torch import nn

from unremarkable.networks.vgg import VGG


def test_names_and_size_are_torchvisions() -> None:
    with torch.device("meta"):
        network = VGG("vgg16")
    convolutions = [int(name.split(".")[1]) for name, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    assert convolutions == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert len(network.state_dict()) == 26
    assert (
        sum(p.numel() for p in network.parameters()) == 14_714_688
    )  # table 2 of the paper, less its three dense layers


def test_stages_are_taken_after_relu_and_before_pooling() -> None:
    network = VGG("vgg16", depth=2)
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        fine, coarse = network(x)
        torch.testing.assert_close(fine, network.features[:4](x))
        torch.testing.assert_close(coarse, network.features[:9](x))
    assert fine.min() == 0
    assert coarse.shape == (1, 128, 8, 8)
