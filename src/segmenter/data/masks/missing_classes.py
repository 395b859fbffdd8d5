"""Draft a missing `classes.yaml` for the user to look through."""

import os
from pathlib import Path

from segmenter.classes import read_classes
from segmenter.data.folder import find_classes, find_splits, has_classes
from segmenter.data.masks.draft import draft_classes
from segmenter.errors import UserError
from segmenter.files.outputs import write_new
from segmenter.options import Pairs
from segmenter.terminal import command_line

_NUM_NAMED = 8


def ask_for_classes(root: Path, pairs: Pairs) -> None:
    """Print a draft of a missing `classes.yaml`, made from the masks.

    Raises:
        UserError: If there is none, after the draft was printed.
    """
    path = find_classes(root)
    if has_classes(path):
        return
    print(_draft(root, pairs))
    command = command_line("check", root, *pairs.pattern_flags(), "--draft")
    what = f"{path} is empty; it" if path.is_file() else f"{path.parent} has no {path.name}, which"
    raise UserError(
        f"{what} maps mask values to classes; a draft is printed above: name its classes and save "
        f"it as {path}, or run `{command}`"
    )


def write_draft(root: Path, pairs: Pairs) -> str:
    """Write a draft of a missing or empty `classes.yaml`, and return what to say of it.

    Raises:
        UserError: If there is such a file, or no draft can be made or written.
    """
    path = find_classes(root)
    is_empty = path.is_file() and not has_classes(path)
    if os.path.lexists(path) and not is_empty:
        raise UserError(f"{path} exists, and a draft replaces no file; rename it, or omit --draft")
    write_new(path, _draft(root, pairs).encode(), overwrite=is_empty)
    names = read_classes(path).names
    shown = ", ".join(names[:_NUM_NAMED]) + (", ..." if len(names) > _NUM_NAMED else "")
    return f"wrote {path} from the values of the masks: {shown}; give the classes their names there"


def _draft(root: Path, pairs: Pairs) -> str:
    return draft_classes([item for split in find_splits(root, pairs).values() for item in split])
