"""Run what is not done yet, each cell in a process of its own, one after the other or several at a time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unremarkable.benchmark.cell import REASON
from unremarkable.benchmark.cells import Cell
from unremarkable.benchmark.store import DONE, ERROR, FAILED, RESULT, Store
from unremarkable.datasets.parallel import default_workers

#: how often a waiting run shows the time, and looks whether one of several cells has ended
_TICK, _LOOK = 0.5, 0.1
PROGRAM = (sys.executable, "-m", "unremarkable.benchmark.cell")


@dataclass
class Tally:
    """What became of the cells of one run: their keys."""

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Watcher:
    """Told what a run does; shows nothing. `left` is None where nothing is known of the time yet."""

    def begin(self, cell: Cell, number: int, total: int) -> None:
        """A cell starts."""

    def tick(self, cell: Cell, seconds: float, left: float | None) -> None:
        """A cell has run for so long, and the whole run takes about so much more."""

    def end(self, cell: Cell, result: dict[str, Any], *, ran: bool) -> None:
        """The cell is finished or has failed, now or, where it was not run, in an earlier run."""


def run_cells(
    cells: Sequence[Cell],
    store: Store,
    *,
    retry_failed: bool = False,
    watcher: Watcher | None = None,
    provenance: dict[str, Any] | None = None,
    program: Sequence[str] = PROGRAM,
    jobs: int = 1,
) -> Tally:
    """Run every cell that the store does not have, and keep it there.

    A cell that fails is kept as such with its error, and the rest goes on; `retry_failed` runs those of earlier runs
    again, from the start. Killed at any moment, the next run goes on from there.

    Args:
        cells: of the matrix; those that the store has are not run.
        store: where they are kept.
        retry_failed: see above.
        watcher: is told what happens.
        provenance: kept with each cell beside what it finds out itself.
        program: what runs a cell, given the path of its spec.
        jobs: cells that run at a time, each on its share of the processors (unless OMP_NUM_THREADS says otherwise).
            Costs are then those beside others.

    Raises:
        UsageError: another process runs this benchmark.
    """
    watcher, tally = watcher or Watcher(), Tally()
    began = time.perf_counter()
    with store.locked():
        known = {cell.key: store.find(cell.key) for cell in cells}
        for cell in cells:
            if retry_failed and (result := known[cell.key]) and result["status"] == FAILED:
                store.remove(cell.key)
                known[cell.key] = None
        timing = _Timing([result for result in known.values() if result])
        waiting = [cell for cell in cells if known[cell.key] is None]
        for cell in cells:
            result = known[cell.key]
            if result is not None:
                (tally.kept if result["status"] == DONE else tally.failed).append(cell.key)
                watcher.end(cell, result, ran=False)
        running: list[_Running] = []
        queue = deque(enumerate(waiting, 1))
        try:
            while queue or running:
                while queue and len(running) < jobs:
                    number, cell = queue.popleft()
                    watcher.begin(cell, number, len(waiting))
                    running.append(_Running(cell, store, provenance or {}, program, jobs))
                running[0].wait(_TICK if len(running) == 1 else _LOOK)
                for one in [each for each in running if each.ended]:
                    running.remove(one)
                    result = one.publish()
                    timing.add(one.cell, one.seconds)
                    (tally.done if result["status"] == DONE else tally.failed).append(one.cell.key)
                    watcher.end(one.cell, result, ran=True)
                left = timing.left([(one.cell, one.seconds) for one in running], [cell for _, cell in queue], jobs)
                for one in running:
                    watcher.tick(one.cell, one.seconds, left)
        finally:
            for one in running:
                one.kill()
    tally.seconds = time.perf_counter() - began
    return tally


class _Running:
    """A cell in its process."""

    def __init__(self, cell: Cell, store: Store, provenance: dict[str, Any], program: Sequence[str], jobs: int) -> None:
        self.cell, self._store = cell, store
        self._work = store.work(cell.key)
        for old in (REASON, ERROR):
            (self._work / old).unlink(missing_ok=True)
        spec = self._work / "spec.json"
        spec.write_text(json.dumps({"cell": cell.to_dict(), "provenance": provenance}), encoding="utf-8")
        share = {"OMP_NUM_THREADS": str(max(1, default_workers() // jobs))} if jobs > 1 else {}
        self._began = time.perf_counter()
        with (self._work / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                [*program, str(spec.resolve())],
                stdin=subprocess.PIPE,  # kept open for as long as we live: the cell ends when it closes
                stdout=log,
                stderr=log,
                env=share | os.environ,
            )

    @property
    def seconds(self) -> float:
        """For how long it has run."""
        return time.perf_counter() - self._began

    @property
    def ended(self) -> bool:
        """Whether it has."""
        return self._process.poll() is not None

    def wait(self, seconds: float) -> None:
        """Until it has ended, or so long."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._close()

    def publish(self) -> dict[str, Any]:
        """Keep what came of it."""
        self._close()
        made = self._work / "made"
        if self._process.returncode != 0:
            _record_failure(self.cell, self._work, made, self._process.returncode)
        result: dict[str, Any] = json.loads((made / RESULT).read_text(encoding="utf-8"))
        self._store.publish(made, self.cell.slug, self.cell.key)
        return result

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()


def _record_failure(cell: Cell, work: Path, made: Path, code: int) -> None:
    """Make of what the process left a cell that says why it failed."""
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    reason, trace = work / REASON, work / ERROR
    if reason.exists():
        error = " ".join(reason.read_text(encoding="utf-8").split())
    elif code < 0:
        killed = " (out of memory, perhaps: it is how the system ends what asks for too much)" if code == -9 else ""
        error = f"the process was ended by signal {-code}{killed}"
    else:
        error = f"the process ended with exit code {code}; error.txt has its last words"
    source = trace if trace.exists() else work / "log.txt"
    (made / ERROR).write_bytes(source.read_bytes()[-100_000:])
    result = {
        "format": 1,
        "status": FAILED,
        "key": cell.key,
        "cell": cell.to_dict(),
        "row": cell.row,
        "column": cell.column,
        "error": error,
    }
    (made / RESULT).write_text(json.dumps(result, indent=1), encoding="utf-8")


class _Timing:
    """What a cell will take, from those that were run: of the same row and data, else the same row, else any."""

    def __init__(self, results: Sequence[dict[str, Any]]) -> None:
        self._seen: list[tuple[str, str, float]] = []
        for result in results:
            if cost := result.get("cost"):
                self._seen.append((result["row"], result["column"], cost["fit_seconds"] + cost["score_seconds"]))

    def add(self, cell: Cell, seconds: float) -> None:
        """Remember one that was run."""
        self._seen.append((cell.row, cell.column, seconds))

    def left(self, running: Sequence[tuple[Cell, float]], later: Sequence[Cell], jobs: int) -> float | None:
        """Seconds until all are done, with the time that each has run so far; None before one was finished."""
        if not self._seen:
            return None
        rest = [max(0.0, self._expected(cell) - seconds) for cell, seconds in running]
        return max([*rest, (sum(rest) + sum(map(self._expected, later))) / jobs])

    def _expected(self, cell: Cell) -> float:
        for like in (
            [s for row, column, s in self._seen if (row, column) == (cell.row, cell.column)],
            [s for row, _, s in self._seen if row == cell.row],
            [s for _, _, s in self._seen],
        ):
            if like:
                return sum(like) / len(like)
        return 0.0
