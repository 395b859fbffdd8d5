"""Files that by their name or content say which images are of which split, and are not read.

A data set is not trained on as if they were not there: its validation images would be among those
that are trained on.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from segmenter.data.pairing.annotation_exports import is_annotation_json
from segmenter.data.pairing.list_text import plain_reading, read_lines
from segmenter.data.pairing.lists import LIST_SUFFIXES, SPLITS, is_split_name, split_of
from segmenter.errors import UserError

_SUFFIXES = {*LIST_SUFFIXES, "", ".list", ".json", ".jsonl", ".ndjson", ".yaml", ".yml", ".toml"}
_SUFFIXES |= {".npy", ".npz", ".mat", ".pkl", ".pickle", ".parquet", ".xls", ".xlsx", ".ods"}
_SUFFIXES |= {".gz", ".zip", ".bz2", ".xz", ".md"}
_OF_ALL = {"split", "splits", "fold", "folds", "partition", "partitions", "subsets"}
_FLAG = re.compile(r"is[-_ ]?(train|training|val|valid|validation|test)", re.IGNORECASE)
_MAX_FILES = 10_000
_MAX_SAMPLED = 20
_WAY_OUT = (
    "a list is a .txt, .csv, .tsv or .lst beside images/ or in splits/, one for each split with a "
    "line for each image, or a table with the columns image and split; write it so, or, if it is "
    "no list, rename it or move it out of the data set"
)


def refuse_unread_lists(root: Path, read: Collection[Path], masks: Path) -> None:
    """Refuse a data set with a list that nothing reads.

    Args:
        root: The folder of the data set.
        read: The lists that are read.
        masks: The folder of its masks, where no list is looked for.

    Raises:
        UserError: If there is such a file.
    """
    for path in read:
        if _has_flag(path):
            raise UserError(f"{path} has a column of yes and no for a split, not read: {_WAY_OUT}")
    splits = {split_of(path.stem).lower() for path in read}
    for path in _files(root, masks):
        if path in read or path.suffix.lower() not in _SUFFIXES:
            continue
        if _is_named_as_list(path, splits) and not is_annotation_json(path):
            raise UserError(f"{path} is named as a list of images, and is not read: {_WAY_OUT}")
        is_table = path.parent == root and path.suffix.lower() in LIST_SUFFIXES
        if is_table and not read and _names_splits(path):
            raise UserError(f"{path} names splits of images, and is not read: {_WAY_OUT}")


def _files(root: Path, masks: Path) -> Iterator[Path]:
    """Yield the files beside the folders of a data set, and those one and two folders deeper."""
    for depth in ("*", "*/*", "*/*/*"):
        for count, path in enumerate(root.glob(depth)):
            if count == _MAX_FILES:  # a folder of images, not of lists
                break
            parts = path.relative_to(root).parts
            is_hidden = any(part.startswith(".") for part in parts)
            if not is_hidden and not path.is_relative_to(masks) and path.is_file():
                yield path


def _is_named_as_list(path: Path, splits: Collection[str]) -> bool:
    stem = path.name.split(".")[0]
    words = set(re.findall("[a-z]+", stem.lower()))
    if words & _OF_ALL and words <= _OF_ALL | SPLITS | {"data", "list", "kfold"}:
        return not splits
    if words <= {"list", "files", "images", "names"} and is_split_name(path.parent.name):
        return bool(words) and not splits
    return is_split_name(stem) and split_of(stem).lower() not in splits


def _has_flag(path: Path) -> bool:
    """Return True if the first line names a column such as `is_valid`."""
    first = read_lines(path, errors="replace")[:1]
    return any(_FLAG.fullmatch(field) for _, line in first for field in plain_reading(line))


def _names_splits(path: Path) -> bool:
    """Return True if each line names a split, or the first line two of them or a flag of one."""
    try:
        lines = read_lines(path, errors="replace")[: _MAX_SAMPLED + 1]
    except UserError:
        return False
    rows = [[field.lower() for field in plain_reading(line)] for _, line in lines]
    if not rows:
        return False
    _, *rest = rows
    num_splits = [sum(field in SPLITS for field in row) for row in rows]
    if _has_flag(path) or num_splits[0] > 1:
        return True
    return bool(rest) and all(num_splits[1:]) and all(len(row) > 1 for row in rest)
