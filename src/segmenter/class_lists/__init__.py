"""The classes of published data sets: names, colours, mask values.

Each list is a `classes.yaml` of its own. Names and colours are those of MMSegmentation, but for the
colours of COCO-Stuff, which repeat there.
"""

from functools import cache
from pathlib import Path

from segmenter.classes import Classes, read_classes


@cache
def read_class_list(name: str) -> Classes:
    """Read the classes of one data set."""
    return read_classes(Path(__file__).parent / f"{name}.yaml")
