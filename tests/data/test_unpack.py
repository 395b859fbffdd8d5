"""Archives are unpacked whole, and never outside of their folder."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from segmenter.data.unpack import unpack
from segmenter.errors import UserError


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tar_of(path: Path, files: dict[str, bytes], link: str | None = None) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo("link")
            member.type, member.linkname = tarfile.SYMTYPE, link
            archive.addfile(member)
    return path


def quiet(_done: int, _total: int) -> None:
    """Shows no progress."""


FILES = {"set/a.txt": b"one", "set/deep/b.txt": b"two", "empty": b""}


@pytest.mark.parametrize("write", [zip_of, tar_of])
def test_files_come_out_as_they_went_in(write, tmp_path: Path) -> None:
    archive = write(tmp_path / "archive", {"./" + name: FILES[name] for name in FILES})
    counted = []
    unpack(archive, tmp_path / "out", lambda *count: counted.append(count))
    assert {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    } == FILES
    assert counted == [(1, 3), (2, 3), (3, 3)]


def test_a_zip_with_a_file_without_a_name_is_refused(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "archive.zip", {"a": b"one"})
    archive.write_bytes(archive.read_bytes().replace(b"a", b"\0"))  # a name ends at its first 0
    with pytest.raises(UserError, match="a file without a name"):
        unpack(archive, tmp_path / "out", quiet)


@pytest.mark.parametrize("write", [zip_of, tar_of])
def test_a_stopped_run_goes_on_and_leaves_what_is_there(write, tmp_path: Path) -> None:
    archive, out = write(tmp_path / "archive", FILES), tmp_path / "out"

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(archive, out, stop)
    first = out / "set/a.txt"
    assert [path for path in out.rglob("*") if path.is_file()] == [first]
    before = first.stat().st_mtime_ns
    unpack(archive, out, quiet)
    assert first.stat().st_mtime_ns == before
    assert (out / "set/deep/b.txt").read_bytes() == b"two"


def test_a_file_that_is_in_the_way_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.txt").write_text("mine, and longer")
    with pytest.raises(UserError, match=r"a.txt exists and differs from the archive"):
        unpack(zip_of(tmp_path / "archive", FILES), tmp_path, quiet)
    assert (tmp_path / "set/a.txt").read_text() == "mine, and longer"


@pytest.mark.parametrize("write", [zip_of, tar_of])
@pytest.mark.parametrize("name", ["../evil", "/evil", "set/../../evil", "C:/evil", "a\\..\\evil"])
def test_names_that_lead_out_are_refused_before_anything_is_written(
    write, name, tmp_path: Path
) -> None:
    archive = write(tmp_path / "archive", {"good": b"", name: b"!"})
    with pytest.raises(UserError, match="leads out of the folder"):
        unpack(archive, tmp_path / "in/out", quiet)
    assert not (tmp_path / "in").exists()
    assert not (tmp_path / "evil").exists()


def zip_of_windows(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo()
            member.filename, member.create_system = name, 0
            archive.writestr(member, content)
    return path


def test_a_zip_of_windows_may_have_backslashes(tmp_path: Path) -> None:
    files = {"set\\a.txt": b"one", "set\\deep\\": b"", "b.txt": b"two"}
    unpack(zip_of_windows(tmp_path / "a.zip", files), tmp_path / "out", quiet)
    assert (tmp_path / "out/set/a.txt").read_bytes() == b"one"
    assert (tmp_path / "out/b.txt").read_bytes() == b"two"
    for name in ("..\\evil", "\\evil", "set\\..\\..\\evil", "C:\\evil"):
        archive = zip_of_windows(tmp_path / "b.zip", {name: b"!"})
        with pytest.raises(UserError, match="leads out of the folder"):
            unpack(archive, tmp_path / "in/out", quiet)


def test_links_in_an_archive_and_in_the_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'link' is a link"):
        unpack(tar_of(tmp_path / "a.tar", {}, link="/etc"), tmp_path / "out", quiet)
    symlink = zipfile.ZipInfo("link")
    symlink.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(symlink, "/etc")
    with pytest.raises(UserError, match="'link' is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out", quiet)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/set").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"leads out of .* through a link"):
        unpack(zip_of(tmp_path / "b.zip", FILES), tmp_path / "out", quiet)
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_damaged_archive_is_one_line(tmp_path: Path) -> None:
    whole = zip_of(tmp_path / "a.zip", {"a": bytes(range(256)) * 40}).read_bytes()
    for content in (b"", b"no archive", whole[:-30], whole[:60] + b"\xff" * 9 + whole[69:]):
        (tmp_path / "b.zip").write_bytes(content)
        with pytest.raises(UserError, match="is damaged or not an archive"):
            unpack(tmp_path / "b.zip", tmp_path / "out", quiet)
        assert not list((tmp_path / "out").glob("*"))
    cut = tar_of(tmp_path / "a.tar", {"a": b"1" * 5000}).read_bytes()[:3000]
    (tmp_path / "a.tar").write_bytes(cut)
    with pytest.raises(UserError, match="is damaged or not an archive"):
        unpack(tmp_path / "a.tar", tmp_path / "out", quiet)
