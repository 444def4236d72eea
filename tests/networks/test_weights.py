from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from unremarkable.errors import UsageError
from unremarkable.networks import weights
from unremarkable.networks.weights import find_weights, get_weights, weights_folder, weights_table

CONTENT = bytes(range(256)) * 20_000  # 5 MB: several reads
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(HTTPServer):
    """Serves CONTENT at /file.pth, as told: with or without ranges, cut short, or something else."""

    content = CONTENT
    ranges = True
    cut: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        wanted = self.headers["Range"]
        self.server.asked.append(wanted)
        if self.path != "/file.pth":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.ranges else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.server.content) - start))
        self.end_headers()
        self.wfile.write(self.server.content[start : self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The weights of resnet18 are CONTENT, published by a server on this machine; nothing is on disk yet."""
    monkeypatch.setenv("UNREMARKABLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("UNREMARKABLE_WEIGHTS", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    with Server() as served:
        url = f"http://127.0.0.1:{served.server_port}/file.pth"
        entry = replace(weights._FILES["resnet18"], url=url, sha256=DIGEST, file="file.pth")
        monkeypatch.setitem(weights._FILES, "resnet18", entry)
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def files() -> list[str]:
    return sorted(path.name for path in weights_folder().iterdir())


def test_a_download_is_whole_checked_and_not_repeated(server: Server) -> None:
    told: list[tuple[int, int | None]] = []
    path = get_weights("resnet18", lambda done, total: told.append((done, total)))
    assert path == weights_folder() / "file.pth"
    assert path.read_bytes() == CONTENT
    assert files() == ["file.pth"]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)
    assert get_weights("resnet18") == find_weights("resnet18") == path
    assert server.asked == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on(server: Server, ranges: bool) -> None:
    server.cut, server.ranges = 3_000_000, ranges
    with pytest.raises(
        UsageError, match=r"ended after 3,000,000 of 5,120,000 bytes; 3,000,000 bytes are kept"
    ) as error:
        get_weights("resnet18")
    assert "\n" not in str(error.value)
    assert files() == ["file.pth.part"]
    with pytest.raises(UsageError, match="not on this machine"):
        find_weights("resnet18")

    server.cut = None
    told: list[tuple[int, int | None]] = []
    assert get_weights("resnet18", lambda *state: told.append(state)).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=3000000-"]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert (told[0][0] > 3_000_000) == ranges
    assert files() == ["file.pth"]


def test_another_file_than_the_published_one_is_not_kept(server: Server) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(UsageError, match=rf"another file than the published one.*not {DIGEST[:8]}"):
        get_weights("resnet18")
    assert files() == []


def test_a_part_that_is_already_whole_is_taken(server: Server) -> None:
    weights_folder().mkdir(parents=True)
    (weights_folder() / "file.pth.part").write_bytes(CONTENT)
    assert get_weights("resnet18").read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]
    assert files() == ["file.pth"]


def test_a_part_of_something_else_is_thrown_away(server: Server) -> None:
    weights_folder().mkdir(parents=True)
    (weights_folder() / "file.pth.part").write_bytes(CONTENT + b"left over")
    with pytest.raises(UsageError, match="another file"):
        get_weights("resnet18")
    assert get_weights("resnet18").read_bytes() == CONTENT


def test_a_missing_page_and_a_missing_network_are_one_line(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = weights._FILES["resnet18"]
    assert entry.url
    monkeypatch.setitem(weights._FILES, "resnet18", replace(entry, url=entry.url + ".gone"))
    with pytest.raises(UsageError, match="the server answers 404"):
        get_weights("resnet18")
    monkeypatch.setitem(weights._FILES, "resnet18", replace(entry, url="http://127.0.0.1:9/file.pth"))
    with pytest.raises(UsageError, match=r"cannot fetch http://127\.0\.0\.1:9/file\.pth: .*refused"):
        get_weights("resnet18")
    assert files() == []


def test_an_unwritable_cache_is_one_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(UsageError, match="cannot fetch"):
        get_weights("resnet18")


def test_the_users_folder_comes_before_the_cache(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = get_weights("resnet18")
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setenv("UNREMARKABLE_WEIGHTS", str(own))
    assert find_weights("resnet18") == cached
    (own / "file.pth").write_bytes(CONTENT)
    assert find_weights("resnet18") == own / "file.pth"


def test_what_is_missing_is_said_with_all_that_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNREMARKABLE_WEIGHTS", str(tmp_path / "own"))
    monkeypatch.setenv("UNREMARKABLE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError) as error:
        find_weights("wide_resnet50_2")
    for part in [
        "wide_resnet50_2-95faca4d.pth",
        "sha256 95faca4d",
        str(tmp_path / "own"),
        str(tmp_path / "cache" / "weights"),
        "unremarkable weights get wide_resnet50_2",
    ]:
        assert part in str(error.value)
    with pytest.raises(UsageError, match="unknown backbone 'resnet19'; did you mean"):
        find_weights("resnet19")


def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNREMARKABLE_WEIGHTS", str(tmp_path))
    (tmp_path / "vgg16-397923af.pth").write_bytes(b"half of it")
    with pytest.raises(UsageError, match=r"vgg16-397923af\.pth is not the published file: its sha256 is .* delete it"):
        find_weights("vgg16")


def test_lite_weights_are_found_in_their_package_and_never_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNREMARKABLE_WEIGHTS", raising=False)
    path = find_weights("efficientnet-lite0")
    assert path.name == f"efficientnet-lite0-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    assert get_weights("efficientnet-lite0") == path
    entry = replace(weights._FILES["efficientnet-lite0"], package="not-installed")
    monkeypatch.setitem(weights._FILES, "efficientnet-lite0", entry)
    with pytest.raises(UsageError, match="pip install --no-deps not-installed"):
        get_weights("efficientnet-lite0")


def test_the_table_names_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNREMARKABLE_CACHE", str(tmp_path))
    rows = {row["name"]: row for row in weights_table()}
    assert rows["efficientnet-lite0"]["path"]
    assert rows["resnet18"]["path"] is None
    assert rows["resnet18"]["source"] == "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    for name, row in rows.items():
        if not name.startswith("lpips-"):  # whose files are named after their networks alone
            assert str(row["sha256"])[:8] == str(row["file"]).rpartition("-")[2].removesuffix(".pth")
        assert len(str(row["sha256"])) in (8, 64), "whole, or as much of it as the name has"
        assert row["licence"] in ("BSD-2-Clause", "BSD-3-Clause", "Apache-2.0")
