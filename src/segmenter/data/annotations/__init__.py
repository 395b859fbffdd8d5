"""Exports of annotation tools: a table of formats, their readers, and the codes of their masks.

A new format is a file in `readers/` with `read`, and `is_export` to be recognised by, and a row
here. Rows are read without torch and NumPy, so that the command line can name them.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from segmenter.data.annotations.annotation_set import AnnotationSet
    from segmenter.data.annotations.source import Source


class Format(NamedTuple):
    """One format: a row of `ANNOTATION_FORMATS`."""

    title: str
    """Its name in messages."""
    endings: tuple[str, ...]
    """Endings of the files by which, and by whose content, it is recognised."""
    module: str
    """Its file in `readers/`."""

    def read(self, source: "Source") -> "AnnotationSet":
        """Read an export.

        Raises:
            UserError: If it is not of this format, or damaged.
        """
        return self._function("read")(source)

    def accepts(self, content: bytes) -> bool:
        """Return True if a file with one of the endings begins and ends as this format does."""
        return self._function("is_export")(content)

    def _function(self, name: str) -> "Callable":
        return getattr(import_module(f"segmenter.data.annotations.readers.{self.module}"), name)


ANNOTATION_FORMATS = {
    "voc": Format("a mask export of CVAT or Pascal VOC (labelmap.txt)", ("labelmap.txt",), "voc"),
    "roboflow": Format("a mask export of Roboflow (_classes.csv)", ("_classes.csv",), "roboflow"),
    "supervisely": Format("a project of Supervisely (meta.json)", ("meta.json",), "supervisely"),
    "labelme": Format("JSON of labelme, a file for each image", (".json",), "labelme"),
    "label-studio": Format("JSON of Label Studio", (".json",), "label_studio"),
    "datumaro": Format("JSON of Datumaro", (".json",), "datumaro"),
    "darwin": Format("JSON of Darwin (V7), a file for each image", (".json",), "darwin"),
    "coco": Format("COCO JSON", (".json",), "coco"),
    "cvat": Format("CVAT XML", (".xml",), "cvat"),
    "yolo": Format("a data.yaml or label file of YOLO", (".yaml", ".yml", ".txt"), "yolo"),
}
"""By the name that `segmenter prepare` takes; of two that accept a file, the first is meant."""
