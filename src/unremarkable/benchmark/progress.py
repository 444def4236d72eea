"""What a person sees while cells run, on stderr: a line a cell, and on a terminal the time that is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from unremarkable.benchmark.cells import Cell
from unremarkable.benchmark.runner import Watcher
from unremarkable.benchmark.store import DONE
from unremarkable.training.plan import duration


@contextmanager
def shown() -> Iterator[Watcher]:
    """A watcher that shows what it is told."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not sys.stderr.isatty():
        yield Lines(console)
        return
    with console.status("") as status:
        yield Lines(console, status)


class Lines(Watcher):
    """A line for every cell that ends; what runs now in the status line, where there is one."""

    def __init__(self, console: Any, status: Any = None) -> None:
        self._console, self._status = console, status
        self._places: dict[str, str] = {}  # of the cells that run, by key

    def begin(self, cell: Cell, number: int, total: int) -> None:
        """Show which cell runs."""
        self._places[cell.key] = f"{number}/{total}"
        self.tick(cell, 0.0, None)

    def tick(self, cell: Cell, seconds: float, left: float | None) -> None:
        """Show the time of the cell that has run longest, and how many run beside it."""
        if self._status is None or cell.key != next(iter(self._places)):
            return
        name = f"{self._places[cell.key]} {_title(cell)}".replace("[", "\\[")
        beside = f" and {len(self._places) - 1} more" if len(self._places) > 1 else ""
        rest = "" if left is None else f", about {duration(left)} left in all"
        self._status.update(f"{name}{beside} for {duration(seconds)}{rest}")

    def end(self, cell: Cell, result: dict[str, Any], *, ran: bool) -> None:
        """A line of what came of it; cells that were there already are counted at the end."""
        if not ran:
            return
        text = f"{self._places.pop(cell.key)} {_title(cell)}: "
        if result["status"] != DONE:
            self._console.print(f"{text}failed: {result['error']}", markup=False)
            return
        auroc = next(iter(result["metrics"].values()))["auroc"]["value"]
        cost = result["cost"]
        taken = duration(cost["fit_seconds"] + cost["score_seconds"])
        self._console.print(f"{text}AUROC {auroc:.3f}, {taken}", markup=False)


def _title(cell: Cell) -> str:
    fold = "" if cell.fold is None else f", fold {cell.fold + 1}"
    return f"{cell.row} on {cell.column}, seed {cell.seed}{fold}"
