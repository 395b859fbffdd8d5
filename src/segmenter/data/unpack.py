"""Zip and tar archives unpacked so that a stopped run continues, and nothing is replaced."""

import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segmenter.errors import UserError
from segmenter.files.outputs import stays_inside, write_atomically

_MAX_FILE_BYTES = 1 << 30
_WINDOWS = 0
"""System of a zip's members, as programs of Windows (and DOS) state it."""
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # a password is asked for
    NotImplementedError,
)


@dataclass(frozen=True)
class _Member:
    """One file in an archive."""

    name: str
    size: int
    is_file: bool
    read: Callable[[], bytes]


def count_bytes(archive: Path) -> int:
    """Return how many bytes the files of an archive have, as it claims.

    Raises:
        UserError: If the archive is damaged.
    """
    with _opened(archive) as members:
        return sum(member.size for member in members)


def unpack(archive: Path, into: Path, on_file: Callable[[int, int], None]) -> None:
    """Write the files of an archive into a folder; those that are there are left as they are.

    Args:
        archive: A `.zip` or `.tar`, by its content.
        into: The folder; made if it is not there.
        on_file: Called after each file with how many are done, of how many.

    Raises:
        UserError: If the archive is damaged, a name in it leads out of the folder, another file is
            in the way, or a file cannot be written.
    """
    with _opened(archive) as members:
        for member in members:
            if not member.is_file or not stays_inside(member.name):
                raise UserError(
                    f"{archive} is not unpacked: {member.name!r} is a link, or leads out of the "
                    "folder; get the archive from where it is published"
                )
            if member.size > _MAX_FILE_BYTES:
                raise UserError(f"{archive}: {member.name!r} has {member.size} bytes: too many")
        checked: set[Path] = set()
        for place, member in enumerate(members, start=1):
            target = into / member.name
            if target.parent not in checked:
                _make_folder(target.parent, into)
                checked.add(target.parent)
            if not _is_there(target, member.size):
                with _naming(archive):
                    content = member.read()
                write_atomically(target, content, sync=False)
            on_file(place, len(members))


def _is_there(target: Path, size: int) -> bool:
    """Return True if an earlier run wrote this file; refuse one that is not as in the archive."""
    if not os.path.lexists(target):
        return False
    if target.is_file() and target.stat().st_size == size:
        return True
    raise UserError(
        f"{target} exists and differs from the archive; move it away, or give another PATH"
    )


def _make_folder(folder: Path, root: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be created: {error.strerror}") from None
    if not folder.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{folder} leads out of {root} through a link; remove it")


@contextmanager
def _opened(archive: Path) -> Iterator[list[_Member]]:
    """The files in an archive, without its folders."""
    with _naming(archive):
        is_zip = zipfile.is_zipfile(archive)
        opened = zipfile.ZipFile(archive) if is_zip else tarfile.open(archive)  # noqa: SIM115
    with opened:
        with _naming(archive):
            members = (
                _zip_members(opened)
                if isinstance(opened, zipfile.ZipFile)
                else _tar_members(opened)
            )
        yield members


def _zip_members(opened: zipfile.ZipFile) -> list[_Member]:
    if not all(info.filename for info in opened.infolist()):
        raise zipfile.BadZipFile("a file without a name")
    return [
        _Member(
            name=_plain(_slashed(info)),
            size=info.file_size,
            is_file=stat.S_IFMT(info.external_attr >> 16) in {0, stat.S_IFREG},
            read=lambda info=info: opened.read(info),
        )
        for info in opened.infolist()
        if not _slashed(info).endswith("/")
    ]


def _slashed(info: zipfile.ZipInfo) -> str:
    """Return a name with `/`: Windows PowerShell writes backslashes."""
    is_of_windows = info.create_system == _WINDOWS
    return info.filename.replace("\\", "/") if is_of_windows else info.filename


def _tar_members(opened: tarfile.TarFile) -> list[_Member]:
    def read(member: tarfile.TarInfo) -> bytes:
        file = opened.extractfile(member)
        return b"" if file is None else file.read()

    return [
        _Member(
            name=_plain(member.name),
            size=member.size,
            is_file=member.isreg(),
            read=lambda member=member: read(member),
        )
        for member in opened.getmembers()
        if not member.isdir()
    ]


def _plain(name: str) -> str:
    """Without `./` in front."""
    return PurePosixPath(name).as_posix()


@contextmanager
def _naming(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise UserError(
            f"{archive} is damaged or not an archive: {error}; remove it and get it again"
        ) from None
