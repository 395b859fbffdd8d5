"""The published data sets, a row each: `NAME:PATH` stands wherever a data folder is taken.

A new one is a file here, a class list of its name in `class_lists/`, and its place in `SETS`. Rows
are read without torch, so that the command line can name them.
"""

from typing import TYPE_CHECKING, Literal

from segmenter.data.published.ade20k import ADE20K
from segmenter.data.published.cityscapes import CITYSCAPES
from segmenter.data.published.coco_stuff import COCO_STUFF
from segmenter.data.published.pascal_context import PASCAL_CONTEXT, PASCAL_CONTEXT_59
from segmenter.data.published.pascal_voc import PASCAL_VOC
from segmenter.data.published.published_set import PublishedSet
from segmenter.errors import UserError
from segmenter.files.yaml import nearest

SETS: dict[str, PublishedSet] = {
    each.name: each
    for each in (
        ADE20K,
        CITYSCAPES,
        PASCAL_CONTEXT,
        PASCAL_CONTEXT_59,
        PASCAL_VOC,
        COCO_STUFF,
    )
}
"""Each by its name."""

if TYPE_CHECKING:
    Benchmark = str
else:  # what the command line offers
    Benchmark = Literal[tuple(name for name, each in SETS.items() if each.submission)]


def find_set(name: str) -> PublishedSet:
    """Return the published data set of this name.

    Raises:
        UserError: If there is none.
    """
    if name not in SETS:
        hint = nearest(name.lower().replace("-", "_"), list(SETS))
        raise UserError(f"no published data set {name!r}{hint}; there are {', '.join(SETS)}")
    return SETS[name]


def set_of_count(num_classes: int) -> PublishedSet | None:
    """Return the data set with this number of classes that published Segmenters were trained on."""
    trained = (each for each in SETS.values() if each.has_checkpoints)
    return next((each for each in trained if len(each.classes()) == num_classes), None)
