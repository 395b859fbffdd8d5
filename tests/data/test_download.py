"""Downloads, from a server on this machine that cuts, forgets and changes its file."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from segmenter.data.download import download, verify
from segmenter.errors import UserError

CONTENT = bytes(range(256)) * 5000
SHA1, SHA256 = hashlib.sha1(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one file, and remembers what was asked."""

    content = CONTENT
    mark: str | None = '"v1"'
    cut_after: int | None = None
    """Bytes of an answer, after which the line is dropped."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/set.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if self.path != "/set.zip":
            self.send_error(404)
            return
        start = 0
        if wanted and self.headers.get("If-Range") == server.mark:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            if start >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.end_headers()
                return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            end = f"{len(server.content) - 1}/{len(server.content)}"
            self.send_header("Content-Range", f"bytes {start}-{end}")
        if server.mark:
            self.send_header("ETag", server.mark)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cut_after])


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def quiet(_done: int, _total: int | None) -> None:
    """Shows no progress."""


def test_a_file_arrives_whole_and_its_hash_is_kept(server: Server, tmp_path: Path) -> None:
    counted = []
    path = tmp_path / "new" / "set.zip"
    digest = download(server.url, path, SHA1, lambda *count: counted.append(count))
    assert digest == SHA256
    assert path.read_bytes() == CONTENT
    assert counted[-1] == (len(CONTENT), len(CONTENT))
    assert path.with_name("set.zip.sha256").read_text() == f"{SHA256}  set.zip\n"
    assert len(list(path.parent.iterdir())) == 2, "nothing else is left"


def test_a_download_that_was_cut_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    server.cut_after = 500_000
    with pytest.raises(UserError, match=r"it stopped after 500000 of 1280000 bytes; run the same"):
        download(server.url, path, SHA1, quiet)
    assert not path.exists()
    with pytest.raises(UserError, match="stopped after 1000000 of 1280000"):
        download(server.url, path, SHA1, quiet)
    server.cut_after = None
    assert download(server.url, path, SHA1, quiet) == SHA256
    assert server.asked == [None, "bytes=500000-", "bytes=1000000-"]


def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(
    server: Server, tmp_path: Path
) -> None:
    server.cut_after = 500_000
    with pytest.raises(UserError, match="it stopped"):
        download(server.url, tmp_path / "set.zip", None, quiet)
    server.content, server.mark, server.cut_after = CONTENT[::-1], '"v2"', None
    download(server.url, tmp_path / "set.zip", None, quiet)
    assert (tmp_path / "set.zip").read_bytes() == CONTENT[::-1]


def test_without_a_mark_of_the_version_it_starts_again(server: Server, tmp_path: Path) -> None:
    server.mark, server.cut_after = None, 500_000
    with pytest.raises(UserError, match="it stopped"):
        download(server.url, tmp_path / "set.zip", None, quiet)
    server.cut_after = None
    assert download(server.url, tmp_path / "set.zip", None, quiet) == SHA256
    assert server.asked == [None, None]


def test_a_whole_part_that_only_lacks_its_name_gets_it(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.zip.part").write_bytes(CONTENT)
    (tmp_path / "set.zip.part.version").write_text('"v1"')
    assert download(server.url, tmp_path / "set.zip", SHA1, quiet) == SHA256
    assert (tmp_path / "set.zip").read_bytes() == CONTENT


def test_a_file_with_another_hash_is_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"its SHA-1 is {SHA1}, expected 0000"):
        download(server.url, tmp_path / "set.zip", "0" * 40, quiet)
    assert not (tmp_path / "set.zip").exists()
    assert not (tmp_path / "set.zip.part").exists()


def test_a_file_that_is_there_is_never_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_text("mine")
    with pytest.raises(UserError, match="exists; a download never replaces a file"):
        download(server.url, tmp_path / "set.zip", None, quiet)
    assert server.asked == []


def test_a_missing_file_and_a_missing_server_are_one_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be downloaded: 404"):
        download(server.url.replace("set", "no"), tmp_path / "a", None, quiet)
    with pytest.raises(UserError, match=r"cannot be downloaded: .*; run the same command again"):
        download("http://127.0.0.1:9/set.zip", tmp_path / "a", None, quiet)


def test_a_file_is_compared_with_its_first_time(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(CONTENT)
    assert verify(path, None) == verify(path, SHA1) == SHA256
    path.write_bytes(CONTENT[1:])
    with pytest.raises(UserError, match=f"expected {SHA256}; it was cut, damaged or changed"):
        verify(path, None)
