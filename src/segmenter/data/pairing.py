"""Finding photos and the masks that belong to them, in folders and in list files.

What does not pair up is not raised but handed back as problems: training refuses them, the data
check lists them all.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from segmenter.data.formats import IMAGE_SUFFIXES
from segmenter.data.problems import Problem, errors_in
from segmenter.errors import UserError

_ONLY_SPLIT = "all"
LAYOUT = (
    "a data set is a folder with images/NAME.jpg, masks/NAME.png and classes.yaml (split folders "
    "such as images/train and masks/train are welcome), or one with lists such as train.txt, whose "
    "lines name an image and its mask"
)


@dataclass(frozen=True)
class Item:
    """One photo and its mask, not yet read."""

    name: str
    """Path of the image inside its data set, without suffix and with `/` between folders."""
    image: Path
    mask: Path | None
    """None where a list names only the image, to predict it."""


@dataclass(frozen=True)
class Pairing:
    """The items that were found, and what could not become one."""

    splits: dict[str, tuple[Item, ...]]
    """Items of each split, in the order of their names or of the list."""
    problems: tuple[Problem, ...] = ()


def find_pairs(root: Path) -> Pairing:
    """The items of each split, in either form of a data set.

    Lists win over folders: a folder of photos with a `train.txt` beside it is split by the list.

    Raises:
        UserError: If `root` is in neither form.
    """
    if root.is_file():
        return _read_lists([root])
    if not root.is_dir():
        raise UserError(f"no such folder: {root}")
    lists = [path for path in sorted(root.glob("*.txt")) if _is_list(path)]
    if lists:
        return _read_lists(lists)
    for name in ("images", "masks"):
        if not (root / name).is_dir():
            raise UserError(f"{root} has no folder {name!r}; {LAYOUT}")
    return _pair_folders(root)


def refuse_problems(found: Pairing) -> None:
    """Raise the first error in how images and masks pair up, if there is any.

    Raises:
        UserError: The error, and for how many images there is no mask.
    """
    errors = errors_in(found.problems)
    if not errors:
        return
    first = errors[0]
    alike = [problem for problem in errors if problem.kind == first.kind]
    if first.kind != "photo-without-mask":
        raise UserError(first.message)
    num_images = sum(map(len, found.splits.values())) + len(alike)
    raise UserError(f"{len(alike)} of {num_images} images have no mask; the first: {first.message}")


def without_mask(image: Path, expected: Path) -> Problem:
    """The problem of a photo whose mask is not where it should be."""
    return Problem("photo-without-mask", f"{image} has no mask; expected {expected}", (image,))


def same_name(first: Path, second: Path) -> Problem:
    """The problem of two photos that one mask would belong to."""
    message = f"{first} and {second} differ only in suffix; rename one"
    return Problem("same-name", message, (first, second))


def walk_images(
    folder: Path,
    enters: Callable[[Path], bool] = lambda _: True,
    ancestors: frozenset[str] = frozenset(),
) -> Iterator[Path]:
    """Images in a folder and those in it, by name; links are followed, but not in circles.

    Hidden files and folders are passed over.

    Args:
        folder: Where to look.
        enters: Whether to look into a folder that was found.
        ancestors: True paths of the folders around this one.

    Raises:
        UserError: If a folder cannot be read.
    """
    ancestors = ancestors | {os.path.realpath(folder)}
    names, folders = [], set()  # a folder may hold a million names
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_dir(entry):
                    folders.add(entry.name)
                elif os.path.splitext(entry.name)[1].lower() not in IMAGE_SUFFIXES:  # noqa: PTH122
                    continue
                names.append(entry.name)
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from None
    names.sort()
    for name in names:
        path = folder / name
        if name not in folders:
            yield path
        elif os.path.realpath(path) not in ancestors and enters(path):
            yield from walk_images(path, enters, ancestors)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _pair_folders(root: Path) -> Pairing:
    """Items of `images` and `masks`; the folders in `images` are splits if no photo lies beside."""
    images = sorted(walk_images(root / "images"), key=lambda path: path.as_posix())
    if not images:
        raise UserError(f"no image in {root / 'images'}; {LAYOUT}")
    masks: dict[str, list[Path]] = {}
    for path in sorted(walk_images(root / "masks")):
        masks.setdefault(_name(path, root / "masks"), []).append(path)

    items: dict[str, Item] = {}
    problems = []
    for image in images:
        name = _name(image, root / "images")
        if name in items:
            problems.append(same_name(items[name].image, image))
        elif name not in masks:
            problems.append(without_mask(image, root / "masks" / f"{name}.png"))
        else:
            mask, *others = _png_or_all(masks[name])
            items[name] = Item(name, image, mask)
            if others:
                message = f"{mask} and {others[0]} are masks of one image; keep one"
                problems.append(Problem("several-masks", message, (mask, *others)))
    taken = {_name(image, root / "images") for image in images}
    for name in masks.keys() - taken:
        message = f"{masks[name][0]} has no photo; expected {root / 'images' / name}.jpg"
        problems.append(Problem("mask-without-photo", message, tuple(masks[name])))
    problems.sort(key=lambda problem: problem.paths)
    return Pairing(_by_split(items), tuple(problems))


def _by_split(items: dict[str, Item]) -> dict[str, tuple[Item, ...]]:
    flat = [item for name, item in items.items() if "/" not in name]
    if len(flat) == len(items):
        return {_ONLY_SPLIT: tuple(items.values())}
    if flat:
        raise UserError(
            f"{flat[0].image} lies beside split folders; move it into one of them, or take the "
            "photos of all out of their folders"
        )
    splits: dict[str, list[Item]] = {}
    for name, item in items.items():
        splits.setdefault(name.split("/")[0], []).append(item)
    return {split: tuple(members) for split, members in splits.items()}


def _png_or_all(candidates: list[Path]) -> list[Path]:
    """The masks of a photo, only the PNGs where there are any."""
    return [path for path in candidates if path.suffix.lower() == ".png"] or candidates


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _is_list(path: Path) -> bool:
    """Whether the first line names an image; READMEs and lists of class names do not."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            fields = _fields(next((line for line in file if line.strip()), ""))
    except (OSError, UnicodeDecodeError):
        return False
    return bool(fields) and Path(fields[0]).suffix.lower() in IMAGE_SUFFIXES


