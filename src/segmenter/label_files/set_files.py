"""Files that tell of all images of a run, written without holding more than one in memory."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from segmenter.classes import Classes
from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.label_files.annotations.annotation_files import SET_FORMATS, ReadLines


class SetFiles:
    """Collects, on the disk, what each file says of each image, and writes the files at the end.

    Args:
        formats: Names of `SET_FORMATS`.
        classes: What labels stand for.
        folder: Where they are written.

    Raises:
        UserError: If the disk does not take it.
    """

    def __init__(self, formats: Iterable[str], classes: Classes, folder: OutputFolder) -> None:
        self.classes, self.folder = classes, folder
        self._spools: dict[str, IO[bytes]] = {}
        self._open = ExitStack()
        try:
            for each in formats:
                folder.root.mkdir(parents=True, exist_ok=True)
                spool = TemporaryFile(dir=folder.root)  # noqa: SIM115 (open as long as this is)
                self._spools[each] = self._open.enter_context(spool)
        except OSError as error:
            raise self._full(error) from None

    def __enter__(self) -> "SetFiles":
        """Collect within a `with` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of what was collected."""
        self._open.close()

    def add(self, lines: Mapping[str, str]) -> None:
        """Take in one image; the order of images is that of calls."""
        try:
            for each, line in lines.items():
                self._spools[each].write(f"{line}\n".encode(errors="backslashreplace"))
        except OSError as error:
            raise self._full(error) from None

    def write(self) -> list[Path]:
        """Put the files together."""
        return [
            write_set_file(
                self.folder,
                SET_FORMATS[each].file_name,
                each,
                lambda s=spool: _lines(s),
                self.classes,
            )
            for each, spool in self._spools.items()
        ]

    def _full(self, error: OSError) -> UserError:
        return UserError(f"{self.folder.root} cannot be written: {error.strerror}")


def write_set_file(
    folder: OutputFolder, name: str, format: str, read_lines: ReadLines, classes: Classes
) -> Path:
    """Write one file that tells of all images.

    Args:
        folder: Where it is written.
        name: What it is called.
        format: A name of `SET_FORMATS`.
        read_lines: What it says of each image.
        classes: What labels stand for.

    Raises:
        UserError: If it cannot be written.
    """
    with folder.writing(name) as temporary, temporary.open("wb") as file:
        for part in SET_FORMATS[format].parts(read_lines, classes):
            file.write(part.encode(errors="backslashreplace"))
    return folder.root / name


def _lines(spool: IO[bytes]) -> Iterator[str]:
    spool.seek(0)
    for line in spool:
        yield line.decode().removesuffix("\n")
