"""Downloads from a server on this machine: resumed, checked, and one line when they fail."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from unremarkable.datasets.catalog.base import Download, Entry
from unremarkable.datasets.catalog.fetch import get
from unremarkable.datasets.catalog.registry import find_entry
from unremarkable.datasets.download import fetch
from unremarkable.errors import UsageError

CONTENT = bytes(range(256)) * 12_000  # 3 MB: several reads
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT at /set.npz, with ranges; ends early after `server.cut` bytes."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        wanted = self.headers["Range"]
        self.server.asked.append(wanted)
        if self.path != "/set.npz":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


class Server(HTTPServer):
    """A publisher on this machine."""

    cut: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    def url(self, name: str = "set.npz") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.fixture
def entry(server: Server) -> Entry:
    files = (Download("set.npz", server.url(), MD5), Download("other.npz", server.url("gone"), "0" * 32))
    return replace(find_entry("pneumoniamnist"), name="set", downloads=files)


def test_whole_checked_and_not_repeated(entry: Entry, server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    path = get(entry, tmp_path / "new", progress=lambda *state: told.append(state))
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)
    assert get(entry, tmp_path / "new") == path
    assert server.asked == [None]


def test_an_interrupted_download_goes_on(entry: Entry, server: Server, tmp_path: Path) -> None:
    server.cut = 2_000_000
    with pytest.raises(UsageError, match=r"ended after 2,000,000 of 3,072,000 bytes; 2,000,000 bytes are kept"):
        get(entry, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz.part"]
    server.cut = None
    assert get(entry, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=2000000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]


def test_a_wrong_checksum_keeps_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"another file than the published one: md5 {MD5[:8]}…, not 00000000…"):
        fetch(server.url(), tmp_path / "x.npz", "md5", "0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_no_page_no_network_and_no_such_file(entry: Entry, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the server answers 404"):
        get(entry, tmp_path, "other.npz")
    with pytest.raises(UsageError, match=r"unknown file of set 'sets\.npz'; did you mean 'set\.npz'"):
        get(entry, tmp_path, "sets.npz")
    nobody = replace(entry, downloads=(Download("set.npz", "http://127.0.0.1:9/set.npz", MD5),))
    with pytest.raises(UsageError, match=r"cannot fetch http://127\.0\.0\.1:9/set\.npz: .*refused") as error:
        get(nobody, tmp_path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_another_file_in_its_place_is_left_alone(entry: Entry, server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(b"mine")
    with pytest.raises(UsageError, match="is there already and is not the published file; move it away"):
        get(entry, tmp_path)
    assert (tmp_path / "set.npz").read_bytes() == b"mine"
    assert server.asked == []


@pytest.mark.parametrize(("name", "needs"), [("mura", "registration"), ("br35h", "Kaggle account")])
def test_what_takes_an_account_says_so(name: str, needs: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{name} cannot be fetched from here: .*{needs}.*see https://.*--as {name}"):
        get(find_entry(name), tmp_path)
