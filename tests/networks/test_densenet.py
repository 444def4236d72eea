from __future__ import annotations

import pytest
import torch

from unremarkable.networks.backbones import Backbone, StageInfo
from unremarkable.networks.densenet import DenseLayer, DenseNet, renamed


def test_as_large_as_torchvisions() -> None:
    with torch.device("meta"):
        network = DenseNet("densenet121")
    # torchvision's densenet121 has 7,978,856 parameters, 1,025,000 of them in its classifier; 727 entries, 2 of those
    assert sum(p.numel() for p in network.parameters()) == 7_978_856 - 1_025_000
    assert len(network.state_dict()) == 727 - 2
    assert network.channels == (256, 512, 1024, 1024)


def test_names_are_torchvisions() -> None:
    with torch.device("meta"):
        state = DenseNet("densenet121").state_dict()
    assert state["features.conv0.weight"].shape == (64, 3, 7, 7)
    assert state["features.norm0.running_var"].shape == (64,)
    assert state["features.denseblock1.denselayer1.norm1.weight"].shape == (64,)
    assert state["features.denseblock1.denselayer6.conv1.weight"].shape == (128, 224, 1, 1)
    assert state["features.denseblock4.denselayer16.conv2.weight"].shape == (32, 128, 3, 3)
    assert state["features.transition2.norm.bias"].shape == (512,)
    assert state["features.transition3.conv.weight"].shape == (512, 1024, 1, 1)
    assert state["features.norm5.num_batches_tracked"].shape == ()


def test_the_published_files_old_names_are_read() -> None:
    value = torch.zeros(1)
    old = {
        "features.denseblock1.denselayer1.norm.1.weight": value,
        "features.denseblock3.denselayer12.conv.2.weight": value,
        "features.transition1.norm.running_mean": value,
        "features.norm5.weight": value,
        "conv1.weight": value,
        "features.denseblock1.denselayer1.norm1.bias": value,
    }
    assert list(renamed(old)) == [
        "features.denseblock1.denselayer1.norm1.weight",
        "features.denseblock3.denselayer12.conv2.weight",
        "features.transition1.norm.running_mean",
        "features.norm5.weight",
        "conv1.weight",
        "features.denseblock1.denselayer1.norm1.bias",
    ]


def test_a_layer_is_two_normalised_convolutions() -> None:
    torch.manual_seed(0)
    layer, x = DenseLayer(5).eval(), torch.randn(2, 5, 4, 4)
    with torch.no_grad():
        inner = torch.einsum("oc,nchw->nohw", layer.conv1.weight[:, :, 0, 0], (x / (1 + 1e-5) ** 0.5).clamp_min(0))
        padded = torch.nn.functional.pad((inner / (1 + 1e-5) ** 0.5).clamp_min(0), (1, 1, 1, 1))
        windows = padded.unfold(2, 3, 1).unfold(3, 3, 1)
        torch.testing.assert_close(layer(x), torch.einsum("ocij,nchwij->nohw", layer.conv2.weight, windows))


def test_stages_and_what_is_built() -> None:
    backbone, shallow = Backbone("densenet121").eval(), Backbone("densenet121", (1,)).eval()
    assert backbone.stages == tuple(
        StageInfo(c, s) for c, s in zip((256, 512, 1024, 1024), (4, 8, 16, 32), strict=True)
    )
    own = shallow.net.state_dict()
    shallow.net.load_state_dict({key: value for key, value in backbone.net.state_dict().items() if key in own})
    with torch.no_grad():
        features, (second,) = backbone(torch.rand(1, 1, 64, 64)), shallow(torch.rand(1, 1, 64, 64))
    assert [tuple(f.shape[1:]) for f in features] == [(256, 16, 16), (512, 8, 8), (1024, 4, 4), (1024, 2, 2)]
    assert second.shape == (1, 512, 8, 8)
    assert features[-1].min() >= 0, "the last stage is what the classifier sees, after its ReLU"
    assert not any("transition2" in key or "norm5" in key for key in own)


@pytest.mark.parametrize("block", [0, 1])
def test_each_layer_sees_everything_before_it(block: int) -> None:
    with torch.device("meta"):
        network = DenseNet("densenet121", depth=2)
    first = network.get_submodule(f"features.denseblock{block + 1}.denselayer1")
    last = network.get_submodule(f"features.denseblock{block + 1}.denselayer{(6, 12)[block]}")
    assert last.norm1.num_features - first.norm1.num_features == 32 * ((6, 12)[block] - 1)
