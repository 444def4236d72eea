"""What a person sees while a method trains: bars on a terminal, lines elsewhere. All on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from unremarkable.training.history import Epoch

#: on no terminal, at least so many seconds between the lines of one phase
_QUIET = 5.0


class Silent:
    """Shows nothing; the base of the displays that do. Work is counted in images, one for each epoch it is seen in."""

    def __init__(self) -> None:
        self.done = self.left = 0
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def begin(self, phase: str, epoch: int, epochs: int, images: int, left: int) -> None:
        """An epoch over so many images starts; `left` is the work of the whole run from here, at most."""
        self.left = left

    def advance(self, images: int, losses: Mapping[str, float] | None = None) -> None:
        """So many images are done; `losses` are the means of this epoch so far, where they have been looked at."""
        self.done += images
        self.left -= images

    def end(self, record: Epoch) -> None:
        """The epoch that began last is over."""

    @property
    def seconds_left(self) -> float | None:
        """Time left at the speed so far, or None before anything was done."""
        return (time.monotonic() - self._began) / self.done * self.left if self.done else None


class Lines(Silent):
    """At most a line an epoch."""

    def __init__(self) -> None:
        super().__init__()
        self._said = -_QUIET

    def begin(self, phase: str, epoch: int, epochs: int, images: int, left: int) -> None:
        """Remember where we are."""
        super().begin(phase, epoch, epochs, images, left)
        self._where, self._last = f"{phase}: epoch {epoch}/{epochs}", epoch == epochs

    def end(self, record: Epoch) -> None:
        """Print the epoch, unless the last line is only just out."""
        now = time.monotonic()
        if now - self._said < _QUIET and not self._last and record.epoch > 1:
            return
        self._said = now
        left = f", {clock(self.seconds_left)} left" if self.left > 0 and self.seconds_left is not None else ""
        figures = describe(record.losses, record.held_out, record.lr)
        print(f"{self._where}{figures and ', '}{figures}, {clock(record.seconds)}{left}", file=sys.stderr, flush=True)


class Bars(Silent):
    """A bar for the epoch and one for the whole run."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[left]:>8} left"),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
        )
        self._whole = self._bars.add_task("training", total=None, left="?", figures="")
        self._epoch = self._bars.add_task("", total=None, left="?", figures="")
        self._last: Epoch | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, phase: str, epoch: int, epochs: int, images: int, left: int) -> None:
        """Start the epoch's bar anew, beside the figures of the epoch before."""
        super().begin(phase, epoch, epochs, images, left)
        if epoch == 1:
            self._last = None
        self._images, self._epoch_done, self._epoch_began = images, 0, time.monotonic()
        where = f"{phase} {epoch}/{epochs}"
        self._bars.reset(self._epoch, total=images, description=where, left="?", figures=self._figures({}))

    def advance(self, images: int, losses: Mapping[str, float] | None = None) -> None:
        """Move both bars."""
        super().advance(images)
        self._epoch_done += images
        spent = time.monotonic() - self._epoch_began
        left = spent / self._epoch_done * (self._images - self._epoch_done)
        self._bars.update(self._epoch, completed=self._epoch_done, left=clock(left))
        whole = self.done + self.left
        self._bars.update(self._whole, completed=self.done, total=whole, left=clock(self.seconds_left))
        if losses is not None:
            self._bars.update(self._epoch, figures=self._figures(losses))

    def end(self, record: Epoch) -> None:
        """Show the figures of the epoch."""
        self._last = record
        self._bars.update(self._epoch, figures=self._figures({}))

    def _figures(self, losses: Mapping[str, float]) -> str:
        """These losses, or those of the epoch before, with its held-out loss and learning rates."""
        if self._last is None:
            return describe(losses, None, {})
        return describe(losses or self._last.losses, self._last.held_out, self._last.lr)


def display(show: bool) -> Silent:
    """The display that suits stderr, or a silent one."""
    if not show:
        return Silent()
    return Bars() if sys.stderr.isatty() else Lines()


def describe(losses: Mapping[str, float], held_out: float | None, lr: Mapping[str, float]) -> str:
    """The figures of an epoch in one line."""
    parts = [f"{name} {value:.4g}" for name, value in losses.items()]
    if held_out is not None:
        parts.append(f"held-out {held_out:.4g}")
    rates = sorted(set(lr.values()), reverse=True)
    if rates:
        parts.append("lr " + "/".join(f"{rate:.2g}" for rate in rates))
    return ", ".join(parts)


def clock(seconds: float | None) -> str:
    """Seconds as "0:05", "12:40" or "3:07:09"."""
    whole = round(seconds or 0)
    minutes, hours = whole // 60 % 60, whole // 3600
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
