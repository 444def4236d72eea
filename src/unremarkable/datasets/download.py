"""The one place that downloads: a file is checked against its published digest, and an interruption loses nothing."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from unremarkable.errors import UsageError

#: called with the bytes on disk so far and the bytes in all, or None where the server does not say
Progress = Callable[[int, int | None], None]

_TIMEOUT = 30  # seconds without a byte
_CHUNK = 1 << 20


def fetch(url: str, path: Path, algorithm: str, expected: str, progress: Progress | None = None) -> Path:
    """Download one published file to `path`, and give the path.

    The bytes go to `path` with ".part" behind its name; a later call goes on where an earlier one stopped, and the file
    takes its name only when it is whole and its digest is right.

    Args:
        url: where the file is published.
        path: where it shall be; its folder is made.
        algorithm: of the digest, as `hashlib` names it ("sha256", "md5").
        expected: the published digest, in hexadecimal, or as many of its first digits as are published.
        progress: called while it goes on.

    Raises:
        UsageError: no connection, no such page, no place on disk, or not the published file.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        _download(url, part, progress)
        found = file_digest(part, algorithm)
        if found.startswith(expected):
            part.replace(path)
            return path
        part.unlink()
    except (OSError, http.client.HTTPException) as error:
        kept = f"; {part.stat().st_size:,} bytes are kept, the same command goes on from there" if part.exists() else ""
        raise UsageError(f"cannot fetch {url}: {_reason(error)}{kept}") from error
    raise UsageError(
        f"{url} gave another file than the published one: {algorithm} {found[:8]}…, not {expected[:8]}…; "
        "nothing was kept"
    )


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a whole file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def _download(url: str, part: Path, progress: Progress | None) -> None:
    """Append to `part` what it lacks; start again where the server cannot go on from there."""
    done = part.stat().st_size if part.exists() else 0
    request = Request(url, headers={"User-Agent": "unremarkable"} | ({"Range": f"bytes={done}-"} if done else {}))
    try:
        response = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if done and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is lacking; whether it is the right file, its digest says
        raise
    with response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            done = 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with part.open("ab" if done else "wb") as stream:
            while chunk := response.read(_CHUNK):
                stream.write(chunk)
                done += len(chunk)
                if progress:
                    progress(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"the connection ended after {done:,} of {total:,} bytes")


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"the server answers {error.code} {error.reason}"
    return str(getattr(error, "reason", None) or error or type(error).__name__)
