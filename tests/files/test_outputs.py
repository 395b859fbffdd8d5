"""Results are written whole or not at all, and never over files of others."""

import errno
import os
from pathlib import Path

import pytest

from segmenter.errors import UserError
from segmenter.files.manifest import MANIFEST_NAME
from segmenter.files.outputs import (
    OutputFolder,
    write_atomically,
    write_new,
    write_new_folder,
)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def fail_with(number: int):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("overwrite", [False, True])
def test_names_that_are_one_file_on_the_disk_are_refused(tmp_path: Path, overwrite: bool) -> None:
    folder = OutputFolder(tmp_path, overwrite=overwrite)
    folder.write("A.png", b"one")
    if not (tmp_path / "a.png").exists():  # capitals count here: a link stands for a disk without
        (tmp_path / "a.png").hardlink_to(tmp_path / "A.png")
    with pytest.raises(UserError, match="one file on this disk"):
        folder.write("a.png", b"two")
    assert (tmp_path / "A.png").read_bytes() == b"one"


def test_names_that_differ_in_capitals_are_two_files_where_these_count(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    folder.write("A.png", b"one")
    if (tmp_path / "a.png").exists():
        pytest.skip("capitals do not count on this disk")
    folder.write("a.png", b"two")
    assert files_in(tmp_path) >= {"A.png", "a.png"}
    with pytest.raises(UserError, match="two outputs have the name"):
        folder.write("A.png", b"three")


def test_a_file_is_written_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"old")
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert files_in(tmp_path) == {"a"}


def test_a_new_file_has_the_users_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_atomically(tmp_path / "a", b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_file_name_of_the_longest_length_can_be_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("n" * 255), b"x")
    assert files_in(tmp_path) == {"n" * 255}


def test_a_full_disk_is_the_users_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomically(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", fail_with(errno.ENOSPC))
    with pytest.raises(UserError, match=r"/a cannot be written: No space left on device"):
        write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert files_in(tmp_path) == {"a"}


def test_an_interrupted_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", b"new")
    assert files_in(tmp_path) == set()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none/a cannot be written: No such file"):
        write_atomically(tmp_path / "none" / "a", b"")


def test_a_file_system_that_cannot_sync_folders_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def sync_files_only(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir():
            fail_with(errno.EINVAL)()
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync_files_only)
    write_atomically(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_new_file_does_not_replace_one_unless_told(tmp_path: Path) -> None:
    write_new(tmp_path / "a", b"1", overwrite=False)
    with pytest.raises(UserError, match="--overwrite"):
        write_new(tmp_path / "a", b"2", overwrite=False)
    write_new(tmp_path / "a", b"3", overwrite=True)
    assert (tmp_path / "a").read_bytes() == b"3"


def test_the_folder_is_made_by_the_first_file(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "new" / "out")
    folder.check(["a/b.png"])
    assert not (tmp_path / "new").exists()
    assert folder.write("a/b.png", b"x") == tmp_path / "new" / "out" / "a" / "b.png"
    assert files_in(tmp_path / "new" / "out") == {"a/b.png", MANIFEST_NAME}


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        OutputFolder(tmp_path / "out", overwrite=True)
    with pytest.raises(UserError, match="cannot be written"):
        OutputFolder(tmp_path / "out" / "deeper").check([])
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(
    "name",
    [
        *("", "/a", "../a", "a/../../b", "a//b", "./a", "a/", "C:a", "a/c:b"),
        *("a\\b", "a\nb", "a\0b", "a\x7f", MANIFEST_NAME),
    ],
)
def test_a_name_that_could_leave_the_folder_is_refused(tmp_path: Path, name) -> None:
    folder = OutputFolder(tmp_path / "out", overwrite=True)
    for refuse in (lambda: folder.check([name]), lambda: folder.write(name, b"x")):
        with pytest.raises(UserError, match="not allowed"):
            refuse()
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("name", ["größe 1.png", "12:30:05.png", "a b/c'd.png", "..a", "x" * 255])
def test_an_odd_but_harmless_name_is_kept(tmp_path: Path, name) -> None:
    assert OutputFolder(tmp_path).write(name, b"x") == tmp_path / name
    OutputFolder(tmp_path).check([name])


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    root.mkdir()
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "file")
    folder = OutputFolder(root, overwrite=True)
    for name in ("folder/a", "file"):
        with pytest.raises(UserError, match="leads out"):
            folder.write(name, b"x")
    assert files_in(outside) == set()


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="cannot be written"):
        OutputFolder(tmp_path).check(["loop/a"])


