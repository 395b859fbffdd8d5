"""A labelled data set on disk: which photos there are, their masks, their splits, their classes.

Two forms are read. A folder with `images` and `masks`, where a mask has the name of its photo, with
or without a sub-folder for each split. Or one text file for each split, a line naming a photo and
its mask, as PaddleSeg has them.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Shaped
from numpy import ndarray

from segmenter.classes import Classes, read_classes
from segmenter.data.decode import IMAGE_SUFFIXES, decode_image, decode_mask
from segmenter.data.mask_values import map_values
from segmenter.data.sample import Sample
from segmenter.errors import UserError
from segmenter.validation import nearest

CLASSES_FILE = "classes.yaml"
_ONLY_SPLIT = "all"
_PUBLISHED_SPLITS = {
    "training": "train",
    "train2017": "train",
    "validation": "val",
    "val2017": "val",
}
_LAYOUT = (
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
class LabelledFolder:
    """A data set, not yet read."""

    root: Path
    classes: Classes
    splits: dict[str, tuple[Item, ...]]
    """Items of each split, in the order of their names or of the list."""
    scored: str = "test"
    """The split to score on where none is named."""

    def items(self, *splits: str) -> tuple[Item, ...]:
        """The items of some splits, one split after the other.

        Names that published data sets have for `train` and `val` mean these, if there is no such
        split: `training`, `validation`, `train2017`, `val2017`.

        Raises:
            UserError: If there is no such split.
        """
        names = [
            split if split in self.splits else _PUBLISHED_SPLITS.get(split, split)
            for split in splits
        ]
        for split in names:
            if split not in self.splits:
                known = sorted(self.splits)
                raise UserError(
                    f"{self.root} has no split {split!r}{nearest(split, known)}; "
                    f"it has {', '.join(known)}"
                )
        return tuple(item for split in names for item in self.splits[split])


def open_folder(root: Path, classes: Classes | None = None) -> LabelledFolder:
    """Find the items and classes of a data set; no image is opened yet.

    Args:
        root: A folder in one of the two forms, or a single list file.
        classes: Instead of those in the folder's `classes.yaml`.

    Raises:
        UserError: If it is in neither form, or images and masks do not pair up.
    """
    splits = find_splits(root)
    if classes is None:
        path = (root if root.is_dir() else root.parent) / CLASSES_FILE
        if not path.is_file():
            raise UserError(
                f"no such file: {path}; it says which mask values mean which class, such as "
                '"classes: [{name: road, color: [128, 64, 128], values: [1]}]"'
            )
        classes = read_classes(path)
    return LabelledFolder(root, classes, splits)


def find_splits(root: Path) -> dict[str, tuple[Item, ...]]:
    """The items of each split, without asking for classes.

    Lists win over folders: a folder of photos with a `train.txt` beside it is split by the list.

    Raises:
        UserError: As `open_folder`.
    """
    if root.is_file():
        return {root.stem: _read_list(root)}
    if not root.is_dir():
        raise UserError(f"no such folder: {root}")
    lists = [path for path in sorted(root.glob("*.txt")) if _is_list(path)]
    if lists:
        return {path.stem: _read_list(path) for path in lists}
    for name in ("images", "masks"):
        if not (root / name).is_dir():
            raise UserError(f"{root} has no folder {name!r}; {_LAYOUT}")
    return _pair_folders(root)


def hold_out(
    items: Sequence[Item], share: float = 0.1
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Split items into (train, val), chosen by a hash of their names: always the same way.

    Of two items or more, each side gets at least one.
    """
    by_hash = sorted(items, key=lambda item: hashlib.sha256(item.name.encode()).digest())
    num_val = min(max(round(len(items) * share), 1), len(items) - 1)
    held = set(by_hash[: max(num_val, 0)])
    train = tuple(item for item in items if item not in held)
    return train, tuple(item for item in items if item in held)


def read_sample(item: Item, classes: Classes) -> Sample:
    """Read a photo and its labels.

    Raises:
        UserError: If one cannot be read, they differ in size, or a mask value has no class.
    """
    image = decode_image(item.image)
    labels = read_labels(item, classes)
    check_sizes(item, (image.shape[0], image.shape[1]), (labels.shape[0], labels.shape[1]))
    return Sample(image, labels)


