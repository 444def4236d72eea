"""The allocator's setting changes nothing but speed, and is taken wherever it is understood."""

from __future__ import annotations

import ctypes
import sys

import pytest
import torch

from unremarkable.networks.allocator import reuse_memory


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    calls: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, parameter: int, value: int) -> int:
            calls.append((parameter, value))
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    reuse_memory.cache_clear()
    return calls


def test_it_is_asked_for_once(asked: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    reuse_memory()
    reuse_memory()
    assert asked == [(-4, 0), (-1, 2**31 - 1)]


def test_other_systems_are_left_alone(asked: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    reuse_memory()
    assert not asked


def test_a_library_without_it_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    reuse_memory.cache_clear()
    reuse_memory()


def test_results_are_the_same() -> None:
    images = torch.rand(2, 3, 32, 32)
    weights = torch.rand(4, 3, 3, 3)
    before = torch.nn.functional.conv2d(images, weights)
    reuse_memory.cache_clear()
    reuse_memory()
    assert torch.equal(torch.nn.functional.conv2d(images, weights), before)
