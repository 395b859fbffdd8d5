"""A labelled data set on disk: which images there are, their masks, their splits, their classes.

Two forms are read. A folder with `images` and `masks`, where a mask has the name of its image, with
or without a sub-folder for each split. Or one text file for each split, a line naming an image and
its mask, as PaddleSeg has them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Shaped
from numpy import ndarray

from segmenter.classes import Classes, read_classes
from segmenter.data.decoding.decode import decode_image, decode_mask, read_header
from segmenter.data.masks.problems import Problem
from segmenter.data.masks.values import map_values
from segmenter.data.pairing.items import Item
from segmenter.data.pairing.layouts import WAY_OUT
from segmenter.data.pairing.pair import find_pairs, folder_of, refuse_problems
from segmenter.data.sample import Sample
from segmenter.errors import UserError
from segmenter.files.yaml import nearest
from segmenter.options import Pairs

CLASSES_FILE = "classes.yaml"
_NO_PATTERNS = Pairs()
_PUBLISHED_SPLITS = {
    "training": "train",
    "train2017": "train",
    "validation": "val",
    "val2017": "val",
}


@dataclass(frozen=True)
class LabelledFolder:
    """A data set, not yet read."""

    root: Path
    classes: Classes
    splits: dict[str, tuple[Item, ...]]
    """Items of each split, in the order of their names or of the list."""
    scored: str = "test"
    """The split to score on where none is named."""
    problems: tuple[Problem, ...] = ()
    """Files that were left out, and the like; errors only where problems were to be kept."""
    is_published: bool = False
    """True: one of the published data sets, whose splits are not the user's to change."""
    pairing_note: str = ""
    """Rule by which images and masks were paired, in one line; empty for the plain one."""

    def items(self, *splits: str) -> tuple[Item, ...]:
        """Return the items of some splits, one split after the other.

        Names that published data sets have for `train` and `val` mean these, if there is no such
        split: `training`, `validation`, `train2017`, `val2017`.

        Raises:
            UserError: If the split does not exist.
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


def open_folder(
    root: Path,
    classes: Classes | None = None,
    *,
    keep_problems: bool = False,
    pairs: Pairs = _NO_PATTERNS,
) -> LabelledFolder:
    """Find the items and classes of a data set; no image is opened yet.

    Args:
        root: A folder in one of the two forms, or a single list file.
        classes: Instead of those in the folder's `classes.yaml`.
        keep_problems: Leave out what does not pair up, and say so in the result, instead of
            refusing the data set.
        pairs: Patterns of images and masks, if the user names them outright.

    Raises:
        UserError: If it is in neither form, or images and masks do not pair up.
    """
    found = find_pairs(root, pairs)
    if not keep_problems:
        refuse_problems(found, WAY_OUT if pairs.images is None else "")
    if classes is None:
        path = find_classes(root)
        if not has_classes(path):
            raise UserError(
                f"no such file: {path}; it maps mask values to classes, such as "
                '"classes: [{name: road, color: [128, 64, 128], values: [1]}]"'
            )
        classes = read_classes(path)
    return LabelledFolder(
        root, classes, found.splits, problems=found.problems, pairing_note=found.note
    )


def find_classes(root: Path) -> Path:
    """Return the path of the `classes.yaml` of a data set, or of the one that a list belongs to."""
    if root.is_dir():
        return root / CLASSES_FILE
    beside, of_set = root.parent / CLASSES_FILE, folder_of(root) / CLASSES_FILE
    return beside if has_classes(beside) else of_set


def has_classes(path: Path) -> bool:
    """Return True if there is such a file; an empty one counts as none.

    The shell makes it before a draft is written into it.

    Raises:
        UserError: If a folder has its name.
    """
    if path.is_dir():
        raise UserError(
            f"{path} is a folder, but the file of classes has this name; rename the folder"
        )
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return bool(file.read(1 << 16).strip(b"\xef\xbb\xbf \t\r\n"))


def find_splits(root: Path, pairs: Pairs = _NO_PATTERNS) -> dict[str, tuple[Item, ...]]:
    """Return the items of each split, without asking for classes.

    Raises:
        UserError: As `open_folder`.
    """
    found = find_pairs(root, pairs)
    refuse_problems(found, WAY_OUT if pairs.images is None else "")
    return found.splits


def hold_out(items: Sequence[Item], share: float) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Split items into (train, val), chosen by a hash of their names: always the same way.

    Of two items or more, each side gets at least one.
    """
    by_hash = sorted(items, key=lambda item: _hash(item.name))
    num_val = min(max(round(len(items) * share), 1), len(items) - 1)
    held = set(by_hash[: max(num_val, 0)])
    train = tuple(item for item in items if item not in held)
    return train, tuple(item for item in items if item in held)


def _hash(name: str) -> bytes:
    return hashlib.sha256(
        name.encode(errors="surrogateescape")
    ).digest()  # a name may hold bytes that are not UTF-8


def read_sample(item: Item, classes: Classes) -> Sample:
    """Read an image and its labels.

    Raises:
        UserError: If one cannot be read, they differ in size, or a mask value has no class.
    """
    image = decode_image(item.image, image_bits=classes.image_bits, image=classes.image)
    labels = read_labels(item, classes)
    check_sizes(item, (image.shape[0], image.shape[1]), (labels.shape[0], labels.shape[1]))
    return Sample(image, labels)


def read_labels(item: Item, classes: Classes) -> Shaped[ndarray, "height width"]:
    """Read the labels of an image alone.

    Raises:
        UserError: If the mask cannot be read, or one of its values has no class.
    """
    if item.mask is None:
        raise UserError(
            f"{item.image} has no mask; add one, or use it with `segmenter predict` only"
        )
    raw = decode_mask(item.mask, apply_palette=classes.is_rgb)
    return map_values(raw, classes, source=str(item.mask))


def check_sizes(item: Item, image_size: tuple[int, int], mask_size: tuple[int, int]) -> None:
    """Refuse a mask that has not the (height, width) of its image."""
    problem = size_problem(item, image_size, mask_size)
    if problem is not None:
        raise UserError(problem.message)


def size_problem(
    item: Item, image_size: tuple[int, int], mask_size: tuple[int, int]
) -> Problem | None:
    """Return the problem with the (height, width) of a mask, if there is one."""
    if image_size == mask_size or item.mask is None:
        return None
    kind, hint = "size-differs", "save the mask at the size of its image"
    if image_size == mask_size[::-1] and read_header(item.image).swaps_sides:
        kind, hint = (
            "not-turned",
            "the image is turned upright as its EXIF data say, and the mask is not: turn the "
            "mask too, or remove the image's EXIF orientation",
        )
    message = (
        f"{item.mask} has {mask_size[0]} x {mask_size[1]} pixels (height x width), but "
        f"{item.image} has {image_size[0]} x {image_size[1]}; {hint}"
    )
    return Problem(kind, message, (item.image, item.mask))
