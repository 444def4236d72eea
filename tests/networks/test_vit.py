"""The ViT: names and shapes of published files, both kinds of them, and the order of its tokens."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from unremarkable.errors import UsageError
from unremarkable.networks.vit import VARIANTS, ViT, depth_of, published_state, vision_transformer

TINY = "vit-tiny-16"


def timm_names(depth: int, *, scaled: bool, registers: bool) -> set[str]:
    """Parameters of timm's ViT up to a block, written from its files."""
    block = ["norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias"]
    block += ["norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"]
    block += ["ls1.gamma", "ls2.gamma"] if scaled else []
    names = {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    names |= {"reg_token"} if registers else set()
    return names | {f"blocks.{i}.{name}" for i in range(depth) for name in block}


def test_names_and_shapes_are_those_of_the_published_files() -> None:
    for name in ("vit-small-14-reg", "vit-small-14", "vit-small-16", TINY):
        variant = VARIANTS[name]
        state = ViT(name, depth=1).state_dict()
        assert set(state) == timm_names(1, scaled="14" in name, registers="reg" in name)
        width, patch = variant.width, variant.patch
        assert state["pos_embed"].shape == (1, (518 // 14) ** 2 if patch == 14 else 14**2, width)
        assert state["patch_embed.proj.weight"].shape == (width, 3, patch, patch)
        assert state["blocks.0.attn.qkv.weight"].shape == (3 * width, width)
        assert state["blocks.0.mlp.fc1.weight"].shape == (4 * width, width)
    assert VARIANTS["vit-base-14-reg"].width == 768
    assert (VARIANTS["vit-large-14-reg"].width, VARIANTS["vit-large-14-reg"].depth) == (1024, 24)


def test_parameter_count_of_a_whole_one() -> None:
    """5,717,416 parameters, of which its file gives 193,000 to the head and 384 to the last norm."""
    own = sum(p.numel() for p in ViT(TINY).parameters())
    assert own == 5_717_416 - (192 * 1000 + 1000) - 2 * 192 - 192  # and the class token's position is added to it


def test_tokens_come_in_order_and_patches_row_by_row() -> None:
    torch.manual_seed(0)
    net = ViT("vit-small-14-reg", depth=1)
    net.blocks[0] = torch.nn.Identity()
    image = torch.rand(1, 1, 28, 42)
    assert net.grid((28, 42)) == (2, 3)
    (tokens,) = net(image)
    assert tokens.shape == (1, net.prefix + 6, 384)
    assert net.prefix == 5
    torch.testing.assert_close(tokens[:, :1], net.cls_token)
    torch.testing.assert_close(tokens[:, 1:5], net.reg_token)
    square = net.pos_embed.transpose(1, 2).reshape(1, 384, 37, 37)
    places = F.interpolate(square, (2, 3), mode="bicubic", antialias=True)
    patch = (image[0, :, 14:, 28:].expand(3, -1, -1) - net.mean[0]) / net.std[0]  # second row, third column
    weight, bias = net.patch_embed["proj"].weight, net.patch_embed["proj"].bias
    expected = (weight * patch).sum(dim=(1, 2, 3)) + bias + places[0, :, 1, 2]
    torch.testing.assert_close(tokens[0, -1], expected, rtol=1e-4, atol=1e-5)


def dinov2_file(net: ViT) -> dict[str, Tensor]:
    """The same weights as DINOv2 publishes them: other names, a position for the class token, and more parts."""
    state = {key: value.clone() for key, value in net.state_dict().items()}
    state["register_tokens"] = state.pop("reg_token")
    place = torch.randn(1, 1, net.variant.width)
    state["cls_token"] = state["cls_token"] - place
    state["pos_embed"] = torch.cat([place, state["pos_embed"]], dim=1)
    return state | {"mask_token": torch.zeros(1, 384), "norm.weight": torch.ones(384)}


def test_both_kinds_of_published_files_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNREMARKABLE_WEIGHTS", str(tmp_path))
    torch.manual_seed(0)
    published = ViT("vit-small-14-reg", depth=2)
    image = torch.rand(1, 3, 28, 28)
    wanted = published(image)[0]
    for name in ("vit_small_patch14_reg4_dinov2.lvd142m.safetensors", "dinov2_vits14_reg4_pretrain.pth"):
        path = tmp_path / name
        if path.suffix == ".pth":
            torch.save(dinov2_file(published), path)
        else:
            save_file(published.state_dict(), path)
        net = ViT("vit-small-14-reg", depth=1)  # deeper blocks of the file are left out
        net.load_pretrained()
        torch.testing.assert_close(net(image)[0], wanted, rtol=1e-4, atol=1e-5)
        path.unlink()


def test_a_class_position_is_told_from_a_square_of_patches() -> None:
    state = {"cls_token": torch.ones(1, 1, 2), "pos_embed": torch.full((1, 10, 2), 3.0)}
    changed = published_state(state)
    assert changed["pos_embed"].shape == (1, 9, 2)
    assert (changed["cls_token"] == 4).all()
    assert published_state(changed)["pos_embed"].shape == (1, 9, 2)


def test_wrong_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNREMARKABLE_WEIGHTS", str(tmp_path))
    net = ViT(TINY, depth=1)
    with pytest.raises(UsageError, match=r"not on this machine.*curl"):
        net.load_pretrained()
    path = tmp_path / next(iter(VARIANTS[TINY].files))
    path.write_bytes(b"not weights")
    with pytest.raises(UsageError, match="cannot be read"):
        net.load_pretrained()
    save_file(ViT("vit-small-16", depth=1).state_dict(), path)
    with pytest.raises(UsageError, match="does not hold the weights of vit-tiny-16"):
        net.load_pretrained()


def test_names_depths_and_sizes_are_checked() -> None:
    with pytest.raises(UsageError, match="vit-"):
        ViT("vit-tiny-8")
    with pytest.raises(UsageError, match="blocks 0 to 11"):
        ViT(TINY, depth=13)
    with pytest.raises(UsageError, match="multiples of 16, not 64 x 50"):
        ViT(TINY, depth=1).grid((64, 50))


class _FakeViT(torch.nn.Module):
    """What timm's create_model gives for a plain vision transformer, as far as it is used: patches of 4, two firsts."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(6, 6) for _ in range(3))
        for block in self.blocks:
            block.attn = SimpleNamespace(num_heads=2)
        self.patch_embed = torch.nn.Conv2d(3, 6, 4, stride=4)
        self.patch_embed.patch_size = (4, 4)
        self.first = torch.nn.Parameter(torch.rand(1, 2, 6))
        self.num_prefix_tokens, self.embed_dim = 2, 6
        self.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}

    def prune_intermediate_layers(self, indices: list[int], *, prune_norm: bool, prune_head: bool) -> None:
        self.blocks = self.blocks[: indices[0] + 1]

    def forward_intermediates(self, x: Tensor, **how: object) -> list[tuple[Tensor, Tensor]]:
        assert how == {"return_prefix_tokens": True, "output_fmt": "NLC", "intermediates_only": True}
        x = torch.cat([self.first.expand(len(x), -1, -1), self.patch_embed(x).flatten(2).transpose(1, 2)], dim=1)
        given = []
        for block in self.blocks:
            x = block(x)
            given.append((x[:, 2:], x[:, :2]))
        return given


def test_timm_s_are_taken_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def create_model(name: str, **kwargs: Any) -> torch.nn.Module:
        if name == "resnet":
            return torch.nn.Linear(1, 1)
        if name != "tiny.v1":
            raise RuntimeError(f"Unknown model ({name})")
        calls.append(kwargs)
        return _FakeViT()

    timm = ModuleType("timm")
    timm.create_model = create_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setenv("UNREMARKABLE_WEIGHTS", str(tmp_path))

    assert depth_of("timm:tiny.v1") == 3
    net = vision_transformer("timm:tiny.v1", 2)
    assert (net.width, net.heads, net.prefix, net.grid((8, 12))) == (6, 2, 2, (2, 3))
    with torch.no_grad():
        tokens = net(torch.full((1, 1, 8, 12), 0.5))
        assert [list(token.shape) for token in tokens] == [[1, 8, 6]] * 2
        expected = net.net.blocks[0](torch.cat([net.net.first, net.net.patch_embed.bias.expand(1, 6, 6)], dim=1))
    torch.testing.assert_close(tokens[0], expected, msg="grey 0.5 is the mean, so that patches are the bias")
    assert all(call == {"num_classes": 0, "dynamic_img_size": True} for call in calls)

    with pytest.raises(UsageError, match="multiples of 4, not 8 x 10"):
        net.grid((8, 10))
    with pytest.raises(UsageError, match="blocks 0 to 2; block 3 cannot be taken"):
        vision_transformer("timm:tiny.v1", 4)
    with pytest.raises(UsageError, match="resnet is no plain vision transformer"):
        vision_transformer("timm:resnet")
    with pytest.raises(UsageError, match="timm cannot give tokens of nothing"):
        vision_transformer("timm:nothing")
    with pytest.raises(UsageError, match=r"no tiny\.v1\.safetensors"):
        net.load_pretrained()
    (tmp_path / "tiny.v1.safetensors").touch()
    net.load_pretrained()
    assert calls[-1]["pretrained_cfg_overlay"] == {"file": str(tmp_path / "tiny.v1.safetensors")}
