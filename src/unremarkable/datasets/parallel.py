"""Work over many cases in threads, in order and with a bounded number under way, and its progress bar.

Threads and not processes: decoding, resizing and hashing leave the interpreter's lock, results need no copying, and a
set of ten images pays nothing for a pool's start.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def default_workers() -> int:
    """Threads to use: the processors that this process may use, 16 at most."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return min(usable, 16)


def map_in_order(function: Callable[[T], R], items: Iterable[T], workers: int | None = None) -> Iterator[R]:
    """`map` in threads: results in the order of the items, at most two per worker begun and not yet taken.

    An exception of `function` comes out where its result would; closing the iterator cancels what has not begun.
    """
    workers = workers or default_workers()
    if workers == 1:
        yield from map(function, items)
        return
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="unremarkable") as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def with_progress(items: Iterable[T], total: int, title: str, shown: bool) -> Iterator[T]:
    """The items as they come, with a bar on standard error if it is to be shown."""
    if not shown or not sys.stderr.isatty():  # a bar in a log file is noise
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, title, total=total, console=Console(stderr=True), transient=True)
