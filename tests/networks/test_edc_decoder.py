from __future__ import annotations

import torch
from torch import nn

from unremarkable.networks.edc_decoder import Block, EDCDecoder


def test_on_its_own_resnet_it_is_the_published_decoder() -> None:
    """No translation, and the parameters of ResNet-50's blocks counted by hand: 3, 4 and 6 bottlenecks backwards."""
    decoder = EDCDecoder("resnet50", (256, 512, 1024, 2048))
    assert all(isinstance(head, nn.Identity) for head in decoder.heads)

    def block(inputs: int, width: int, first: bool) -> int:
        convolutions = inputs * width + 9 * width * width + 4 * width * width
        norms = 2 * (width + width + 4 * width)
        return convolutions + norms + (inputs * 4 * width + 2 * 4 * width if first else 0)

    stages = ((2048, 256, 6), (1024, 128, 4), (512, 64, 3))
    expected = sum(block(i, w, True) + (n - 1) * block(4 * w, w, False) for i, w, n in stages)
    assert sum(p.numel() for p in decoder.parameters()) == expected


def test_outputs_have_the_encoder_s_channels_and_sizes() -> None:
    decoder = EDCDecoder("resnet18", (24, 40, 112, 320)).eval()
    sizes = [(13, 18), (7, 9), (4, 5)]
    features = decoder(torch.rand(2, 320, 2, 3), sizes)
    assert [tuple(f.shape) for f in features] == [(2, c, *s) for c, s in zip((24, 40, 112), sizes, strict=True)]
    assert features[0].min() < 0  # EfficientNet's features can be negative


def test_a_block_ends_in_relu_and_keeps_the_identity() -> None:
    block = Block(8, 4, 8, bottleneck=True).eval()
    x = torch.randn(1, 8, 4, 4)
    nn.init.zeros_(block.after[-1].weight)  # the last norm: nothing is added
    torch.testing.assert_close(block(x, (4, 4)), x.relu())
