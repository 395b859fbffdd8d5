"""An export as a reader returns it: classes, images, and the shapes in each image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segmenter.classes import Color
from segmenter.data.annotations.polygons import Size
from segmenter.data.annotations.regions import Shape


@dataclass(frozen=True)
class ExportedImage:
    """One image and how its shapes are read."""

    name: str
    """Name that the export states: a path, an address, or a name without suffix."""
    where: str
    """The file and the entry, for messages."""
    near: Path
    """The folder of the file that names it."""
    is_labelled: bool
    """True: it has shapes."""
    read_shapes: Callable[[Size], Sequence[Shape]]
    """Its shapes, for an image of this height and width."""
    split: str | None = None
    """None: the export has no splits."""
    size: Size | None = None
    """Height and width, if the export gives them."""
    path: Path | None = None
    """Its path, if the reader knows it."""


@dataclass
class AnnotationSet:
    """An export of an annotation tool."""

    classes: dict[str, Color | None] = field(default_factory=dict)
    """Names in order, and their colours if there are any."""
    images: list[ExportedImage] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """Lines for the user."""
    ignored: frozenset[str] = frozenset()
    """Labels that are not classes: their pixels are left out of training and scores."""
    has_masks: bool = False
    """True: masks lie among the images."""