def test_a_foreign_file_is_kept_unless_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    folder = OutputFolder(tmp_path)
    for refuse in (lambda: folder.check(["b", "a"]), lambda: folder.write("a", b"x")):
        with pytest.raises(UserError, match=r"/a exists .*--overwrite"):
            refuse()
    assert (tmp_path / "a").read_bytes() == b"mine"
    OutputFolder(tmp_path, overwrite=True).write("a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_later_run_replaces_our_own_file_but_not_an_edited_one(tmp_path: Path) -> None:
    OutputFolder(tmp_path).write("a", b"first")
    OutputFolder(tmp_path).write("a", b"second")
    assert (tmp_path / "a").read_bytes() == b"second"
    (tmp_path / "a").write_bytes(b"edited")
    with pytest.raises(UserError, match="changed since"):
        OutputFolder(tmp_path).check(["a"])


def test_a_file_of_ours_that_a_power_cut_left_empty_is_replaced(tmp_path: Path) -> None:
    OutputFolder(tmp_path).write("a", b"first")
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(b"")
    OutputFolder(tmp_path).write("a", b"second")
    with pytest.raises(UserError, match=r"b exists"):
        OutputFolder(tmp_path).write("b", b"x")


def test_a_run_that_died_between_note_and_file_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    OutputFolder(tmp_path).write("a", b"first")
    with monkeypatch.context() as patch:
        patch.setattr("segmenter.files.outputs.write_atomically", fail_with(errno.EIO))
        with pytest.raises(OSError, match="Input/output"):
            OutputFolder(tmp_path).write("a", b"second")
    OutputFolder(tmp_path).write("a", b"second")
    assert (tmp_path / "a").read_bytes() == b"second"


def test_a_damaged_manifest_only_forgets(tmp_path: Path) -> None:
    OutputFolder(tmp_path).write("a", b"x")
    manifest = tmp_path / MANIFEST_NAME
    damaged = b'[1]\n{"a": 1}\n[["b"], 1, []]\nnull\n\xff\n' + manifest.read_bytes() + b'\n["c", 3'
    manifest.write_bytes(damaged)
    OutputFolder(tmp_path).write("d", b"x")
    OutputFolder(tmp_path).check(["a", "d"])


def test_two_outputs_of_one_name_in_one_run_are_refused(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path, overwrite=True)
    with pytest.raises(UserError, match="2 outputs would have the name 'a'"):
        folder.check(["a", "b", "a"])
    folder.write("a", b"x")
    with pytest.raises(UserError, match="two outputs have the name 'a'"):
        folder.write("a", b"y")


def test_a_folder_in_the_place_of_a_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="exists"):
        OutputFolder(tmp_path).check(["a"])
    with pytest.raises(UserError, match="cannot be written"):
        OutputFolder(tmp_path, overwrite=True).write("a", b"x")
    assert (tmp_path / "a").is_dir()


def test_a_manifest_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    outside = tmp_path / "outside.txt"
    outside.write_text("precious")
    (tmp_path / "out" / MANIFEST_NAME).symlink_to(outside)
    with pytest.raises(UserError, match="is a link"):
        OutputFolder(tmp_path / "out")
    assert outside.read_text() == "precious"


def test_a_folder_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_new_folder(tmp_path / "page", {"a": b"1", "b": b"2"}, overwrite=False)
    assert files_in(tmp_path) == {"page/a", "page/b"}
    with pytest.raises(UserError, match="exists; give another name"):
        write_new_folder(tmp_path / "page", {"a": b"3"}, overwrite=False)
    monkeypatch.setattr(os, "fsync", fail_with(errno.ENOSPC))
    with pytest.raises(UserError, match="No space left"):
        write_new_folder(tmp_path / "other", {"a": b"1"}, overwrite=False)
    with pytest.raises(UserError, match="No space left"):
        write_new_folder(tmp_path / "page", {"a": b"3", "b": b"4"}, overwrite=True)
    assert files_in(tmp_path) == {"page/a", "page/b"}
    assert (tmp_path / "page" / "a").read_bytes() == b"1"


def test_a_folder_is_replaced_only_if_asked_and_if_nothing_else_would_be_lost(
    tmp_path: Path,
) -> None:
    write_new_folder(tmp_path / "page", {"a": b"1", "old": b"2"}, overwrite=False)
    write_new_folder(tmp_path / "page", {"a": b"3", "old": b"4"}, overwrite=True)
    assert files_in(tmp_path) == {"page/a", "page/old"}
    assert (tmp_path / "page" / "a").read_bytes() == b"3"
    with pytest.raises(UserError, match="holds 'old', which would be lost"):
        write_new_folder(tmp_path / "page", {"a": b"5"}, overwrite=True)
    (tmp_path / "link").symlink_to(tmp_path / "page")
    for name in ("link", "page/a"):
        with pytest.raises(UserError, match="not a folder"):
            write_new_folder(tmp_path / name, {"a": b"5"}, overwrite=True)
    assert (tmp_path / "page" / "a").read_bytes() == b"3"


def test_a_folder_whose_new_one_cannot_be_named_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_new_folder(tmp_path / "page", {"a": b"1"}, overwrite=False)
    rename = Path.rename

    def fail_for_new(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_new)
    with pytest.raises(UserError, match="cannot be written"):
        write_new_folder(tmp_path / "page", {"a": b"2"}, overwrite=True)
    assert files_in(tmp_path) == {"page/a"}
    assert (tmp_path / "page" / "a").read_bytes() == b"1"


def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="not a file that can be replaced"):
        write_new(pipe, b"data", overwrite=True)
    assert pipe.is_fifo()
