"""Find images on disk, and a name for what is made of each."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from segmenter.data.decoding.image_formats import (
    ARRAY_SUFFIXES,
    IMAGE_SUFFIXES,
    REPORTED_SUFFIXES,
    describe_passed_over,
)
from segmenter.data.pairing.walking import walk_images
from segmenter.errors import UserError
from segmenter.files.manifest import is_output_folder, written_names
from segmenter.files.outputs import stays_inside

_MAX_NAME_BYTES = 255 - 20  # of most file systems, less the longest ending that we add
_GLOB_CHARACTERS = frozenset("*?[")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # not a drive, such as C:/


def find_images(
    inputs: Sequence[str], passed_over: Counter[str] | None = None
) -> list[tuple[Path, str]]:
    """Find images, and a name for what is made of each, in the order of the names.

    Hidden files and folders, and folders that an earlier run wrote into, are skipped.

    Args:
        inputs: Images, folders (searched to any depth), and patterns such as `shots/**/*.jpg`.
        passed_over: Counts the files of formats that are not read, by suffix.

    Returns:
        Each image with its path, less the suffix, inside the folder or pattern it was found by.

    Raises:
        UserError: If an input is missing or holds no image, or if two images have the same name.
    """
    found: dict[str, Path] = {}
    for path, name in walk_inputs(inputs, passed_over):
        other = found.setdefault(name, path)
        if os.path.abspath(other) != os.path.abspath(path):  # noqa: PTH100 (links stay links)
            raise same_result(other, path, name)
    return [(path, name) for name, path in sorted(found.items())]


def walk_inputs(
    inputs: Sequence[str], passed_over: Counter[str] | None = None
) -> Iterator[tuple[Path, str]]:
    """Yield the images of `find_images` as they are found, without a look at whether names repeat.

    Memory holds the names in one folder at a time, so a million images are found as easily as ten.
    """
    for given in inputs:
        counts: Counter[str] = Counter()
        yield from _expand(given, counts)
        if passed_over is not None:
            passed_over.update(counts)


def same_result(first: Path, second: Path, name: str) -> UserError:
    """Return the mistake of two images whose results would have the same name."""
    return UserError(
        f"{first} and {second} would both be written as {name!r}; rename one, or label "
        "them in two runs with different output folders"
    )


def refuse_address(given: str) -> None:
    """Say what to do instead where an input that no file has as its name is a stream or camera.

    Raises:
        UserError: If it is an address, such as `rtsp://HOST/PATH`, or the number of a camera.
    """
    if _ADDRESS.match(given):
        raise UserError(
            f"{given} is an address, and nothing is read from the net; download the file, or have "
            "ffmpeg write the stream into a named pipe: `mkfifo live.ts`, `ffmpeg -y -i ADDRESS "
            "-c copy -f mpegts live.ts`, and give live.ts (docs/how-to/video.md)"
        )
    if given.isdecimal():
        raise UserError(
            f"no such file or folder: {given}; a camera is given by its device, such as "
            "/dev/video0 (docs/how-to/video.md)"
        )
    if given.startswith("/dev/video"):
        raise UserError(f"no camera at {given}; list the cameras with `ls /dev/video*`")


def before_wildcard(given: str) -> Path:
    """Return an input, up to its first wildcard where it is a pattern."""
    path = Path(given)
    if os.path.lexists(path) or not _GLOB_CHARACTERS & set(given):
        return path
    depth = next(index for index, part in enumerate(path.parts) if _GLOB_CHARACTERS & set(part))
    return Path(*path.parts[:depth])


def is_usable_name(name: str) -> bool:
    """Return True if results can be written under the name of an image, on any system."""
    last = name.rsplit("/", 1)[-1]
    return stays_inside(name) and len(os.fsencode(last)) <= _MAX_NAME_BYTES


def _expand(given: str, passed_over: Counter[str]) -> Iterator[tuple[Path, str]]:
    """Yield the images that one input stands for, with their names."""
    path = Path(given)
    if path.is_dir():
        images, base, what = _walk(path, passed_over), path, "folder"
    elif os.path.lexists(path):
        yield path, path.stem
        return
    elif _GLOB_CHARACTERS & set(given):
        images, base = _match(path, passed_over)
        what = "pattern"
    else:
        refuse_address(given)
        raise UserError(f"no such file or folder: {given}")
    num_parts = len(base.parts)
    first = next(images, None)
    if first is None:
        images = _arrays_in(path, passed_over)
        first = next(images, None)
    for image in chain(() if first is None else (first,), images):
        yield image, "/".join((*image.parts[num_parts:-1], image.stem))
    if first is None:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        others = describe_passed_over(passed_over)
        raise UserError(
            f"{what} {given} holds no image; {others or f'files with {suffixes} are looked for'}"
        )


def _arrays_in(folder: Path, passed_over: Counter[str]) -> Iterator[Path]:
    """Yield the arrays in a folder, which holds no image of another kind."""
    if folder.is_dir() and any(passed_over[each] for each in ARRAY_SUFFIXES):
        for suffix in ARRAY_SUFFIXES:
            passed_over.pop(suffix, None)
        yield from _walk(folder, Counter(), ARRAY_SUFFIXES)


def _walk(
    folder: Path, passed_over: Counter[str], suffixes: frozenset[str] = IMAGE_SUFFIXES
) -> Iterator[Path]:
    """Yield images in a folder to any depth; links are followed, but no folder is entered twice."""
    entered = {os.path.realpath(folder)}
    ours = written_names(folder)  # results may lie beside the images they were made from

    def enters(found: Path) -> bool:
        real = os.path.realpath(found)
        if real in entered or _is_passed_over(found):
            return False
        entered.add(real)
        return True

    for image in walk_images(folder, enters, suffixes=suffixes, passed_over=passed_over):
        if not ours or image.relative_to(folder).as_posix() not in ours:
            yield image


def _match(pattern: Path, passed_over: Counter[str]) -> tuple[Iterator[Path], Path]:
    """Return images that fit a pattern, and the folder before its first wildcard.

    `**` does not follow links.
    """
    base = before_wildcard(str(pattern))
    rest = pattern.relative_to(base)
    try:
        matches = sorted(base.glob(str(rest)))
    except ValueError as error:
        raise UserError(f"pattern {pattern}: {error}") from None

    named = {pattern.suffix.lower()} & ARRAY_SUFFIXES  # as in shots/*.npy

    def is_wanted(path: Path) -> bool:
        suffix = path.suffix.lower()
        is_seen = not path.name.startswith(".") and path.is_file()
        if is_seen and suffix in REPORTED_SUFFIXES - named:
            passed_over[suffix] += 1
        folders = [base / parent for parent in path.relative_to(base).parents][:-1]
        is_image = suffix in IMAGE_SUFFIXES | named
        return is_image and is_seen and not any(map(_is_passed_over, folders))

    return filter(is_wanted, matches), base


def _is_passed_over(folder: Path) -> bool:
    """Return True if a folder is hidden, or holds what an earlier run wrote."""
    return folder.name.startswith(".") or is_output_folder(folder)
