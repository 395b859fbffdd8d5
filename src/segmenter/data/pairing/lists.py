"""Lists of images: each is a split, and each line names an image and, if it likes, its mask.

What is clear is read. What is not becomes a problem that names the list, the line, what was read
and what is allowed; no line is left out in silence.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segmenter.data.decoding.image_formats import IMAGE_SUFFIXES
from segmenter.data.masks.problems import Problem
from segmenter.data.pairing.file_names import FileNames, composed, find_file
from segmenter.data.pairing.items import Item, Pairing, same_name, without_mask
from segmenter.data.pairing.layouts import mask_names
from segmenter.data.pairing.list_text import (
    Header,
    plain_reading,
    read_header,
    read_lines,
    readings,
    without_comment,
)
from segmenter.errors import UserError

LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".lst")
_SUBFOLDERS = ("splits", "split", "lists", "ImageSets", "ImageSets/Segmentation")
SPLITS = {"train", "training", "trn", "val", "valid", "validation", "test", "testing", "trainval"}
SPLITS |= {"eval", "dev", "holdout"}
_FILLERS = {"list", "lists", "split", "set", "images", "image", "imgs", "files", "names", "ids"}
_MAX_SAMPLED = 20
"""So many lines of a file tell whether it is a list."""
_ALLOWED = (
    "a line is an image and its mask, such as 'images/a.jpg masks/a.png', or the name of an image "
    "in images/ whose mask has the same name"
)


@dataclass
class _Read:
    """One list, as far as it is read."""

    items: dict[str, list[Item]] = field(default_factory=dict)
    """Items by split."""
    problems: list[Problem] = field(default_factory=list)


class ListReader:
    """Reads the lists of a data set.

    Args:
        root: The folder of the data set.
        images: Its folder of images; it may be missing.
        masks: Its folder of masks; it may be missing.
    """

    def __init__(self, root: Path, images: FileNames, masks: FileNames) -> None:
        self.masks = masks.folder
        self._root = root
        self._images = images
        self._masks = masks
        self.pairs_by_name = False
        """True if a list leaves the pairing of images and masks to their names."""

    def find_lists(self) -> list[Path]:
        """Return the lists of the data set: beside its folders, or in a folder such as `splits`."""
        folders = (self._root, *(self._root / name for name in _SUBFOLDERS))
        return [
            path
            for folder in folders
            for path in sorted(folder.glob("*.*"))
            if path.suffix.lower() in LIST_SUFFIXES
            and not path.name.startswith(".")
            and path.is_file()
            and self._is_list(path)
        ]

    def read(self, paths: Sequence[Path]) -> Pairing:
        """Return the items of each list; a table with a column of splits may hold several.

        Raises:
            UserError: If a list cannot be read, names no image, or two are of one split.
        """
        splits: dict[str, tuple[Item, ...]] = {}
        problems: list[Problem] = []
        from_list: dict[str, Path] = {}
        for path in paths:
            read = self._read_list(path)
            problems += read.problems
            for split, items in read.items.items():
                other = from_list.setdefault(split, path)
                if other != path:
                    raise UserError(f"{other} and {path} are lists of one split; keep one")
                splits[split] = tuple(items)
        return Pairing(splits, tuple(problems))

    def _is_list(self, path: Path) -> bool:
        """Return True if a text must be a list by its name, or is one by what its lines name."""
        if is_split_name(path.stem):
            return True
        try:
            read = read_lines(path, errors="replace")  # what cannot be read is refused later
        except UserError:
            return False
        lines = [line for _, line in read if not line.startswith("#")]
        header = read_header(lines[0]) if lines else None
        lines = lines[1:] if header else lines
        if not lines or (header and not header.is_of_interest):
            return False
        if path.suffix.lower() == ".txt" and not header:
            first = plain_reading(lines[0])
            if first and Path(first[0]).suffix.lower() in IMAGE_SUFFIXES:
                return True
        header = None if header and header.is_plain else header
        rows = [self._line(line, header, path) for line in lines[:_MAX_SAMPLED]]
        is_table = path.suffix.lower() in {".csv", ".tsv"}  # of which most are not lists
        found = [row for row in rows if not isinstance(row, str)]
        if is_table and not any(row.mask or row.split for row in found):
            return len(found) == len(rows) and all(len(plain_reading(line)) == 1 for line in lines)
        return 2 * len(found) >= len(rows)  # of the others, each is refused with its line

    def _read_list(self, path: Path) -> _Read:
        lines = read_lines(path)
        default = split_of(path.stem)
        read = _Read()
        rows: list[tuple[str, _Row]] = []
        header: Header | None = None
        is_first = True
        for number, line in lines:
            row = self._line(line, header, path)
            if isinstance(row, str):
                if not without_comment(line) or line.startswith("//"):
                    continue
                header_here = read_header(line) if is_first else None
                if header_here:
                    header = None if header_here.is_plain else header_here
                    is_first = False
                    continue
                message = f"{path}, line {number}: {row}"
                read.problems.append(Problem("missing-file", message, (path,)))
            else:
                rows.append((row.split or default, row))
            is_first = False
        if not rows and not read.problems:
            raise UserError(f"{path} names no image; {_ALLOWED}")
        self._pair(rows, read)
        return read

    def _pair(self, rows: list[tuple[str, "_Row"]], read: _Read) -> None:
        """Make items; where no line names a mask, masks are those of the images' names."""
        by_name = not any(row.mask for _, row in rows) and any(
            self._masks_of(row.image) for _, row in rows
        )
        self.pairs_by_name |= by_name
        masks: dict[Path, Path | None] = {}
        images: dict[Path, Path] = {}
        for split, row in rows:
            found = self._masks_of(row.image) if by_name else [row.mask]
            mask = next(iter(found), None)
            if by_name and mask is None:
                expected = self._masks.folder / f"{row.name}.png"
                read.problems.append(without_mask(row.image, expected))
                continue
            if len(found) > 1:
                message = (
                    f"{found[0]} and {found[1]} are masks of one image; remove one, or name the "
                    "mask in the list, behind its image"
                )
                files = tuple(path for path in found if path)
                read.problems.append(Problem("several-masks", message, files))
            if by_name and mask is not None and images.setdefault(mask, row.image) != row.image:
                read.problems.append(same_name(images[mask], row.image))
                continue
            if mask != masks.setdefault(row.image, mask):
                message = f"{row.image} is listed with {masks[row.image]} and {mask}; keep one"
                read.problems.append(Problem("several-masks", message, (row.image,)))
                continue
            read.items.setdefault(split, []).append(Item(row.name, row.image, mask))

    def _masks_of(self, image: Path) -> list[Path]:
        """Return the masks that an image has by its name: one, if all is clear."""
        if not image.is_relative_to(self._images.folder):
            return []
        name = image.relative_to(self._images.folder).with_suffix("").as_posix()
        file = image.relative_to(self._images.folder).as_posix()
        names, images = self._masks.by_name, self._images.by_name
        found = mask_names(composed(name), composed(file), names, images)
        return [path for each in found for path in names[each]]

    def _line(self, line: str, header: Header | None, path: Path) -> "_Row | str":
        """Return the files that a line names, or what is wrong with it."""
        if header:
            return self._row(header.fields(line), path)
        names = line.split()  # as in most lists of many lines: no other reading is tried
        if len(names) == 2:
            image, mask = (path.parent / name for name in names)
            is_in_order = not image.is_relative_to(self._masks.folder)
            if is_in_order and os.path.isfile(image) and os.path.isfile(mask):  # noqa: PTH113
                return _Row(_item_name(names[0]), image, mask, "")
        for text in dict.fromkeys((line, without_comment(line))):
            for fields in readings(text):
                if 0 < len(fields) <= 2:
                    row = self._row(dict(zip(("image", "mask"), fields, strict=False)), path)
                    if not isinstance(row, str):
                        return row
        fields = plain_reading(without_comment(line) or line)
        if len(fields) > 2:
            return (
                f"{len(fields)} fields, expected an image and its mask; put a tab between them if "
                "there are blanks in their names"
            )
        return self._row(dict(zip(("image", "mask"), fields, strict=False)), path)

    def _row(self, fields: dict[str, str], path: Path) -> "_Row | str":
        if "image" not in fields:
            return f"no image is named; {_ALLOWED}"
        split = fields.get("split", "") or split_of(path.stem)
        image = self._find(fields["image"], self._images, split, path)
        mask = self._find(fields["mask"], self._masks, split, path) if "mask" in fields else None
        if isinstance(image, str):
            return image
        if isinstance(mask, str):
            return mask
        if image.is_relative_to(self._masks.folder):
            if mask is None or not mask.is_relative_to(self._images.folder):
                return f"{image} lies in the folder of masks, and is given as an image; {_ALLOWED}"
            return self._row({**fields, "image": fields["mask"], "mask": fields["image"]}, path)
        name = fields["image"]
        if find_file(name, self._bases(path)) is None:
            name = image.relative_to(self._images.folder).as_posix()
        return _Row(_item_name(name), image, mask, split_of(fields.get("split", "")))

    def _bases(self, path: Path) -> tuple[Path, ...]:
        return tuple(dict.fromkeys((path.parent, self._root)))

    def _find(self, name: str, names: FileNames, split: str, path: Path) -> Path | str:
        """Return the file that a field means, or what is wrong with it."""
        file = find_file(name, self._bases(path))
        if file is not None:
            return file
        found = names.find(name, split)
        if len(found) > 1:
            return f"{name!r} may be {found[0]} or {found[1]}; write which, with folder and suffix"
        if not found:
            return f"no such file: {path.parent / name}; {_ALLOWED}"
        return found[0]


@dataclass(frozen=True)
class _Row:
    """The files that a line names."""

    name: str
    image: Path
    mask: Path | None
    split: str
    """Empty if the line names none."""


def _words(stem: str) -> list[str]:
    return re.findall("[a-z]+", stem.lower())


def is_split_name(stem: str) -> bool:
    """Return True if a list of this name must be of a split: `train`, `val_list`."""
    return holds_split_word(stem) and all(word in SPLITS | _FILLERS for word in _words(stem))


def holds_split_word(name: str) -> bool:
    """Return True if a folder or list may be of a split: `north_train`, which `a_field` is not."""
    return any(word in SPLITS for word in _words(name))


def split_of(stem: str) -> str:
    """Return the split that a list is of, by its name: `train` for `train_list`."""
    if stem == "default":  # of CVAT
        return "all"
    words = [word for word in re.split(r"[-_. ]+", stem) if word.lower() not in _FILLERS]
    return "_".join(words) if words and is_split_name(stem) else stem


def _item_name(name: str) -> str:
    """Return the item's name; without `..` or a root, so that it can name an output."""
    path = Path(name.replace("\\", "/")).with_suffix("")
    return "/".join(part for part in path.parts if part not in {"..", path.anchor})