def _read_lists(paths: list[Path]) -> Pairing:
    """Each list is a split, with the name of its file."""
    read = {path.stem: _read_list(path) for path in paths}
    return Pairing(
        {split: items for split, (items, _) in read.items()},
        tuple(problem for _, problems in read.values() for problem in problems),
    )


def _read_list(path: Path) -> tuple[tuple[Item, ...], list[Problem]]:
    """Items of a list file, in its order; paths are relative to its folder, or absolute."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is no list of images: it is not text (UTF-8)") from None
    items: list[Item] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, start=1):
        fields = _fields(line)
        if not fields:
            continue
        if len(fields) > 2:
            raise UserError(
                f"{path}, line {number}: {len(fields)} fields, expected an image and its mask; "
                "put a tab between them if there are spaces in their names"
            )
        files = [path.parent / field for field in fields]
        # Path.is_file raises on a name that is too long.
        missing = next((file for file in files if not os.path.isfile(file)), None)  # noqa: PTH113
        if missing is not None:
            message = f"{path}, line {number}: no such file: {missing}"
            problems.append(Problem("missing-file", message, (path,)))
            continue
        items.append(Item(_list_name(fields[0]), files[0], files[1] if files[1:] else None))
    if not items and not problems:
        raise UserError(f"{path} names no image; each line is an image and its mask")
    return tuple(items), problems


def _fields(line: str) -> list[str]:
    """Split a line at tabs, or else commas, or else blanks."""
    separator = next((mark for mark in "\t," if mark in line), None)
    return [field.strip() for field in re.split(separator or r"\s+", line.strip()) if field.strip()]


def _list_name(field: str) -> str:
    """The item's name; without `..` or a root, so that it can name an output."""
    path = Path(field).with_suffix("")
    return "/".join(part for part in path.parts if part not in {"..", path.anchor})
