"""Layouts of data sets: the names of folders of images and masks, and the endings of files.

The tables here are all there is: what is not in them takes a list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segmenter.data.decoding.image_formats import MASK_SUFFIXES
from segmenter.data.pairing.walking import walk_images

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "img_dir", "JPEGImages", "photos")
"""Names of a folder of images, the likeliest first."""
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "ann_dir", "SegmentationClass"),
    *("segmentations", "segmentation", "gt"),
)
"""Names of a folder of masks, the likeliest first."""
MASK_ENDINGS = ("", "_mask", "_masks", "_segmentation", "_seg", "_label", "_labels", "_gt", "_L")
"""Endings of a mask's name after the name of its image."""
LAYOUT = (
    "a data set is a folder with images/NAME.jpg, masks/NAME.png and classes.yaml (split folders "
    "such as images/train and masks/train, or train/images and train/masks, are welcome); or name "
    "both by --images and --masks, or write a list such as train.txt, whose lines name an image "
    "and its mask"
)

WAY_OUT = (
    "; or name both by --images and --masks, or write a list, such as train.txt, whose lines name "
    "an image and its mask"
)
"""For messages on images and masks that do not pair up."""


@dataclass(frozen=True)
class Place:
    """A folder of images and the folder of their masks."""

    images: Path
    masks: Path
    split: str = ""
    """Empty if the folders hold all splits."""
    files: tuple[tuple[Path, ...], tuple[Path, ...]] | None = None
    """Images and masks, where both lie in one folder; None: all that the folders hold."""


def find_places(root: Path) -> list[Place]:
    """Return the folders of a data set: one pair, or one for each split; none for other layouts."""
    whole = _pair_in(root, "{}")
    if whole is not None:
        return [Place(*whole)]
    folders = sorted(path for path in root.glob("*") if path.is_dir())
    places = []
    for folder in folders:
        pair = None if folder.name.startswith(".") else _pair_in(folder, "{}")
        if pair is not None:
            places.append(Place(*pair, folder.name))
    if places:
        return places
    for folder in folders:
        for name in IMAGE_FOLDERS:
            for form, split in (
                ("{1}_{0}", folder.name.removesuffix(f"_{name}")),
                ("{0}_{1}", folder.name.removeprefix(f"{name}_")),
            ):
                if form.format(name, split) == folder.name:
                    masks = _masks_in(root, form.format("{}", split))
                    if masks is not None:
                        places.append(Place(folder, masks, split))
    return places


def mask_names(
    name: str, file_name: str, names: Mapping[str, object], images: Mapping[str, object]
) -> list[str]:
    """Return the names of an image's masks among those that there are; one if all is clear.

    Args:
        name: Name of the image, without suffix.
        file_name: The same with its suffix.
        names: Names of all masks, without suffix.
        images: Names of all images, whose masks are not second ones of another image.
    """
    endings = (name + ending for ending in MASK_ENDINGS[1:])
    candidates = (name, *(each for each in endings if each not in images), file_name)
    return [each for each in candidates if each in names]


def choose_ending(names: Sequence[tuple[str, str]], masks: Mapping[str, object]) -> str | None:
    """Return the ending by which all images have a mask.

    Args:
        names: Names of the images, without suffix and with it.
        masks: By their names without suffix.

    Returns:
        The empty one if no ending fits all; none for masks such as `NAME.jpg.png`.
    """
    for ending in MASK_ENDINGS:
        if all(name + ending in masks for name, _ in names):
            return ending
    return None if all(file_name in masks for _, file_name in names) else ""


def _pair_in(folder: Path, form: str) -> tuple[Path, Path] | None:
    images = next((path for path in _named(folder, IMAGE_FOLDERS, form)), None)
    masks = _masks_in(folder, form)
    return None if images is None or masks is None else (images, masks)


def _masks_in(folder: Path, form: str) -> Path | None:
    """Return the folder of masks: one that holds images, since `labels` may hold text of boxes."""
    found = _named(folder, MASK_FOLDERS, form)
    holding = (
        path for path in found if next(walk_images(path, suffixes=MASK_SUFFIXES), None) is not None
    )
    return next(holding, next((path for path in found if path.name == "masks"), None))


def _named(folder: Path, names: Sequence[str], form: str) -> list[Path]:
    paths = [folder / form.format(name) for name in names]
    return [path for path in paths if path.is_dir()]
