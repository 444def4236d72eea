from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from unremarkable.errors import UsageError
from unremarkable.networks import weights
from unremarkable.networks.backbones import Backbone, StageInfo, backbone_names


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite2", "resnet18", "resnet50", "vgg16"])
@pytest.mark.parametrize("size", [(64, 64), (50, 71)])
def test_features_have_the_channels_and_strides_that_are_promised(name: str, size: tuple[int, int]) -> None:
    backbone = Backbone(name).eval()
    with torch.no_grad():
        features = backbone(torch.rand(2, 1, *size))
    assert len(features) == len(backbone.stages)
    for feature, stage in zip(features, backbone.stages, strict=True):
        # VGG drops a last odd row when it pools; the others keep it.
        expected = [side // stage.stride if name == "vgg16" else -(-side // stage.stride) for side in size]
        assert list(feature.shape) == [2, stage.channels, *expected]
        assert torch.isfinite(feature).all()


@pytest.mark.parametrize("name", ["efficientnet-lite0", "resnet18", "vgg16"])
def test_selected_stages_are_those_of_the_whole_and_nothing_deeper_is_built(name: str) -> None:
    whole, part = Backbone(name).eval(), Backbone(name, (2, 0)).eval()
    assert len(part.state_dict()) < len(whole.state_dict())
    part.load_state_dict({key: value for key, value in whole.state_dict().items() if key in part.state_dict()})
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        everything, picked = whole(images), part(images)
    assert part.stages == (whole.stages[0], whole.stages[2])
    torch.testing.assert_close(picked, [everything[0], everything[2]])


def test_negative_stages_count_from_the_last() -> None:
    backbone = Backbone("resnet18", (-1, -2))
    assert backbone.stages == (StageInfo(256, 16), StageInfo(512, 32))
    assert backbone.index_of(-1) == backbone.index_of(3) == 1
    assert backbone.index_of(-2) == 0


def test_grey_is_three_equal_channels() -> None:
    backbone = Backbone("efficientnet-lite0", (0,)).eval()
    grey = torch.rand(2, 1, 33, 40)
    with torch.no_grad():
        torch.testing.assert_close(backbone(grey), backbone(grey.repeat(1, 3, 1, 1)))


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("efficientnet-lite0", [127 / 255] * 3, [128 / 255] * 3),
        ("resnet18", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ],
)
def test_the_networks_own_normalisation_is_done_inside(name: str, mean: list[float], std: list[float]) -> None:
    backbone = Backbone(name, (0,))
    seen: list[torch.Tensor] = []
    backbone.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    backbone(torch.full((1, 3, 32, 32), 0.25))
    expected = (0.25 - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(seen[0][0, :, 5, 5], expected)
    assert not any(key in ("mean", "std") for key in backbone.state_dict())


@pytest.mark.parametrize("stages", [(4,), (-5,), (0, 7), ()])
def test_a_stage_that_does_not_exist_is_refused(stages: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="resnet18 has stages 0 to 3"):
        Backbone("resnet18", stages)


def test_an_unknown_backbone_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet50'"):
        Backbone("resnet-50")
    assert "wide_resnet50_2" in backbone_names()


def test_a_torchvision_file_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Backbone("resnet18")
    state = {
        key: value.half() if value.is_floating_point() else value for key, value in source.net.state_dict().items()
    }
    state |= {"fc.weight": torch.rand(1000, 512), "fc.bias": torch.rand(1000)}
    assert len(state) == 122
    path = tmp_path / weights._FILES["resnet18"].file
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(weights._FILES, "resnet18", replace(weights._FILES["resnet18"], sha256=digest))
    monkeypatch.setenv("UNREMARKABLE_WEIGHTS", str(tmp_path))

    backbone = Backbone("resnet18", (1,))
    backbone.load_pretrained()
    for key, value in backbone.net.state_dict().items():
        torch.testing.assert_close(value, state[key].to(value.dtype))
    assert backbone.net.state_dict()["conv1.weight"].dtype == torch.float32


def test_pretrained_weights_that_are_not_here_are_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNREMARKABLE_CACHE", str(tmp_path))
    monkeypatch.delenv("UNREMARKABLE_WEIGHTS", raising=False)
    with pytest.raises(UsageError, match="unremarkable weights get resnet18"):
        Backbone("resnet18", (0,)).load_pretrained()


def test_timm_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"pip install 'unremarkable\[timm\]'"):
        Backbone("timm:convnext_tiny")


class _FakeFeatures(nn.Module):
    """What timm's create_model(features_only=True) gives, as far as it is used."""

    def __init__(self, picked: tuple[int, ...]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(3, 4 * 2**i, 1, stride=2 * 2**i) for i in range(3))
        self.picked = picked
        self.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
        self.feature_info = SimpleNamespace(
            channels=lambda: [4 * 2**i for i in picked], reduction=lambda: [2 * 2**i for i in picked]
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [self.convolutions[i](x) for i in self.picked]


def test_timm_backbones_keep_the_interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def create_model(name: str, **kwargs: Any) -> nn.Module:
        if name != "tiny.v1":
            raise RuntimeError(f"Unknown model ({name})")
        calls.append(kwargs)
        return _FakeFeatures(tuple(kwargs.get("out_indices", (0, 1, 2))))

    timm = ModuleType("timm")
    timm.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setenv("UNREMARKABLE_WEIGHTS", str(tmp_path))

    backbone = Backbone("timm:tiny.v1", (-1, 0))
    assert backbone.stages == (StageInfo(4, 2), StageInfo(16, 8))
    assert [list(f.shape) for f in backbone(torch.rand(1, 1, 16, 16))] == [[1, 4, 8, 8], [1, 16, 2, 2]]
    assert backbone.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    assert all(call["features_only"] and not call.get("pretrained") for call in calls)

    with pytest.raises(UsageError, match=r"no tiny\.v1\.safetensors in .*huggingface\.co/timm/tiny\.v1"):
        backbone.load_pretrained()
    (tmp_path / "tiny.v1.safetensors").touch()
    backbone.load_pretrained()
    assert calls[-1]["pretrained_cfg_overlay"] == {"file": str(tmp_path / "tiny.v1.safetensors")}
    with pytest.raises(UsageError, match="timm cannot give features of nothing"):
        Backbone("timm:nothing")
