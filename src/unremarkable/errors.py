"""The errors a user can meet. Each carries one line that says what is wrong and, where it can, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UnremarkableError(Exception):
    """Base of every error that is the input's or the user's doing; shown as one line, never as a traceback."""


class UsageError(UnremarkableError):
    """The request itself cannot be met: an unknown name, a missing folder, a rate that the data cannot support."""


class InputError(UnremarkableError):
    """One input cannot be used.

    Recorded, and the run over the other inputs goes on. `source` names the file, `reason` says what is wrong with it.
    """

    def __init__(self, source: object, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = str(source)
        self.reason = reason

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str]]:
        # Exceptions pickle by their args, which here is the joined message; worker processes need both parts back.
        return type(self), (self.source, self.reason)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
    return UsageError(f"unknown {kind} {name!r}; {hint}")
