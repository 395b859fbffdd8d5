"""The masks of Pascal Context, from the JSON in which its annotations are published.

`trainval_merged.json` is the file that MMSegmentation's converter and the paper's masks are made
from. An annotation is one category in one image: run lengths down the columns, as COCO packs them.
"""

import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from segmenter.data.annotations.rle import decode_region
from segmenter.data.published.pascal_context import LISTS, MASKS
from segmenter.errors import UserError
from segmenter.files.outputs import write_atomically

# Of the 459 categories, the 59 that are classes: place in this list + 1 is the value in a mask.
# fmt: off
CATEGORIES = (
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113,
    115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326,
    347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458,
)
# fmt: on
_VALUES = {0: 0, **{category: value for value, category in enumerate(CATEGORIES, start=1)}}
_IMAGE_NAME = re.compile(r"(\w+)\.jpg")


def write_masks(annotations: Path, root: Path, on_image: Callable[[int, int], None]) -> None:
    """Write the mask of each image, and then the lists of both splits.

    Existing masks and lists are left as they are, so that a stopped run continues.

    Args:
        annotations: `trainval_merged.json`.
        root: Folder of the data set, such as `VOCdevkit/VOC2010`.
        on_image: Called after each image with how many are done, of how many.

    Raises:
        UserError: If the file is not what it should be, or a mask cannot be written.
    """
    try:
        content = json.loads(annotations.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{annotations} cannot be read: {error}") from None
    try:
        images = {
            split: [image for image in content["images"] if image["phase"] == split]
            for split in ("train", "val")
        }
        of_image: dict[int, list[dict[str, Any]]] = {}
        for annotation in content["annos_segmentation"]:
            of_image.setdefault(annotation["image_id"], []).append(annotation)
        names = {split: sorted(map(_name, members)) for split, members in images.items()}
        _make_folders(root)
        wanted = images["train"] + images["val"]
        for done, image in enumerate(wanted, start=1):
            path = root / MASKS / f"{_name(image)}.png"
            if not os.path.lexists(path):
                size = (image["height"], image["width"])
                mask = paint(of_image.get(image["image_id"], []), size)
                write_atomically(path, _png(mask), sync=False)
            on_image(done, len(wanted))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        reason = f"{type(error).__name__} {error}"
        raise UserError(
            f"{annotations} is damaged or not a file of annotations: {reason}"
        ) from None
    for split, lines in names.items():
        path = root / LISTS / f"{split}.txt"
        if not os.path.lexists(path):
            write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def paint(
    annotations: list[dict[str, Any]], size: tuple[int, int]
) -> UInt8[ndarray, "height width"]:
    """Return the mask of one image; of annotations that overlap, the later one is seen."""
    mask = np.zeros(size, dtype=np.uint8)
    for annotation in annotations:
        category, packed = annotation["category_id"], annotation["segmentation"]
        if category not in _VALUES:
            raise ValueError(f"category {category} is none of the 59")
        if tuple(packed["size"]) != size:
            raise ValueError(f"a region of {packed['size']} pixels in an image of {list(size)}")
        mask[decode_region(packed["counts"], size)] = _VALUES[category]
    return mask


def _name(image: dict[str, Any]) -> str:
    """Return the image's name without suffix, which also names its mask."""
    match = _IMAGE_NAME.fullmatch(image["file_name"])
    if match is None:
        raise ValueError(f"an image has the name {image['file_name']!r}")
    return match[1]


def _make_folders(root: Path) -> None:
    for folder in (root / MASKS, root / LISTS):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder} cannot be created: {error.strerror}") from None


def _png(mask: UInt8[ndarray, "height width"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()
