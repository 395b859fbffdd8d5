"""Published data sets in small: their true layouts, with two images a split."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.published_tables import PASCAL_VOC

# Names of the items: the path of the image inside its split.
SPLITS: dict[str, dict[str, list[str]]] = {
    "ade20k": {
        "train": ["training/ADE_train_00000001", "training/ADE_train_00000002"],
        "val": ["validation/ADE_val_00000001", "validation/ADE_val_00000002"],
    },
    "cityscapes": {
        "train": [
            "train/aachen/aachen_000000_000019_leftImg8bit",
            "train/bochum/bochum_000000_000313_leftImg8bit",
        ],
        "val": [
            "val/frankfurt/frankfurt_000000_000294_leftImg8bit",
            "val/lindau/lindau_000000_000019_leftImg8bit",
        ],
    },
    "pascal_context": {
        "train": ["2008_000008", "2008_000015"],
        "val": ["2008_000002", "2008_000003"],
    },
    "pascal_context_59": {
        "train": ["2008_000008", "2008_000015"],
        "val": ["2008_000002", "2008_000003"],
    },
    "pascal_voc": {
        "train": ["2007_000032", "2007_000039"],
        "val": ["2008_000002", "2007_000033"],  # lists keep their order
    },
    "coco_stuff": {
        "train": ["train2017/000000000009", "train2017/000000000025"],
        "val": ["val2017/000000000139", "val2017/000000000285"],
    },
}


def write_tree(
    name: str, root: Path, values: Sequence[int] = (1,), only: Sequence[str] = ("train", "val")
) -> Path:
    """Write a data set whose masks begin with `values`, row by row, and go on with the first."""
    for split in only:
        for item in SPLITS[name][split]:
            image, mask = _files(name, item)
            _write_image(root / image)
            _write_mask(root / mask, values, with_palette=name == "pascal_voc")
        if name.startswith("pascal"):
            folder = "Segmentation" if name == "pascal_voc" else "SegmentationContext"
            path = root / "ImageSets" / folder / f"{split}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(SPLITS[name][split]) + "\n")
    return root


def _files(name: str, item: str) -> tuple[str, str]:
    """Image and mask inside the data set."""
    if name == "ade20k":
        return f"images/{item}.jpg", f"annotations/{item}.png"
    if name == "coco_stuff":
        return f"images/{item}.jpg", f"annotations/{item}.png"
    if name == "cityscapes":
        frame = item.removesuffix("_leftImg8bit")
        return f"leftImg8bit/{item}.png", f"gtFine/{frame}_gtFine_labelIds.png"
    masks = "SegmentationClass" if name == "pascal_voc" else "SegmentationClassContext"
    return f"JPEGImages/{item}.jpg", f"{masks}/{item}.png"


def _write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def _write_mask(path: Path, values: Sequence[int], *, with_palette: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.full(256, values[0], dtype=np.uint8)
    mask[: len(values)] = values
    image = Image.fromarray(mask.reshape(16, 16))
    if with_palette:
        image.putpalette([channel for color in PASCAL_VOC.values() for channel in color])
    image.save(path)
