"""The record of strokes: whatever a kill leaves of it, all that was acknowledged is there."""

from pathlib import Path

import pytest

from segmenter.errors import UserError
from segmenter.extras.labelling.journal import Journal, read_journal

ENTRIES = [{"kind": "stroke", "number": number, "text": "ü\n"} for number in range(3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "a.strokes"
    journal = Journal(path)
    for entry in ENTRIES:
        journal.append(entry)
    return path


def test_a_file_cut_at_any_byte_keeps_all_whole_entries_and_grows_on(path: Path) -> None:
    whole = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = ENTRIES[: sum(end <= cut for end in ends)]
        assert read_journal(path)[0] == kept
    path.write_bytes(whole[:-5])
    journal = Journal(path)
    journal.append({"kind": "more"})
    assert read_journal(path)[0] == journal.entries == [*ENTRIES[:2], {"kind": "more"}]


def test_zeros_behind_the_last_entry_are_left_out(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(600) + b"\n")
    assert read_journal(path) == (ENTRIES, len(whole))


def test_a_damaged_line_before_the_last_is_named_and_nothing_is_written(path: Path) -> None:
    damaged = path.read_bytes().replace(b'"number":1', b'"number":9')
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"a\.strokes, line 2 is damaged"):
        Journal(path)
    assert path.read_bytes() == damaged


def test_a_failed_write_leaves_the_record_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, before = Journal(path), path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segmenter.extras.labelling.journal.os.fsync", full)
    with pytest.raises(UserError, match="No space left on device; the last stroke is not saved"):
        journal.append({"kind": "more"})
    assert (path.read_bytes(), journal.entries) == (before, ENTRIES)


def test_no_link_is_written_through(tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.write_bytes(b"")
    (tmp_path / "a.strokes").symlink_to(target)
    with pytest.raises(UserError, match="cannot be written"):
        Journal(tmp_path / "a.strokes").append({"kind": "more"})
    assert target.read_bytes() == b""
