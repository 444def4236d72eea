from __future__ import annotations

import numpy as np
import torch

from unremarkable.methods.scoring_rule import apply_rule, choose, reduce, rules, sample


def test_reductions_against_numpy() -> None:
    maps = torch.rand(3, 1, 20, 30)
    ordered = np.sort(maps.reshape(3, -1).numpy(), axis=1)
    for name, count in (("max", 1), ("top1", 6), ("top10", 60), ("mean", 600)):
        np.testing.assert_allclose(reduce(maps, name), ordered[:, -count:].mean(axis=1), rtol=1e-5)


def test_rules_are_every_subset_with_every_reduction_the_whole_first() -> None:
    assert len(rules((1, 2, 3))) == 28
    assert rules((1, 2, 3))[0] == ((1, 2, 3), "max")
    assert rules((3, 2))[::4] == [((2, 3), "max"), ((2,), "max"), ((3,), "max")]
    assert [reduction for _, reduction in rules((1,))] == ["max", "top1", "top10", "mean"]


def test_a_rule_sums_its_stages() -> None:
    maps = torch.rand(2, 3, 4, 5)
    total, scores = apply_rule(maps, ((1, 3), "mean"))
    expected = maps.numpy()[:, 0] + maps.numpy()[:, 2]
    np.testing.assert_allclose(total[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(scores, expected.mean(axis=(1, 2)), rtol=1e-6)


def test_the_sample_is_drawn_from_all_batches() -> None:
    batches = [torch.arange(start, start + 10.0).view(10, 1) for start in range(0, 100, 10)]
    drawn = sample(iter(batches), 30, torch.Generator().manual_seed(0)).flatten().tolist()
    assert len(set(drawn)) == 30
    assert max(drawn) >= 80
    few = sample(iter(batches[:2]), 30, torch.Generator().manual_seed(0)).flatten().tolist()
    assert few == list(range(20))


def test_one_image_can_be_chosen_by() -> None:
    """A tie, and so the first rule: what is planted in one image may be its own tissue."""
    rule = choose(lambda images: torch.zeros(len(images), 3, 4, 4), iter([torch.rand(1, 1, 32, 32)]), rules((1, 2, 3)))
    assert rule == ((1, 2, 3), "max")
