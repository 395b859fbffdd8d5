"""The published data sets by name: `NAME:PATH` stands wherever a data folder is taken."""

import re
from pathlib import Path

from segmenter.classes import Classes
from segmenter.data.folder import LabelledFolder, open_folder
from segmenter.data.published.ade20k import ADE20K
from segmenter.data.published.cityscapes import CITYSCAPES
from segmenter.data.published.coco_stuff import COCO_STUFF
from segmenter.data.published.pascal_context import PASCAL_CONTEXT, PASCAL_CONTEXT_59
from segmenter.data.published.pascal_voc import PASCAL_VOC
from segmenter.data.published.published import PublishedSet, open_published
from segmenter.errors import UserError
from segmenter.files.yaml import nearest

SETS: dict[str, PublishedSet] = {
    each.name: each
    for each in (ADE20K, CITYSCAPES, PASCAL_CONTEXT, PASCAL_CONTEXT_59, PASCAL_VOC, COCO_STUFF)
}

# Two characters or more before the colon: `C:\data` is a drive.
_NAMED = re.compile(r"([A-Za-z][\w-]+):(.*)", re.DOTALL)


def open_data(
    given: str, classes: Classes | None = None, *, keep_problems: bool = False
) -> LabelledFolder:
    """Find the items and classes of what a user names: NAME:PATH, a folder, or a list file.

    Args:
        given: As the user wrote it.
        classes: Instead of those of the data set.
        keep_problems: As `open_folder` has it.

    Raises:
        UserError: If the name is unknown, or the folder is not laid out as it should be.
    """
    named = split_name(given)
    if named is None:
        return open_folder(Path(given), classes, keep_problems=keep_problems)
    return open_published(*named, classes, keep_problems=keep_problems)


def split_name(given: str) -> tuple[PublishedSet, Path] | None:
    """The published data set and the folder in `NAME:PATH`; nothing where no name is given.

    Raises:
        UserError: If there is no data set of this name.
    """
    match = _NAMED.fullmatch(given)
    if match is None:
        return None
    name, path = match.groups()
    if name not in SETS and Path(given).exists():
        return None
    published = find_set(name)
    if not path:
        raise UserError(f"{given} names no folder; write {name}:PATH")
    return published, Path(path)


def find_set(name: str) -> PublishedSet:
    """The published data set of this name.

    Raises:
        UserError: If there is none.
    """
    if name not in SETS:
        hint = nearest(name.lower().replace("-", "_"), list(SETS))
        raise UserError(f"no published data set {name!r}{hint}; there are {', '.join(SETS)}")
    return SETS[name]
