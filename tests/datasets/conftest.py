"""Small images on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Writer = Callable[..., Path]


@pytest.fixture
def write_image() -> Writer:
    """Writes a small grey image and gives its path; the same seed gives the same bytes, and a smooth picture."""

    def write(path: Path, seed: int = 0, size: tuple[int, int] = (24, 20), offset: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(seed).integers(0, 200, (6, 5), np.uint8)
        picture = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
        Image.fromarray(np.asarray(picture) // 2 + np.uint8(offset)).save(path)
        return path

    return write


@pytest.fixture
def make_tree(tmp_path: Path, write_image: Writer) -> Callable[[list[str]], Path]:
    """A folder with an image (another each) at every path; other suffixes get some text."""

    def make(names: list[str]) -> Path:
        for seed, name in enumerate(names):
            path = tmp_path / name
            if path.suffix in (".png", ".jpg", ".bmp", ".tif"):
                write_image(path, seed)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("no image")
        return tmp_path

    return make
