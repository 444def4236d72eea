from __future__ import annotations

import io
import sys

import pytest

from unremarkable.training import progress
from unremarkable.training.history import Epoch
from unremarkable.training.progress import Bars, Lines, Silent, clock, describe, display


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(epoch: int, held_out: float | None = 0.25) -> Epoch:
    return Epoch(epoch, {"mse": 0.5}, held_out, {"adam": 1e-3}, 61.0)


def test_clock() -> None:
    assert [clock(s) for s in (None, 0, 59.6, 754, 11229)] == ["0:00", "0:00", "1:00", "12:34", "3:07:09"]


def test_describe_names_losses_and_rates() -> None:
    text = describe({"critic": -1.23456, "penalty": 0.00001}, 0.5, {"a": 1e-3, "b": 1e-3, "c": 0.1})
    assert text == "critic -1.235, penalty 1e-05, held-out 0.5, lr 0.1/0.001"
    assert describe({}, None, {}) == ""


def test_lines_are_few_for_quick_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as lines:
        for epoch in range(1, 101):
            lines.begin("toy", epoch, 100, 10, left=10 * (101 - epoch))
            lines.advance(10)
            lines.end(record(epoch))
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("toy: epoch 1/100, mse 0.5, held-out 0.25, lr 0.001, 1:01, 0:")
    assert said[-1] == "toy: epoch 100/100, mse 0.5, held-out 0.25, lr 0.001, 1:01"
    assert len(said) < 10


def test_time_left_is_of_the_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = Silent()
    assert shown.seconds_left is None
    shown.begin("toy", 4, 5, 10, left=20 + 70)  # three epochs were done by an earlier run: they do not count as speed
    now[0] += 30
    shown.advance(10)
    assert shown.seconds_left == pytest.approx(3.0 * 80)


def test_a_terminal_gets_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    with display(True) as shown:
        assert isinstance(shown, Bars)
        for epoch in (1, 2):
            shown.begin("toy", epoch, 2, 10, left=10 * (3 - epoch))
            shown.advance(6, {"mse": 0.75})
            shown.advance(4)
            shown.end(record(epoch))
    text = screen.getvalue()
    for part in ("training", "toy 2/2", "100%", "mse 0.5, held-out 0.25, lr 0.001", "left"):
        assert part in text


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    with display(False) as shown:
        shown.begin("toy", 1, 1, 1, left=1)
        shown.advance(1)
        shown.end(record(1))
    assert capsys.readouterr().err == ""
