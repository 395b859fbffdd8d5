"""Exports of annotation tools that are given as a data set: what they are, and what to do.

Only names and the ends of files are looked at; nothing is parsed.
"""

import re
from pathlib import Path

from segmenter.data.annotations import ANNOTATION_FORMATS
from segmenter.data.annotations.recognise import recognise, some_files
from segmenter.data.annotations.source import ARCHIVE_SUFFIXES, ends_of
from segmenter.data.decoding.image_formats import MASK_SUFFIXES
from segmenter.terminal import command_line

_LABEL_STUDIO = re.compile(r"task-\d+-annotation-\d+-by-\d+-tag-.+-\d+\.(png|npy)")
_JSON_SUFFIXES = {".json", ".jsonl"}
_REMEDY = (
    "paint its shapes into masks: images/NAME.jpg and masks/NAME.png, each pixel the number of its "
    "class, and classes.yaml; or write a list, whose lines name an image and its mask"
)


def recognise_export(given: Path) -> str | None:
    """Say what a file or folder is, and what to do, if an annotation tool wrote it; else none."""
    what = _of_format(given) or (_of_file(given) if given.is_file() else _of_folder(given))
    return None if what is None else f"{given}: {what}"


def is_annotation_json(path: Path) -> bool:
    """Return True for JSON that an annotation tool writes: of shapes, not of names."""
    if path.suffix.lower() not in _JSON_SUFFIXES:
        return False
    content = ends_of(path)
    return any(
        each.accepts(content) for each in ANNOTATION_FORMATS.values() if ".json" in each.endings
    )


def _of_format(given: Path) -> str | None:
    name = recognise(given)
    if name is None:
        return None
    if given.suffix == ".txt":  # of one image; its folder holds all
        given = given.parent
    out = f"{given.with_suffix('') if given.is_file() else given}-set"
    images = ""
    if name == "voc" and given.is_dir():  # with JPEGImages it is read as it is
        images = " --images FOLDER, the folder of its images"
    return (
        f"this is {ANNOTATION_FORMATS[name].title}; make a data set of it with: "
        f"{command_line('prepare', name, given, out)}{images}"
    )


def _of_file(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return f"this is JSON, which is not a list of images; {_REMEDY}"
    if suffix in {".yaml", ".yml"}:
        return "this is YAML, and no data set; give the folder with images, masks and classes.yaml"
    if suffix == ".xml":
        return f"this is XML, as of Pascal VOC boxes; {_REMEDY}"
    if suffix in ARCHIVE_SUFFIXES:
        return (
            "this is an archive; unpack it and give the folder, or, if an annotation tool wrote "
            "it, make a data set of it with: segmenter prepare FORMAT"
        )
    if suffix in MASK_SUFFIXES:
        return "this is an image; give the folder with images, masks and classes.yaml"
    return None


def _of_folder(root: Path) -> str | None:
    """Recognise an export by the files in a folder and its subfolders."""
    names = [path.name for path in some_files(root)]
    if any(map(_LABEL_STUDIO.fullmatch, names)):
        return (
            "these are brush masks of Label Studio, one for each task and tag, without the images: "
            "export JSON instead, and give that to: segmenter prepare label-studio"
        )
    if any(name.lower().endswith(".xml") for name in names):
        return f"this is XML, as of Pascal VOC boxes; {_REMEDY}"
    return None
