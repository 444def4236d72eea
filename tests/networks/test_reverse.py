"""The mirror of each family of encoders, against the encoder itself."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unremarkable.errors import UsageError
from unremarkable.networks.backbones import Backbone
from unremarkable.networks.resnet import ResNet
from unremarkable.networks.reverse import (
    OneClassBottleneck,
    ReverseDecoder,
    UpBottleneck,
    UpInverted,
    mirrored_stages,
)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "resnet18", "vgg16"])
def test_the_decoder_gives_what_the_encoder_gives(name: str) -> None:
    encoder = Backbone(name, mirrored_stages(name)).eval()
    channels = [stage.channels for stage in encoder.stages]
    bottleneck, decoder = OneClassBottleneck(name, channels[:3]).eval(), ReverseDecoder(name, channels).eval()
    with torch.no_grad():
        features = encoder(torch.rand(1, 3, 64, 96))
        embedding = bottleneck(features[:3])
        decoded = decoder(embedding)
    assert embedding.shape == features[3].shape
    assert [d.shape for d in decoded] == [f.shape for f in features[:3]]


@pytest.mark.parametrize(
    ("name", "counts"),
    [("resnet18", [2, 2, 2]), ("wide_resnet50_2", [3, 4, 6]), ("efficientnet-lite0", [2, 2, 6]), ("vgg16", [2, 3, 3])],
)
def test_a_stage_has_the_encoders_number_of_blocks(name: str, counts: list[int]) -> None:
    """Fine to coarse, as counted in the papers' tables."""
    with torch.device("meta"):  # shapes only
        channels = [stage.channels for stage in Backbone(name, mirrored_stages(name)).stages]
        decoder = ReverseDecoder(name, channels)
    assert [len(list(stage.children())) for stage in decoder.stages] == counts


def test_a_wide_resnets_mirror_has_its_widths() -> None:
    with torch.device("meta"):
        decoder = ReverseDecoder("wide_resnet50_2", (256, 512, 1024, 2048))
    entries = [next(iter(stage.children())) for stage in decoder.stages]
    assert all(isinstance(entry, UpBottleneck) for entry in entries)
    assert [entry.branch[0].in_channels for entry in entries] == [512, 1024, 2048]
    assert [entry.branch[0].out_channels for entry in entries] == [128, 256, 512]
    assert [entry.branch[5].out_channels for entry in entries] == [256, 512, 1024]


def test_the_embedding_is_the_encoders_fourth_stage() -> None:
    with torch.device("meta"):
        own = ResNet("resnet50").get_submodule("layer4").state_dict()
        copied = OneClassBottleneck("resnet50", (256, 512, 1024)).embed.state_dict()
    assert {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in copied.items()}


def test_doubling_is_a_depthwise_transposed_convolution() -> None:
    block = UpInverted(4, 5).eval()
    x = torch.rand(2, 4, 3, 5)
    transposed = nn.ConvTranspose2d(24, 24, 2, stride=2, groups=24, bias=False)
    with torch.no_grad():
        transposed.weight.copy_(block.spread[:, None])
        expected = block.project(F.relu6(block.norm(transposed(block.expand(x)))))
        torch.testing.assert_close(block(x), expected)


def test_an_encoder_without_a_mirror_is_refused() -> None:
    with pytest.raises(UsageError, match="has no mirror here; take one of efficientnet-lite0"):
        mirrored_stages("timm:convnext_tiny")
