"""Layouts beyond the tables of `layouts.py`: looked for where those find nothing.

Other names of folders, in any case; a folder of masks named after that of its images, such as
`train` and `train_masks`; masks beside their images in one folder. Nothing is guessed: where two
folders could be meant, the data set is refused.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from segmenter.data.decoding.image_formats import IMAGE_SUFFIXES, MASK_SUFFIXES
from segmenter.data.pairing.layouts import IMAGE_FOLDERS, MASK_FOLDERS, Place
from segmenter.data.pairing.name_rules import SAME_NAME, find_rules
from segmenter.data.pairing.walking import walk_images
from segmenter.errors import UserError

_IMAGE_NAMES = {name.lower() for name in IMAGE_FOLDERS} | {
    *("photo", "picture", "pictures", "rgb", "input", "inputs", "frames", "raw", "source", "src"),
    *("original", "originals", "leftimg8bit", "tiles", "x"),
}
_MASK_NAMES = {name.lower() for name in MASK_FOLDERS} | {
    *("annotation", "annot", "anns", "ann", "lbl", "lbls", "gts", "gtfine", "target", "targets"),
    *(
        "groundtruth",
        "ground_truth",
        "ground-truth",
        "ground truth",
        "label_maps",
        "labelmaps",
        "y",
    ),
}
_MAX_DEPTH = 3
_MAX_FILES = 200_000
"""Limits of the search for masks, in images and depth: a folder may be all of a disk."""
_FEW = 10
"""One file in this number, and one in any case, may lack its partner: it is reported."""
_JPEG = {".jpg", ".jpeg", ".jpe", ".jfif"}
_MASK_WORD = re.compile(r"mask|label|segm|annot|truth", re.IGNORECASE)
_MASK_TOKENS = {"seg", "gt", "ann", "lbl", "target"}
WAY_OUT = "say which with --images and --masks, such as --images 'img/{}.jpg' --masks 'gt/{}.png'"


def find_wider_places(root: Path) -> list[Place]:
    """Return the folders of a data set with other names: one pair, or one for each split.

    Raises:
        UserError: If several folders could be meant.
    """
    whole = _pair_in(root)
    if whole is not None:
        return [Place(*whole)]
    folders = _folders(root)
    pairs = [(folder, _pair_in(folder)) for folder in folders]
    places = [Place(*pair, folder.name) for folder, pair in pairs if pair is not None]
    return places or _siblings(folders)


def find_beside(root: Path, passed_over: Counter[str]) -> list[Place]:
    """Return the folder of masks beside images: the data set, or its only folder of images.

    Images and masks are recognised by a word such as `mask` in what their names differ by, or by
    their suffixes where only JPEG files have masks of another format.

    Args:
        root: The data set.
        passed_over: Counts the files of formats that are not read, by suffix.
    """
    named = [folder for folder in _folders(root) if folder.name.lower() in _IMAGE_NAMES]
    for folder in named if len(named) == 1 else [root]:
        files = _files(folder, passed_over)
        told = _by_suffix(files) or _by_word(folder, files)
        if told is not None:
            return [Place(folder, folder, files=told)]
    return []


def _files(folder: Path, passed_over: Counter[str]) -> list[Path]:
    """Return the images in a folder and a few levels below; none if it holds other files too."""
    depth = len(folder.parts) + _MAX_DEPTH
    walk = walk_images(folder, lambda inner: len(inner.parts) <= depth, passed_over=passed_over)
    files = list(islice(walk, _MAX_FILES + 1))
    return sorted(files, key=lambda path: path.as_posix()) if len(files) <= _MAX_FILES else []


def _by_suffix(files: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[Path, ...]] | None:
    """Tell images from masks where each JPEG, or all but a few, has a file in another format."""
    images = tuple(path for path in files if path.suffix.lower() in _JPEG)
    masks = tuple(path for path in files if path.suffix.lower() not in _JPEG)
    names = [{path.with_suffix("") for path in part} for part in (images, masks)]
    total, num_paired = max(map(len, names)), len(names[0] & names[1])
    is_paired = num_paired > 1 and total - num_paired <= max(1, total // _FEW)
    return (images, masks) if total and (is_paired or names[0] == names[1]) else None


def _by_word(
    folder: Path, files: Sequence[Path]
) -> tuple[tuple[Path, ...], tuple[Path, ...]] | None:
    """Tell images from masks by the word that stands in the names of masks alone."""
    names = {path: path.relative_to(folder).with_suffix("").as_posix() for path in files}
    masks = {name for name in names.values() if _says_mask(name.rpartition("/")[2])}
    images = set(names.values()) - masks
    rules = [each.rule for each in find_rules(images, masks)] if images and masks else []
    if not rules or SAME_NAME in rules:
        return None
    is_mask = {name: any(rule.is_mask(name) for rule in rules) for name in names.values()}
    if not all(is_mask[name] for name in masks):
        return None
    return (
        tuple(path for path, name in names.items() if not is_mask[name]),
        tuple(path for path, name in names.items() if is_mask[name]),
    )


def _says_mask(name: str) -> bool:
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    return bool(_MASK_WORD.search(name)) or bool(words & _MASK_TOKENS)


def _pair_in(folder: Path) -> tuple[Path, Path] | None:
    folders = _folders(folder)
    images = [each for each in folders if each.name.lower() in _IMAGE_NAMES]
    masks = [each for each in folders if each.name.lower() in _MASK_NAMES]
    if not images or not masks:
        return None
    images, masks = _holding(images, IMAGE_SUFFIXES), _holding(masks, MASK_SUFFIXES)
    if not images or not masks:
        return None
    return _only(images, "images"), _only(masks, "masks")


def _siblings(folders: Sequence[Path]) -> list[Place]:
    """Folders whose names differ by a word for masks: `train` and `train_masks`, `trainannot`."""
    by_name = {folder.name.lower(): folder for folder in folders}
    places = []
    for name, folder in by_name.items():
        split = _without_word(name, _IMAGE_NAMES) or name
        found = [
            by_name[form]
            for word in sorted(_MASK_NAMES)
            for form in _forms(split, word)
            if form in by_name and form != name
        ]
        masks = _holding(dict.fromkeys(found), MASK_SUFFIXES)
        if masks and _holding([folder], IMAGE_SUFFIXES):
            is_all = name in _IMAGE_NAMES
            places.append(Place(folder, _only(masks, "masks"), "" if is_all else split))
    if len(places) > 1 and any(not place.split for place in places):
        _only([place.images for place in places], "images")
    return places


def _forms(split: str, word: str) -> list[str]:
    joined = [f"{split}{mark}{word}" for mark in ("_", "-", " ", "")]
    return [*joined, *(f"{word}{mark}{split}" for mark in ("_", "-", " "))]


def _without_word(name: str, words: Iterable[str]) -> str:
    """Return a name without one of some words; empty if it holds none, or nothing else."""
    for word in words:
        for mark in ("_", "-", " "):
            if name.endswith(f"{mark}{word}"):
                return name.removesuffix(f"{mark}{word}")
            if name.startswith(f"{word}{mark}"):
                return name.removeprefix(f"{word}{mark}")
    return ""


def _only(found: Sequence[Path], what: str) -> Path:
    if len(found) > 1:
        raise UserError(f"{found[0]} and {found[1]} may both be the folder of {what}; {WAY_OUT}")
    return found[0]


def _holding(folders: Iterable[Path], suffixes: frozenset[str]) -> list[Path]:
    """Return those that hold an image."""
    return [each for each in folders if next(walk_images(each, suffixes=suffixes), None)]


def _folders(root: Path) -> list[Path]:
    return sorted(
        path for path in root.glob("*") if path.is_dir() and not path.name.startswith(".")
    )
