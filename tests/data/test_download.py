"""Downloads, from a server on this machine that cuts, forgets and changes its file."""

import hashlib
from pathlib import Path

import pytest

from segmenter.data.download import download, verify
from segmenter.errors import UserError
from tests.helpers.downloads import CONTENT, Server

SHA1, SHA256 = hashlib.sha1(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()


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