def read_labels(item: Item, classes: Classes) -> Shaped[ndarray, "height width"]:
    """Read the labels of a photo alone.

    Raises:
        UserError: If the mask cannot be read, or one of its values has no class.
    """
    if item.mask is None:
        raise UserError(f"{item.image} has no mask; without one it can only be predicted")
    raw = decode_mask(item.mask, apply_palette=classes.is_rgb)
    return map_values(raw, classes, source=str(item.mask))


def check_sizes(item: Item, image_size: tuple[int, int], mask_size: tuple[int, int]) -> None:
    """Refuse a mask that has not the (height, width) of its photo."""
    if image_size == mask_size:
        return
    hint = "; save the mask at the size of its image"
    if image_size == mask_size[::-1]:
        hint = (
            "; the image is turned upright as its EXIF data say, and the mask is not: turn the "
            "mask too, or remove the image's EXIF orientation"
        )
    raise UserError(
        f"{item.mask} has {mask_size[0]} x {mask_size[1]} pixels (height x width), but "
        f"{item.image} has {image_size[0]} x {image_size[1]}{hint}"
    )


def _pair_folders(root: Path) -> dict[str, tuple[Item, ...]]:
    """Items of `images` and `masks`; the folders in `images` are splits if no photo lies beside."""
    images = sorted(walk_images(root / "images"), key=lambda path: path.as_posix())
    if not images:
        raise UserError(f"no image in {root / 'images'}; {_LAYOUT}")
    masks: dict[str, list[Path]] = {}
    for path in sorted(walk_images(root / "masks")):
        masks.setdefault(_name(path, root / "masks"), []).append(path)

    items: dict[str, Item] = {}
    without_mask = []
    for image in images:
        name = _name(image, root / "images")
        if name in items:
            raise UserError(f"{items[name].image} and {image} differ only in suffix; rename one")
        if name not in masks:
            without_mask.append(image)
            continue
        items[name] = Item(name, image, _choose_mask(masks[name]))
    if without_mask:
        raise UserError(
            f"{len(without_mask)} of {len(images)} images have no mask, first {without_mask[0]}; "
            f"expected {root / 'masks' / _name(without_mask[0], root / 'images')}.png"
        )

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


def _choose_mask(candidates: list[Path]) -> Path:
    """The only mask of a photo, or the only PNG among several."""
    png = [path for path in candidates if path.suffix.lower() == ".png"]
    best = png or candidates
    if len(best) > 1:
        raise UserError(f"{best[0]} and {best[1]} are masks of one image; keep one")
    return best[0]


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def walk_images(folder: Path, ancestors: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Images in a folder and those in it, following links but never in a circle.

    Raises:
        UserError: If a folder cannot be read.
    """
    ancestors = ancestors | {os.path.realpath(folder)}
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = folder / entry.name
        if _is_dir(entry):
            if os.path.realpath(path) not in ancestors:
                yield from walk_images(path, ancestors)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield path


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_list(path: Path) -> bool:
    """Whether the first line names an image; READMEs and lists of class names do not."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            fields = _fields(next((line for line in file if line.strip()), ""))
    except (OSError, UnicodeDecodeError):
        return False
    return bool(fields) and Path(fields[0]).suffix.lower() in IMAGE_SUFFIXES


def _read_list(path: Path) -> tuple[Item, ...]:
    """Items of a list file, in its order; paths are relative to its folder, or absolute."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is no list of images: it is not text (UTF-8)") from None
    items = []
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
        for file in files:
            if not os.path.isfile(file):  # noqa: PTH113 - Path raises on a name that is too long
                raise UserError(f"{path}, line {number}: no such file: {file}")
        items.append(Item(_list_name(fields[0]), files[0], files[1] if files[1:] else None))
    if not items:
        raise UserError(f"{path} names no image; each line is an image and its mask")
    return tuple(items)


def _fields(line: str) -> list[str]:
    """Split a line at tabs, or else commas, or else blanks."""
    separator = next((mark for mark in "\t," if mark in line), None)
    return [field.strip() for field in re.split(separator or r"\s+", line.strip()) if field.strip()]


def _list_name(field: str) -> str:
    """The item's name; without `..` or a root, so that it can name an output."""
    path = Path(field).with_suffix("")
    return "/".join(part for part in path.parts if part not in {"..", path.anchor})
