"""Plain Vision Transformers, with the parameter names of timm's weight files (DINOv2's own are read too), and timm's.

Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021; registers: Darcet et al., "Vision transformers need
registers", ICLR 2024; scaled residuals: Touvron et al., "Going deeper with image transformers", ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unremarkable.errors import UsageError, unknown_name
from unremarkable.networks.timm_models import create_timm
from unremarkable.networks.transformer import Attention, Block
from unremarkable.networks.weights import TIMM, find_file, find_weights

_HUB = "https://huggingface.co/timm/{}/resolve/main/model.safetensors"
_META = "https://dl.fbaipublicfiles.com/dinov2/{}/{}"
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
#: width, blocks and heads
_SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}


@dataclass(frozen=True)
class Variant:
    """One published network.

    Attributes:
        width: numbers in a token.
        depth: blocks.
        heads: of each attention.
        patch: side of a patch in pixels.
        grid: side, in patches, of the images it was trained on, which its position embedding fits.
        registers: tokens beside the class token that belong to no patch.
        scaled: whether each residual branch has a learnt scale.
        normalisation: mean and standard deviation of its input.
        files: names that its weights may have on disk, each with where it is published.
    """

    width: int
    depth: int
    heads: int
    patch: int
    grid: int
    registers: int
    scaled: bool
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    files: Mapping[str, str]


def _dinov2(size: str, registers: int) -> Variant:
    """DINOv2 (Oquab et al., 2024), with and without registers; Apache-2.0."""
    name = f"vit_{size}_patch14_{'reg4_' if registers else ''}dinov2.lvd142m"
    own = f"dinov2_vit{size[0]}14"
    file = f"{own}_{'reg4_' if registers else ''}pretrain.pth"
    files = {file: _META.format(own, file), f"{name}.safetensors": _HUB.format(name)}
    return Variant(*_SIZES[size], 14, 37, registers, True, _IMAGENET, files)


def _patch16(size: str, trained: str, normalisation: tuple[tuple[float, ...], tuple[float, ...]]) -> Variant:
    name = f"vit_{size}_patch16_224.{trained}"
    return Variant(*_SIZES[size], 16, 14, 0, False, normalisation, {f"{name}.safetensors": _HUB.format(name)})


#: DINOv2 (patch 14), DINO (small and base of patch 16; Caron et al., 2021) and, as there is no tiny one of these, the
#: supervised one of Steiner et al. (2022)
VARIANTS = {
    **{f"vit-{size}-14-reg": _dinov2(size, 4) for size in ("small", "base", "large")},
    **{f"vit-{size}-14": _dinov2(size, 0) for size in ("small", "base", "large")},
    **{f"vit-{size}-16": _patch16(size, "dino", _IMAGENET) for size in ("small", "base")},
    "vit-tiny-16": _patch16("tiny", "augreg_in21k_ft_in1k", _HALF),
}


class ViT(nn.Module):
    """Tokens after every block, randomly initialised until `load_pretrained`.

    Args:
        name: one of `VARIANTS`.
        depth: blocks to build, counted from the input; None for all.

    Attributes:
        width: numbers in a token.
        heads: of each attention.
        prefix: tokens that come before those of the patches: the class token and the registers.

    Raises:
        UsageError: there is no such network, or it has fewer blocks.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, depth: int | None = None) -> None:
        super().__init__()
        if name not in VARIANTS:
            raise unknown_name("vision transformer", name, VARIANTS)
        self.name = name
        self.variant = variant = VARIANTS[name]
        _require_depth(name, depth, variant.depth)
        width = variant.width
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        if variant.registers:
            self.reg_token = nn.Parameter(0.02 * torch.randn(1, variant.registers, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, variant.grid**2, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, variant.patch, stride=variant.patch)})
        self.blocks = nn.ModuleList(
            Block(width, Attention(width, variant.heads), scaled=variant.scaled) for _ in range(depth or variant.depth)
        )
        for index, part in enumerate(variant.normalisation):
            buffer = torch.tensor(part).view(1, 3, 1, 1)
            self.register_buffer(("mean", "std")[index], buffer, persistent=False)

        self.prefix = 1 + variant.registers
        self.width, self.heads = width, variant.heads

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Patches along the height and width of images of this size.

        Raises:
            UsageError: the patch does not divide the size.
        """
        return _grid(self.name, size, (self.variant.patch, self.variant.patch))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Tokens `(N, prefix + patches, width)` after each block, patches row by row.

        `images` are `(N, 1 or 3, H, W)` in [0, 1]; grey is repeated, and the network's own normalisation is done here.
        """
        x = self.patch_embed["proj"]((images.expand(-1, 3, -1, -1) - self.mean) / self.std)
        x = x.flatten(2).transpose(1, 2) + self._positions((x.shape[2], x.shape[3]))
        first = [self.cls_token, self.reg_token] if self.variant.registers else [self.cls_token]
        x = torch.cat([*(token.expand(len(x), -1, -1) for token in first), x], dim=1)
        tokens = []
        for block in self.blocks:
            x = block(x)
            tokens.append(x)
        return tokens

    def load_pretrained(self) -> None:
        """Take the published weights from a file on this machine.

        Raises:
            UsageError: there is no such file, or it holds other weights.
        """
        path = find_file(self.name, self.variant.files)
        try:
            state = published_state(_read(path))
        except Exception as error:  # what a damaged file raises depends on where the damage lies
            raise UsageError(f"{path} cannot be read: {error}; delete it and fetch it again") from error
        own = self.state_dict()  # the file also holds the head, and blocks deeper than the ones built
        for key, value in own.items():
            if key not in state or state[key].shape != value.shape:
                raise UsageError(f"{path} does not hold the weights of {self.name}: {key} is missing or misshapen")
        self.load_state_dict({key: state[key] for key in own})

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """`(1, patches, width)`: the position embedding, resized where the images are not of the size it was made for.

        Bicubic with antialiasing, as DINOv2 with registers was published.
        """
        side = self.variant.grid
        if grid == (side, side):
            return self.pos_embed
        square = self.pos_embed.float().transpose(1, 2).unflatten(2, (side, side))
        return F.interpolate(square, grid, mode="bicubic", antialias=True).flatten(2).transpose(1, 2)


