from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import nn

from unremarkable.errors import UsageError
from unremarkable.training.machine import Machine, arrange, repeatable, resolve
from unremarkable.training.settings import TrainSettings

CPU = Machine("cpu", "32")
BF16 = Machine("cpu", "bf16")


def test_auto_takes_bfloat16_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for has, expected in [(True, "bf16"), (False, "32")]:
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        assert resolve(TrainSettings()) == ("cpu", expected)
    assert resolve(TrainSettings(precision="bf16")).precision == "bf16"


def test_channels_last_where_bfloat16_or_a_gpu() -> None:
    assert CPU.layout == torch.contiguous_format
    assert BF16.layout == Machine("cuda:0", "32").layout == torch.channels_last


@pytest.mark.parametrize(
    ("device", "line"),
    [("cuda:99", "not available"), ("cud", "did you mean 'cuda'"), ("cuda:x", "unknown device"), ("", "unknown")],
)
def test_a_device_that_is_not_there_is_refused(device: str, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        resolve(TrainSettings(device=device))


def test_autocast_sees_weights_that_moved_and_gradients_after_no_grad() -> None:
    layer = nn.Linear(2, 2, bias=False)
    with BF16.autocast():
        with torch.no_grad():
            before = layer(torch.ones(1, 2))
            layer.weight.add_(1)
        after = layer(torch.ones(1, 2))
    assert after.dtype == torch.bfloat16
    torch.testing.assert_close(after - before, torch.full((1, 2), 2.0).bfloat16(), rtol=0.02, atol=0.02)
    after.sum().backward()
    assert layer.weight.grad is not None


def test_arrange_changes_the_layout_in_place_and_back() -> None:
    layer = nn.Conv2d(3, 4, 3)
    weight, values = layer.weight, layer.weight.detach().clone()
    arrange(layer, torch.channels_last)
    assert layer.weight is weight
    assert not weight.is_contiguous()
    arrange(layer, torch.contiguous_format)
    assert weight.is_contiguous()
    assert torch.equal(weight, values)


def test_repeatable_leaves_no_trace_even_after_an_error() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    with suppress(KeyError), repeatable(CPU):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
        torch.rand(3)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory
