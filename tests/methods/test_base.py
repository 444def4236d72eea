"""What every method inherits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unremarkable.methods.base import Collect, Method, Options, Phase, Prediction


class Bank(nn.Module):
    """A buffer inside a submodule, which fitting fills."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.empty(0))


class Remembering(Method):
    """A method with weights, and with buffers that start empty."""

    def __init__(self, options: Options, size: tuple[int, int], channels: int) -> None:
        super().__init__(options, size, channels)
        self.layer = nn.Linear(2, 3)
        self.bank = Bank()
        self.register_buffer("count", torch.empty(0, dtype=torch.int64))

    def phases(self) -> list[Phase | Collect]:
        """None."""
        return []

    def predict(self, images: Tensor) -> Prediction:
        """Nothing."""
        raise NotImplementedError


def filled() -> Remembering:
    method = Remembering(Options(), (8, 8), 1)
    method.bank.rows = torch.rand(5, 4)
    method.count = torch.tensor([5])
    return method


def test_saved_weights_bring_the_shape_of_buffers() -> None:
    saved, fresh = filled(), Remembering(Options(), (8, 8), 1)
    fresh.load_weights(saved.state_dict())
    assert torch.equal(fresh.bank.rows, saved.bank.rows)
    assert fresh.count.dtype == torch.int64
    assert torch.equal(fresh.count, saved.count)
    assert torch.equal(fresh.layer.weight, saved.layer.weight)
    assert {"bank.rows", "count"} <= set(fresh.state_dict())


def test_loading_copies() -> None:
    saved, fresh = filled(), Remembering(Options(), (8, 8), 1)
    fresh.load_weights(saved.state_dict())
    saved.bank.rows.zero_()
    assert fresh.bank.rows.any()


def test_missing_and_unexpected_weights_are_refused() -> None:
    state = dict(filled().state_dict())
    del state["layer.bias"]
    with pytest.raises(RuntimeError, match=r"layer\.bias"):
        filled().load_weights(state)
    with pytest.raises(RuntimeError, match="extra"):
        filled().load_weights(filled().state_dict() | {"extra": torch.zeros(1)})


def test_weights_of_another_shape_are_refused() -> None:
    state = filled().state_dict() | {"layer.weight": torch.zeros(7, 7)}
    with pytest.raises(RuntimeError, match=r"layer\.weight"):
        filled().load_weights(state)


def test_preparing_is_optional() -> None:
    assert filled().prepare() is None


def test_no_method_needs_labels_or_has_settled_anything_unless_it_says_so() -> None:
    assert not Options().needs_labels
    assert Remembering(Options(), (8, 8), 1).settled() == {}
