"""The classes of the data sets that published models were trained on: names, colours, mask values.

Each list is a `classes.yaml` of its own. Names and colours are those of MMSegmentation.
"""

from pathlib import Path

from segmenter.classes import Classes, read_classes

ADE20K, CITYSCAPES = "ade20k", "cityscapes"
PASCAL_CONTEXT, PASCAL_CONTEXT_59 = "pascal_context_60", "pascal_context_59"

_NAME_OF_COUNT = {150: ADE20K, 19: CITYSCAPES, 60: PASCAL_CONTEXT, 59: PASCAL_CONTEXT_59}


def read_class_list(name: str) -> Classes:
    """The classes of one data set."""
    return read_classes(Path(__file__).parent / f"{name}.yaml")


def class_list_of(num_classes: int) -> Classes | None:
    """The list with so many classes, where there is one."""
    name = _NAME_OF_COUNT.get(num_classes)
    return read_class_list(name) if name else None
