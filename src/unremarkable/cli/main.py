"""The command `unremarkable`: one file a command, and nothing heavy imported until one runs."""

from __future__ import annotations

import errno
import os
import sys

import typer

from unremarkable.cli import (
    bench,
    compare,
    data,
    demo,
    doctor,
    ensemble,
    evaluate,
    fit,
    methods,
    report,
    robustness,
    score,
    select,
    weights,
)
from unremarkable.errors import UnremarkableError

app = typer.Typer(
    name="unremarkable",
    help="Learn what normal looks like from normal medical scans alone, and show what does not look like that.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich costs a third of the time that --help takes
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command(cls=fit.FitCommand)(fit.fit)
app.command()(ensemble.ensemble)
app.command()(score.score)
app.command()(evaluate.evaluate)
app.command()(report.report)
app.command()(compare.compare)
app.command()(robustness.robustness)
app.command()(select.select)
app.command()(bench.bench)
app.command()(methods.methods)
app.add_typer(data.app, name="data")
app.add_typer(weights.app, name="weights")
app.command()(doctor.doctor)

DONE, SOME_FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


def main() -> None:
    """Run the command line; every error a user can cause ends as one line on stderr."""
    try:
        app()
    except UnremarkableError as error:
        _fail(str(error), WRONG_USAGE)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _fail(f"the disk is full{_where(error)}; nothing half-written was kept", WRONG_USAGE)
        if error.errno == errno.EPIPE:
            # The reader of our output has gone (`| head`): there is no one left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(DONE) from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            _fail(f"no permission{_where(error)}", WRONG_USAGE)
        raise
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)


def _where(error: OSError) -> str:
    return f": {error.filename}" if error.filename else ""


def _fail(message: str, code: int) -> None:
    print(f"unremarkable: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
