"""Simulated artefacts: the same every time, stronger by level, in range, and masked where they lie."""

from __future__ import annotations

import numpy as np
import pytest

from unremarkable.datasets.artefacts import (
    ANGLE,
    CONTRAST,
    EXTENT,
    KINDS,
    LEVELS,
    LOCAL,
    NOISE,
    add_artefact,
    case_seed,
)
from unremarkable.datasets.phantom import make_phantom
from unremarkable.errors import UsageError


def head(seed: int = 0, channels: int = 1, size: int = 64) -> np.ndarray:
    pixels = make_phantom(np.random.default_rng(seed), size).pixels / 4095
    return np.repeat(pixels[None].astype(np.float32), channels, axis=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_level_0_changes_nothing_and_every_other_does(kind: str, channels: int) -> None:
    image = head(channels=channels)
    before = image.copy()
    for level in LEVELS:
        altered = add_artefact(image, kind, level, 7)
        assert altered.image.shape == image.shape
        assert altered.image.dtype == np.float32
        assert altered.image.min() >= 0
        assert altered.image.max() <= 1
        assert (altered.image == altered.image[:1]).all()  # the same in every channel of a grey image
        assert np.array_equal(altered.image, image) is (level == 0)
        assert not np.shares_memory(altered.image, image)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [32, 64, 224])
def test_strength_grows_with_the_level(kind: str, size: int) -> None:
    for seed in range(5):
        image = head(seed, size=size)
        change = [np.abs(add_artefact(image, kind, level, seed).image - image).mean() for level in LEVELS]
        assert (np.diff(change) > 0).all(), change


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_and_nothing_else_decides(kind: str) -> None:
    image = head()
    first, again = (add_artefact(image, kind, 3, (4, 9)).image for _ in range(2))
    assert np.array_equal(first, again)
    others = [add_artefact(image, kind, 3, seed).image for seed in range(8)]
    assert any(not np.array_equal(others[0], other) for other in others) is (kind != "contrast")


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_images_stay_in_range(kind: str) -> None:
    for value in (0.0, 0.5, 1.0):
        for shape in ((1, 16, 16), (3, 40, 17), (1, 9, 200)):
            for level in LEVELS:
                altered = add_artefact(np.full(shape, value, np.float32), kind, level)
                assert altered.image.shape == shape
                assert np.isfinite(altered.image).all()
                assert altered.image.min() >= 0
                assert altered.image.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_is_where_the_image_changed(kind: str) -> None:
    image = head(channels=3)
    for level in LEVELS:
        altered = add_artefact(image, kind, level, 1)
        if kind not in LOCAL:
            assert altered.mask is None
        else:
            assert altered.mask is not None
            assert np.array_equal(altered.mask, (altered.image != image).any(axis=0))
            assert altered.mask.any() == bool(level)


def test_squares_are_three_and_as_large_as_stated() -> None:
    """On mid-grey nothing is hidden: every covered pixel differs."""
    image = np.full((1, 128, 128), 0.5, np.float32)
    for level in LEVELS[1:]:
        for seed in range(6):
            altered = add_artefact(image, "squares", level, seed)
            side = EXTENT[level] * 128
            assert altered.mask is not None
            assert altered.mask.sum() == 3 * side**2
            assert set(np.unique(altered.image)) <= {0.0, 0.5, 1.0}


def test_squares_and_text_stand_out_from_what_they_cover() -> None:
    for value, painted in ((0.1, 1.0), (0.9, 0.0)):
        image = np.full((1, 64, 64), value, np.float32)
        for kind in LOCAL:
            altered = add_artefact(image, kind, 4)
            assert altered.mask is not None
            assert np.abs(altered.image[0][altered.mask] - painted).min() == 0


def test_text_is_as_high_as_stated_and_lies_in_a_corner() -> None:
    image = np.zeros((1, 224, 224), np.float32)
    corners = set()
    for seed in range(20):
        mask = add_artefact(image, "text", 3, seed).mask
        assert mask is not None
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        assert rows[-1] - rows[0] + 1 == EXTENT[3] * 224
        corners.add((rows[0] < 112, columns[0] < 112))
        assert min(rows[0], 223 - rows[-1]) == min(columns[0], 223 - columns[-1]) == 7
    assert len(corners) == 4


def test_noise_has_the_stated_deviation() -> None:
    image = np.full((1, 256, 256), 0.5, np.float32)
    for level in (1, 2, 3):  # at 4 clipping begins
        change = add_artefact(image, "noise", level).image - image
        assert change.std() == pytest.approx(NOISE[level], rel=0.02)
        assert change.mean() == pytest.approx(0, abs=NOISE[level] / 50)


def test_rotation_turns_by_the_stated_angle_either_way() -> None:
    """Against the direction of a bright line, from its second moments."""
    image = np.zeros((1, 129, 129), np.float32)
    image[0, 60:69, 20:109] = 1
    signs = set()
    for level in LEVELS[1:]:
        for seed in range(4):
            turned = add_artefact(image, "rotation", level, seed).image[0]
            rows, columns = np.nonzero(turned > 0.5)
            values, vectors = np.linalg.eigh(np.cov(columns, rows))
            direction = vectors[:, values.argmax()]
            angle = np.degrees(np.arctan(direction[1] / direction[0]))
            assert abs(angle) == pytest.approx(ANGLE[level], abs=0.5)
            signs.add(angle > 0)
    assert signs == {True, False}


def test_contrast_keeps_the_mean_and_the_stated_share_of_the_spread() -> None:
    image = head()
    for level in LEVELS:
        altered = add_artefact(image, "contrast", level).image
        assert altered.mean() == pytest.approx(image.mean(), abs=1e-6)
        assert altered.std() == pytest.approx(CONTRAST[level] * image.std(), rel=1e-4)


def test_a_case_has_a_seed_of_its_own_that_rounding_does_not_move() -> None:
    one, other = head(0)[None], head(1)[None]
    assert case_seed(one, 3) == case_seed(np.nextafter(one, np.float32(1)), 3)
    assert case_seed(one, 3) != case_seed(other, 3)
    assert case_seed(one, 3) != case_seed(one, 4)


def test_unknown_kinds_and_levels_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown artefact 'sqares'; did you mean 'squares'"):
        add_artefact(head(), "sqares", 1)
    for level in (5, -1):
        with pytest.raises(UsageError, match=f"unknown artefact level {level}; levels: 0, 1, 2, 3, 4"):
            add_artefact(head(), "noise", level)
