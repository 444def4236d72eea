from __future__ import annotations

import pytest
import torch
from training_toys import pictures

from unremarkable.training.augment import make_augment
from unremarkable.training.settings import Augment

NONE = {"degrees": 0.0, "translate": 0.0, "zoom": (1.0, 1.0), "flip": 0.0}
IMAGES = torch.from_numpy(pictures(6, channels=3))


def test_nothing_asked_changes_nothing() -> None:
    assert torch.equal(make_augment(Augment(**NONE))(IMAGES), IMAGES)


def test_flip_mirrors_left_and_right() -> None:
    assert torch.equal(make_augment(Augment(**NONE | {"flip": 1.0}))(IMAGES), IMAGES.flip(3))


def test_flip_is_drawn_for_each_image() -> None:
    torch.manual_seed(0)
    flipped = make_augment(Augment(**NONE | {"flip": 0.5}))(IMAGES.repeat(20, 1, 1, 1)) == IMAGES.flip(3).repeat(
        20, 1, 1, 1
    )
    share = flipped.flatten(1).all(1).float().mean()
    assert 0.3 < share < 0.7


@pytest.mark.parametrize("change", [{"degrees": 30.0}, {"translate": 0.3}, {"zoom": (0.7, 0.8)}, {}])
def test_moves_keep_shape_range_and_borders(change: dict) -> None:
    torch.manual_seed(0)
    images = 0.5 + IMAGES / 2
    changed = make_augment(Augment(**NONE | change) if change else Augment())(images)
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert not torch.equal(changed, images)
    assert len({float(value) for value in (changed - images).abs().mean((1, 2, 3))}) == len(images)
    assert changed.min() >= images.min() - 1e-6  # no black comes in from outside
    assert changed.max() <= images.max() + 1e-6


def test_a_shift_has_the_asked_size() -> None:
    torch.manual_seed(0)
    across = torch.linspace(0, 1, 101).expand(64, 1, 101, 101).contiguous()  # 0.01 a pixel
    moved = make_augment(Augment(**NONE | {"translate": 0.1}))(across)[:, 0, 50, 50] - 0.5
    assert moved.abs().max() <= 0.1 + 1e-4
    assert moved.abs().max() > 0.07
    assert moved.min() < 0 < moved.max()


def test_same_seed_same_images() -> None:
    augment = make_augment(Augment())
    results = []
    for _ in range(2):
        torch.manual_seed(7)
        results.append(augment(IMAGES))
    assert torch.equal(*results)
