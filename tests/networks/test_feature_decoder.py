from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from unremarkable.networks.backbones import Backbone, StageInfo
from unremarkable.networks.cmt import CmtBlock
from unremarkable.networks.feature_decoder import STAGES, Decoder, HybridEncoder, Kind, PixelHead, make_encoder
from unremarkable.networks.mstb import MultiScaleSparseTransformer
from unremarkable.networks.pvt import SpatialReductionAttention
from unremarkable.networks.resnet import BasicBlock
from unremarkable.networks.swin import SwinBlock

CHANNELS = (6, 10, 14, 18)
GRIDS = ((16, 24), (8, 12), (4, 6), (2, 3))


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_decoder_gives_the_encoder_s_shapes_and_learns_with_all_its_weights(kind: Kind) -> None:
    decoder = Decoder(CHANNELS, GRIDS, kind)
    features = decoder(torch.randn(2, CHANNELS[3], *GRIDS[3]))
    assert [tuple(f.shape[1:]) for f in features] == [(CHANNELS[i], *GRIDS[i]) for i in range(3)]
    torch.stack([f.square().mean() for f in features]).sum().backward()
    assert all(p.grad is not None for p in decoder.parameters())


@pytest.mark.parametrize(
    ("kind", "block", "counts"),
    [
        ("hybrid", MultiScaleSparseTransformer, (1, 1, 1)),
        ("transformer", MultiScaleSparseTransformer, (2, 2, 2)),
        ("swin", SwinBlock, (2, 2, 6)),
        ("pvt", SpatialReductionAttention, (2, 2, 2)),
        ("cmt", CmtBlock, (2, 2, 10)),
        ("resnet", BasicBlock, (2, 2, 2)),
    ],
)
def test_depths(kind: Kind, block: type[nn.Module], counts: tuple[int, ...]) -> None:
    decoder = Decoder(CHANNELS, GRIDS, kind)
    assert tuple(sum(isinstance(m, block) for m in stage.modules()) for stage in decoder.stages) == counts
    if kind == "swin":
        grids = Decoder(CHANNELS, tuple((64 >> i, 64 >> i) for i in range(4)), kind)
        assert [[b.shift for b in stage.branches[0][1]][:2] for stage in grids.stages] == [
            [(0, 0), (4, 4)],
            [(0, 0), (4, 4)],
            [(0, 0), (0, 0)],
        ]
    if kind == "pvt":
        first = [next(m for m in s.modules() if isinstance(m, SpatialReductionAttention)) for s in decoder.stages]
        assert [(m.reduction, m.heads) for m in first] == [(8, 2), (4, 4), (2, 8)]


def test_the_paper_s_stages() -> None:
    """IV.B.1."""
    assert [stage.width for stage in STAGES] == [64, 128, 256]
    assert [stage.heads for stage in STAGES] == [2, 4, 8]
    assert [stage.patches[1] for stage in STAGES] == [8, 4, 2]
    assert all(p2 == 2 * p1 for p1, p2 in (stage.patches for stage in STAGES))


@pytest.mark.parametrize("kind", ["hybrid", "transformer"])
def test_encoder_mirrors_the_decoder(kind: Kind) -> None:
    encoder = make_encoder(kind, 1, (64, 96))
    assert isinstance(encoder, HybridEncoder)
    features = encoder(torch.rand(2, 1, 64, 96))
    assert [StageInfo(f.shape[1], 64 // f.shape[2]) for f in features] == list(encoder.stages)
    assert [f.shape[3] for f in features] == [24, 12, 6, 3]
    decoder = Decoder((64, 128, 256, 512), GRIDS, kind)
    for ours, theirs in zip(encoder.deeper, decoder.stages, strict=True):
        assert [type(m) for m in ours.branches.modules()] == [type(m) for m in theirs.branches.modules()]
    features[-1].square().mean().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_other_names_are_backbones() -> None:
    assert isinstance(make_encoder("resnet18", 1, (64, 64)), Backbone)


def test_pixel_head_reaches_the_image() -> None:
    image = PixelHead(6, 3, 2)(torch.randn(2, 6, 16, 24)).detach()
    assert image.shape == (2, 3, 64, 96)
    assert 0 <= float(image.min()) < float(image.max()) <= 1
