"""The classes of published data sets: names, colours, mask values.

Each list is a `classes.yaml` of its own. Names and colours are those of MMSegmentation, but for the
colours of COCO-Stuff, which repeat there.
"""

from pathlib import Path

from segmenter.classes import Classes, read_classes

ADE20K, CITYSCAPES = "ade20k", "cityscapes"
PASCAL_CONTEXT, PASCAL_CONTEXT_59 = "pascal_context_60", "pascal_context_59"
PASCAL_VOC, COCO_STUFF = "pascal_voc", "coco_stuff"

_NAME_OF_COUNT = {150: ADE20K, 19: CITYSCAPES, 60: PASCAL_CONTEXT, 59: PASCAL_CONTEXT_59}


def read_class_list(name: str) -> Classes:
    """The classes of one data set."""
    return read_classes(Path(__file__).parent / f"{name}.yaml")


def class_list_of(num_classes: int) -> Classes | None:
    """The list with so many classes, where published Segmenters were trained on one."""
    name = _NAME_OF_COUNT.get(num_classes)
    return read_class_list(name) if name else None
