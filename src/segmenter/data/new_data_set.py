"""Make the folder of a data set aside, and rename it: all of it there, or nothing."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from segmenter.errors import UserError
from segmenter.files.outputs import sync_folder, sync_tree, write_atomically


def check_new(out: Path) -> None:
    """Refuse a data set whose folder exists, or has no folder above it."""
    if os.path.lexists(out):
        raise UserError(
            f"{out} exists, and a data set is never written over another; name a new one"
        )
    if not out.absolute().parent.is_dir():
        raise UserError(
            f"{out} cannot be created: the folder {out.parent} is missing; create it first"
        )


def check_outside(out: Path, folder: Path) -> None:
    """Refuse to write into what is read: the next run would find each image twice."""
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"{out} lies inside {folder}, which is read and stays as it is; name a folder outside"
        )


@contextlib.contextmanager
def aside(out: Path) -> Iterator[Path]:
    """Give a folder beside `out` that is gone afterwards, whatever happens."""
    folder = out.absolute().parent / f".segmenter-{secrets.token_hex(8)}.tmp"
    try:
        folder.mkdir()
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rename(made: Path, out: Path) -> None:
    """Force a finished data set to the disk, and give it its name."""
    try:
        sync_tree(made)
        check_new(out)  # once more: a rename would replace an empty folder
        made.rename(out)
        sync_folder(out.absolute().parent)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from None


def write_file(path: Path, content: bytes) -> None:
    """Write a file of a data set, and the folders above it."""
    make_folder(path.parent)
    write_atomically(path, content, sync=False)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be created: {error.strerror}") from None
