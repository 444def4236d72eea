from __future__ import annotations

import pytest
import torch

from unremarkable.networks.resnet import ResNet

# Entries of torchvision's state dict without `fc`, parameters of its models without `fc`, width of each stage.
PUBLISHED = {
    "resnet18": (120, 11_689_512 - 513_000, (64, 128, 256, 512)),
    "resnet34": (216, 21_797_672 - 513_000, (64, 128, 256, 512)),
    "resnet50": (318, 25_557_032 - 2_049_000, (256, 512, 1024, 2048)),
    "wide_resnet50_2": (318, 68_883_240 - 2_049_000, (256, 512, 1024, 2048)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_large_as_torchvisions(name: str) -> None:
    with torch.device("meta"):
        network = ResNet(name)
    entries, parameters, channels = PUBLISHED[name]
    assert len(network.state_dict()) == entries
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network.channels == channels


def test_names_are_torchvisions() -> None:
    with torch.device("meta"):
        small, large = ResNet("resnet18").state_dict(), ResNet("wide_resnet50_2").state_dict()
    assert small["conv1.weight"].shape == (64, 3, 7, 7)
    assert small["bn1.running_var"].shape == (64,)
    assert small["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
    assert small["layer2.0.downsample.1.num_batches_tracked"].shape == ()
    assert small["layer4.1.conv2.weight"].shape == (512, 512, 3, 3)
    assert not any(key.startswith(("layer1.0.downsample", "layer2.1.downsample")) for key in small)
    assert large["layer1.0.conv2.weight"].shape == (128, 128, 3, 3)
    assert large["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert large["layer3.5.bn3.bias"].shape == (1024,)


def test_an_identity_block_is_computed_by_hand() -> None:
    network = ResNet("resnet18", depth=1).eval()
    block = network.get_submodule("layer1.0")
    x = torch.randn(2, 64, 8, 8)
    with torch.no_grad():
        block.bn2.weight.zero_()  # what is left is relu(x + bias)
        block.bn2.bias.fill_(0.5)
        torch.testing.assert_close(block(x), (x + 0.5).clamp_min(0))


def test_a_bottleneck_strides_in_its_3x3_convolution() -> None:
    with torch.device("meta"):
        block = ResNet("resnet50").get_submodule("layer2.0")
    assert block.conv1.stride == (1, 1)
    assert block.conv2.stride == (2, 2)
