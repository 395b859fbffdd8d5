"""The kinds of problems of a data set, the severity of each, and its remedy."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from segmenter.classes import MaskValue


class Severity(StrEnum):
    """Severity of a problem, the gravest first."""

    ERROR = "error"
    """Training or scoring would stop at it, or the score would be worthless."""
    WARNING = "warning"
    """Training runs, but most likely not on what was meant."""
    NOTE = "note"
    """Good to know; often as it should be."""


@dataclass(frozen=True)
class Kind:
    """One way in which images, masks or splits can be wrong."""

    severity: Severity
    title: str
    """The cases that are found, in the plural."""
    advice: str
    """The remedy, as an instruction."""


@dataclass(frozen=True)
class Problem:
    """One case of a kind of problem."""

    kind: str
    """A key of `KINDS`."""
    message: str
    """One line that names the file, or the class, and what is wrong."""
    paths: tuple[Path, ...] = ()
    """Images and masks to look at."""
    values: tuple[tuple[MaskValue, int], ...] = ()
    """Mask values that no class has, with the number of their pixels, the commonest first."""

    @property
    def severity(self) -> Severity:
        """The severity of its kind."""
        return KINDS[self.kind].severity


def errors_in(problems: Iterable[Problem]) -> list[Problem]:
    """The problems that training stops at."""
    return [problem for problem in problems if problem.severity is Severity.ERROR]


_ERROR, _WARNING, _NOTE = Severity

KINDS: dict[str, Kind] = {
    "unreadable-photo": Kind(
        _ERROR, "images that cannot be read", "copy or export them again, or take them out"
    ),
    "unreadable-mask": Kind(
        _ERROR, "masks that cannot be read", "copy or export them again, or take them out"
    ),
    "missing-file": Kind(
        _ERROR, "lines of a list that name no file", "correct the list; paths start at its folder"
    ),
    "same-name": Kind(
        _ERROR, "images that share a mask with another", "rename one image and its mask"
    ),
    "several-masks": Kind(
        _ERROR,
        "images with several masks",
        "keep one mask for each image, or say which with --images and --masks",
    ),
    "photo-without-mask": Kind(
        _ERROR,
        "images without a mask",
        "add the mask that is expected for each, or take the images out",
    ),
    "size-differs": Kind(
        _ERROR, "masks that have not the size of their image", "export image and mask at one size"
    ),
    "not-turned": Kind(
        _ERROR,
        "masks that were not turned with their image",
        "turn the masks as the images' EXIF data say, or remove the EXIF orientation",
    ),
    "other-bands": Kind(
        _ERROR,
        "images with other bands, or of another type, than the first",
        "export all images alike, or take these out",
    ),
    "unknown-values": Kind(
        _ERROR,
        "masks with values that no class has",
        "give the values to a class, or to `ignore`, in classes.yaml",
    ),
    "smooth-mask": Kind(
        _ERROR,
        "masks with many rare values between those of classes",
        "export them without anti-aliasing, or resize them by nearest neighbour",
    ),
    "jpeg-mask": Kind(
        _ERROR,
        "masks spoilt by JPEG",
        "export them again as PNG; JPEG changes values, also where it is saved as PNG later",
    ),
    "rgb-mask": Kind(
        _ERROR,
        "colour masks, where classes.yaml lists grey values",
        'list colours instead, such as "values: [[128, 64, 128]]"',
    ),
    "sixteen-bit-mask": Kind(
        _ERROR,
        "16-bit masks with values that no class has",
        "export them with 8 bits a pixel, or list the 16-bit values in classes.yaml",
    ),
    "leak": Kind(
        _ERROR,
        "images that are in two splits",
        "keep each in one split, or the score says nothing about new images",
    ),
    "published-leak": Kind(
        _WARNING,
        "images that are in two splits of a published data set",
        "keep them to compare with published scores, which are a little too high",
    ),
    "near-leak": Kind(
        _WARNING,
        "images that look alike, in different splits",
        "keep copies, resized, mirrored or saved again, in the split of the original",
    ),
    "mask-without-photo": Kind(
        _WARNING, "masks without an image", "add the images, or correct the names"
    ),
    "format-not-read": Kind(
        _WARNING,
        "files skipped",
        "convert images and masks to JPEG or PNG, or take the files out",
    ),
    "duplicate": Kind(
        _WARNING, "images that are twice in one split", "keep one of each, or it counts twice"
    ),
    "all-ignored": Kind(
        _WARNING, "masks in which every pixel is ignored", "label the images, or take them out"
    ),
    "perhaps-not-turned": Kind(
        _WARNING,
        "images turned by EXIF data whose masks may not be",
        "look whether image and mask fit: sizes do not tell here",
    ),
    "blended-mask": Kind(
        _WARNING,
        "masks that look smoothly resized, though each value is one of a class",
        "look at their borders; resize masks by nearest neighbour",
    ),
    "jpeg-format": Kind(
        _WARNING,
        "masks in JPEG files whose values are intact",
        "export them as PNG: with the next one values may change",
    ),
    "several-pages": Kind(
        _WARNING,
        "images of several pages or frames, of which the first is read",
        "save the page that belongs to the mask as an image of its own",
    ),
    "dark-depth": Kind(
        _WARNING,
        "images that turn dark, as others fill more of their 16 bits",
        "set image_bits in classes.yaml to the bits that most of them need, or scale them alike",
    ),
    "constant-band": Kind(
        _WARNING,
        "bands with one value in nearly all pixels",
        "leave them out with data.bands, as in --data.bands '[1, 2, 3]'",
    ),
    "class-missing": Kind(
        _WARNING,
        "classes that no mask of the training split holds",
        "add images that show them, or take them out of classes.yaml",
    ),
    "class-not-scored": Kind(
        _NOTE, "classes that no mask of another split holds", "their scores will be empty"
    ),
    "constant-mask": Kind(
        _NOTE, "masks of one class only", "right for images that show nothing else"
    ),
    "near-duplicate": Kind(
        _NOTE,
        "groups of images that look alike, in one split",
        "frames of a video do; keep them together in one split",
    ),
    "turned-photo": Kind(
        _NOTE,
        "images turned upright by their EXIF data",
        "nothing to do: their masks fit them upright",
    ),
    "dropped-band": Kind(
        _NOTE,
        "images with a fourth band, of which the first three are read",
        "nothing if it is transparency; --data.bands all trains on every band",
    ),
    "deep-photo": Kind(
        _NOTE,
        "images with more than 8 bits a sample",
        "nothing if the white level is correct; image_bits in classes.yaml sets it",
    ),
    "grey-as-rgb": Kind(
        _NOTE, "grey masks saved with three channels", "nothing to do: they are read correctly"
    ),
    "sixteen-bit-format": Kind(
        _NOTE, "masks with 16 bits a pixel where 8 do", "nothing to do: they are read correctly"
    ),
    "nested-split": Kind(
        _NOTE, "splits that are made of others", "they are not looked at a second time"
    ),
    "unlabelled-split": Kind(_NOTE, "splits without masks", "they can only be predicted"),
}
"""Every kind, the gravest first: the order in which findings are shown."""
