"""The classes of an export as those of a data set, and the index that each label becomes."""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import ValidationError

from segmenter.classes import Classes, ClassInfo, Color
from segmenter.classes.colors import distinct_colors
from segmenter.data.annotations.annotation_set import AnnotationSet
from segmenter.data.annotations.rasterise import IGNORED
from segmenter.errors import UserError
from segmenter.files.yaml import first_problem
from segmenter.options import Unlabelled

_BACKGROUND, _BLACK = "background", (0, 0, 0)
_MOST_CLASSES = 60_000
UNLABELLED_CHOICES = (
    "--unlabelled background (a class of its own) or --unlabelled ignore (left out of training and "
    "scores)"
)
"""For messages on pixels that no shape covers."""


class ClassTable(NamedTuple):
    """The classes, and what each label and uncovered pixels become."""

    classes: Classes
    indices: Mapping[str, int]
    """Class index of each label; `IGNORED` for labels that are not classes."""
    unlabelled: int | None
    """The label of pixels that no shape covers; None: nobody has said."""


def build_classes(export: AnnotationSet, unlabelled: Unlabelled | None, where: str) -> ClassTable:
    """Return the classes in the order of the export.

    A class named background is where uncovered pixels go, if they are background; without one it
    becomes the first class. With one class besides, it is the background of that one.

    Args:
        export: What was read.
        unlabelled: What pixels are that no shape covers.
        where: The source, for messages.

    Raises:
        UserError: If classes are missing or too many, or a name is not allowed.
    """
    names = list(export.classes)
    found = next((name for name in names if name.strip("_ ").lower() == _BACKGROUND), None)
    if found is None and unlabelled == "background":
        found, names = _BACKGROUND, [_BACKGROUND, *names]
    others = [name for name in names if name != found]
    if not others or len(names) > _MOST_CLASSES:
        raise UserError(f"{where} has {len(others)} classes; from 1 to {_MOST_CLASSES} are read")
    colors = _with_all_colors({name: export.classes.get(name) for name in names}, found)
    is_binary = found is not None and len(others) == 1
    if is_binary:
        names = [str(found), *others]
    try:
        classes = Classes(
            classes=tuple(
                ClassInfo(name=name, color=colors[name], values=(index,))
                for index, name in enumerate(names)
                if not (is_binary and index == 0)
            ),
            background=(0,) if is_binary else (),
            ignore=(255,) if len(names) <= 255 else (65535,),
        )
    except ValidationError as error:
        raise UserError(f"{where}, its classes: {first_problem(error, Classes)}") from None
    indices = {name: index for index, name in enumerate(names)}
    painted = None
    if unlabelled is not None:
        painted = indices[str(found)] if unlabelled == "background" else classes.ignore_index
    return ClassTable(classes, indices | dict.fromkeys(export.ignored, IGNORED), painted)


def _with_all_colors(given: Mapping[str, Color | None], background: str | None) -> dict[str, Color]:
    """Give a colour of their own to those that have none."""
    taken = [color for color in given.values() if color is not None]
    missing = [name for name, color in given.items() if color is None and name != background]
    chosen = distinct_colors(len(missing), taken).tolist() if missing else []
    free = {
        name: (red, green, blue) for name, (red, green, blue) in zip(missing, chosen, strict=True)
    }
    return {
        name: color or (_BLACK if name == background else free[name])
        for name, color in given.items()
    }