class TimmViT(nn.Module):
    """As `ViT`, of any network of timm's that is a plain one: `timm:NAME`.

    Raises:
        UsageError: timm is not installed, has no such network or no tokens of it, or it has fewer blocks.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, depth: int | None = None) -> None:
        super().__init__()
        self.name = name
        self.net: Any = _create(name)
        _require_depth(name, depth, len(self.net.blocks))
        self.net.prune_intermediate_layers([(depth or len(self.net.blocks)) - 1], prune_norm=True, prune_head=True)
        self.prefix: int = self.net.num_prefix_tokens
        self.width: int = self.net.embed_dim
        self.heads: int = self.net.blocks[0].attn.num_heads
        for key in ("mean", "std"):
            buffer = torch.tensor(self.net.pretrained_cfg[key]).view(1, 3, 1, 1)
            self.register_buffer(key, buffer, persistent=False)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Patches along the height and width of images of this size.

        Raises:
            UsageError: the patch does not divide the size.
        """
        return _grid(self.name, size, self.net.patch_embed.patch_size)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Tokens `(N, prefix + patches, width)` after each block, as those of `ViT`."""
        x = (images.expand(-1, 3, -1, -1) - self.mean) / self.std
        parts = self.net.forward_intermediates(x, return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True)
        return [torch.cat([first, patches], dim=1) for patches, first in parts]

    def load_pretrained(self) -> None:
        """Take the published weights from a file on this machine.

        Raises:
            UsageError: there is no such file.
        """
        state = _create(self.name, find_weights(self.name)).state_dict()
        self.net.load_state_dict({key: state[key] for key in self.net.state_dict()})


def vision_transformer(name: str, depth: int | None = None) -> ViT | TimmViT:
    """One of `VARIANTS`, or `timm:NAME`, with its first `depth` blocks; raises UsageError as these do."""
    return TimmViT(name, depth) if name.startswith(TIMM) else ViT(name, depth)


def depth_of(name: str) -> int:
    """How many blocks the whole network has.

    Raises:
        UsageError: there is no such network, or timm is not installed.
    """
    if name.startswith(TIMM):
        with torch.device("meta"):  # nothing is allocated
            return len(_create(name).blocks)
    if name not in VARIANTS:
        raise unknown_name("vision transformer", name, VARIANTS)
    return VARIANTS[name].depth


def _create(name: str, weights: Path | None = None) -> Any:
    net = create_timm(name, weights, num_classes=0, dynamic_img_size=True)
    for needed in ("blocks", "num_prefix_tokens", "forward_intermediates"):
        if not hasattr(net, needed):
            raise UsageError(f"{name} is no plain vision transformer: it has no {needed}")
    return net


def _require_depth(name: str, depth: int | None, most: int) -> None:
    if depth is not None and not 0 < depth <= most:
        raise UsageError(f"{name} has blocks 0 to {most - 1}; block {depth - 1} cannot be taken")


def _grid(name: str, size: tuple[int, int], patch: tuple[int, int]) -> tuple[int, int]:
    if any(side < step or side % step for side, step in zip(size, patch, strict=True)):
        multiples = f"{patch[0]}" if patch[0] == patch[1] else f"{patch[0]} and {patch[1]}"
        raise UsageError(f"{name} takes sides that are multiples of {multiples}, not {size[0]} x {size[1]}")
    return size[0] // patch[0], size[1] // patch[1]


def published_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict, in the names and shapes of `ViT`.

    DINOv2's files say `register_tokens`. Where the position embedding holds one for the class token too, that one is
    added to the class token, which is what the network would do with it.
    """
    renamed = {"reg_token" if key == "register_tokens" else key: value for key, value in state.items()}
    positions = renamed.get("pos_embed")
    if positions is not None and "cls_token" in renamed and int(positions.shape[1] ** 0.5) ** 2 != positions.shape[1]:
        renamed["cls_token"] = renamed["cls_token"] + positions[:, :1]
        renamed["pos_embed"] = positions[:, 1:]
    return renamed


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
