"""Where `classes.yaml` is missing: draft one for the user to look through."""

from pathlib import Path

from segmenter.data.folder import find_classes, find_splits, has_classes
from segmenter.data.masks.draft import draft_classes
from segmenter.errors import UserError


def ask_for_classes(root: Path) -> None:
    """Print a draft of a missing `classes.yaml`, made from the masks.

    Raises:
        UserError: If there is none, after the draft was printed.
    """
    path = find_classes(root)
    if has_classes(path):
        return
    items = [item for split in find_splits(root).values() for item in split]
    print(draft_classes(items))
    raise UserError(
        f"{path.parent} has no {path.name}, which says which mask values mean which class; a draft "
        f"from the masks is printed above: give the classes names and save it as "
        f"{path}"
    )
