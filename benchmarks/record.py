"""What every measurement shares: where the data is, and writing down what was measured, where, and on which commit."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def data_folder() -> Path:
    """The folder of real images; ends the script with one line where there is none."""
    folder = Path(os.environ.get("UNREMARKABLE_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        raise SystemExit(f"no real images: {folder} does not exist (set UNREMARKABLE_DATA)")
    return folder


def commit() -> str:
    """The commit that is measured, marked where the work tree differs from it in more than results."""

    def git(*arguments: str) -> str:
        told = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return told.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results")
    return (git("describe", "--always") or "unknown") + ("-dirty" if changed else "")


#: read before anything is measured: a long run must not name a commit that came while it ran
COMMIT = commit()


def parser(text: str) -> argparse.ArgumentParser:
    """Arguments with the one option that all share."""
    arguments = argparse.ArgumentParser(description=text)
    arguments.add_argument("--record", action="store_true", help="write the result to benchmarks/results")
    return arguments


def machine() -> str:
    """Processor, cores and library versions, in one line."""
    import torch

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def publish(name: str, text: str, *, record: bool) -> None:
    """Print a result, and with `record` keep it with machine, commit and command."""
    print(text)
    if record:
        target = ROOT / "benchmarks" / "results" / f"{name}.md"
        command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
        stamp = datetime.now(UTC).strftime("%Y-%m-%d")
        target.write_text(f"# {name}\n\n{text}\n\n`{command}`\n\n{stamp}, commit {COMMIT}; {machine()}\n")
