"""Exports of annotation tools that are given as a data set: what they are, and what to do.

Only names and the ends of files are looked at; nothing is parsed.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from segmenter.data.decoding.image_formats import IMAGE_SUFFIXES
from segmenter.errors import UserError

_END_BYTES = 1 << 16
_MOST_LOOKED_AT = 200
_LABEL_STUDIO = re.compile(r"task-\d+-annotation-\d+-by-\d+-tag-.+-\d+\.(png|npy)")
_YOLO_LINE = re.compile(rb"\s*\d+(\s+[-+.\deE]+){4,}\s*")
_REMEDY = (
    "paint its shapes into masks: images/NAME.jpg and masks/NAME.png, each pixel the number of its "
    "class, and classes.yaml; or write a list, whose lines name an image and its mask"
)


def recognise_export(given: Path) -> str | None:
    """Say what a file or folder is, and what to do, if an annotation tool wrote it; else none."""
    what = _of_file(given) if given.is_file() else _of_folder(given)
    return None if what is None else f"{given}: {what}"


def is_annotation_json(path: Path) -> bool:
    """Whether a file is JSON that an annotation tool writes: of shapes, not of names."""
    return path.suffix.lower() in {".json", ".jsonl"} and _of_json(_ends(path)) is not None


def _of_file(path: Path) -> str | None:
    suffix = path.suffix.lower()
    content = _ends(path) if suffix in {".json", ".jsonl", ".yaml", ".yml", ".xml", ".txt"} else b""
    if suffix in {".json", ".jsonl"}:
        return _of_json(content) or (
            f"this is JSON, which is no list of images; {_REMEDY}" if suffix == ".json" else None
        )
    if suffix in {".yaml", ".yml"}:
        if re.search(rb"^(train|val|path)\s*:", content, re.M) and b"names" in content:
            return f"this is the data.yaml of YOLO, whose labels are polygons in text; {_REMEDY}"
        return "this is YAML, and no data set; give the folder with images, masks and classes.yaml"
    if suffix == ".xml":
        tool = "CVAT XML" if b"<annotations" in content else "XML, as of Pascal VOC boxes"
        return f"this is {tool}; {_REMEDY}"
    first = content.split(b"\n", 1)[0]
    if suffix == ".txt" and _YOLO_LINE.fullmatch(first):
        return f"this is a label file of YOLO, with polygons or boxes; {_REMEDY}"
    return None


def _of_folder(root: Path) -> str | None:
    """By the files in a folder and in the folders in it."""
    files = list(_files(root))
    names = {path.name for path in files}
    if "_classes.csv" in names and any(name.endswith("_mask.png") for name in names):
        return (
            "this is a mask export of Roboflow (_classes.csv, NAME.jpg beside NAME_mask.png): move "
            "the images to images/SPLIT and the masks to masks/SPLIT, and give the classes of "
            "_classes.csv in classes.yaml; or write lists, whose lines name an image and its mask"
        )
    if any(map(_LABEL_STUDIO.fullmatch, names)):
        return (
            "these are brush masks of Label Studio, one for each task and tag, without the images: "
            "merge those of one task into one mask, each pixel the number of its class, beside "
            "images/NAME.jpg as masks/NAME.png"
        )
    if "labelmap.txt" in names:
        return (
            "this is a mask export of CVAT (labelmap.txt) without images: export it with 'Save "
            "images', or put them into JPEGImages"
        )
    for path in files:
        if path.suffix.lower() == ".json":
            found = _of_json(_ends(path))
            if found:
                return found
    for path in files:
        if path.suffix.lower() in {".txt", ".yaml", ".yml", ".xml"} and path.name != "classes.yaml":
            found = _of_file(path)
            if found and ("YOLO" in found or "XML" in found):
                return found
    return None


def _of_json(content: bytes) -> str | None:
    if b'"shapes"' in content and b'"imagePath"' in content:
        return f"this is JSON of labelme, a file for each image; {_REMEDY}"
    if b'"images"' in content and (b'"annotations"' in content or b'"categories"' in content):
        return f"this is COCO JSON; {_REMEDY}"
    if b'"file_name"' in content and (b'"segmentation"' in content or b'"category_id"' in content):
        return f"this is COCO JSON; {_REMEDY}"
    if b'"annotations"' in content and b'"from_name"' in content:
        return f"this is JSON of Label Studio; {_REMEDY}"
    return None


def _files(root: Path) -> Iterable[Path]:
    """Some files in a folder, and in those in it to a depth of two; of most kinds the first few."""
    seen: dict[tuple[Path, str], int] = {}
    for pattern in ("*", "*/*", "*/*/*"):
        try:
            found = sorted(root.glob(pattern))
        except OSError as error:
            raise UserError(f"{root} cannot be read: {error.strerror}") from None
        for path in found:
            key = (path.parent, path.suffix)
            seen[key] = seen.get(key, 0) + 1
            most = _MOST_LOOKED_AT if path.suffix.lower() in IMAGE_SUFFIXES else 5
            if seen[key] <= most and not path.name.startswith(".") and path.is_file():
                yield path


def _ends(path: Path) -> bytes:
    """The beginning and the end of a file; nothing if it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(_END_BYTES)
            size = file.seek(0, 2)
            file.seek(max(size - _END_BYTES, len(start)))
            return start + file.read()
    except OSError:
        return b""
