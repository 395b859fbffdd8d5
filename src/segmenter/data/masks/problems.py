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
    """Return the problems that training stops at."""
    return [problem for problem in problems if problem.severity is Severity.ERROR]


_ERROR, _WARNING, _NOTE = Severity

KINDS: dict[str, Kind] = {
    "unreadable-photo": Kind(
        _ERROR, "images that cannot be read", "copy or export them again, or remove them"
    ),
    "unreadable-mask": Kind(
        _ERROR, "masks that cannot be read", "copy or export them again, or remove them"
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
        "keep one mask for each image, or select one with --images and --masks",
    ),
    "photo-without-mask": Kind(
        _ERROR,
        "images without a mask",
        "add the mask that is expected for each, or remove the images",
    ),
    "size-differs": Kind(
        _ERROR,
        "masks whose size is not that of their image",
        "export image and mask at the same size",
    ),
    "not-turned": Kind(
        _ERROR,
        "masks that were not rotated with their image",
        "rotate the masks as the EXIF data of the images state, or remove the EXIF orientation",
    ),
    "other-bands": Kind(
        _ERROR,
        "images with other bands, or of another type, than the first",
        "export all images alike, or remove these",
    ),
    "unknown-values": Kind(
        _ERROR,
        "masks with values that belong to no class",
        "assign the values to a class or to `ignore` in classes.yaml",
    ),
    "smooth-mask": Kind(
        _ERROR,
        "masks with many rare values between those of classes",
        "export them without anti-aliasing, or resize them by nearest neighbour",
    ),
    "jpeg-mask": Kind(
        _ERROR,
        "masks damaged by JPEG compression",
        "export them again as PNG; a JPEG that is saved as PNG keeps its changed values",
    ),
    "rgb-mask": Kind(
        _ERROR,
        "colour masks, where classes.yaml lists grey values",
        'list colours instead, such as "values: [[128, 64, 128]]"',
    ),
    "sixteen-bit-mask": Kind(
        _ERROR,
        "16-bit masks with values that belong to no class",
        "export them with 8 bits per pixel, or list the 16-bit values in classes.yaml",
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
        "keep copies (resized, mirrored or saved again) in the split of the original",
    ),
    "mask-without-photo": Kind(
        _WARNING, "masks without an image", "add the images, or correct the names"
    ),
    "format-not-read": Kind(
        _WARNING,
        "files skipped",
        "convert images and masks to JPEG or PNG, or remove the files",
    ),
    "duplicate": Kind(
        _WARNING, "images that are twice in one split", "keep one of each, or it counts twice"
    ),
    "all-ignored": Kind(
        _WARNING, "masks in which every pixel is ignored", "label the images, or remove them"
    ),
    "perhaps-not-turned": Kind(
        _WARNING,
        "images rotated by EXIF data whose masks may not be",
        "compare image and mask by eye: their sizes do not tell",
    ),
    "blended-mask": Kind(
        _WARNING,
        "masks that look smoothly resized, although each value belongs to a class",
        "look at their borders; resize masks by nearest neighbour",
    ),
    "jpeg-format": Kind(
        _WARNING,
        "masks in JPEG files whose values are intact",
        "export them as PNG: saving them as JPEG again may change values",
    ),
    "several-pages": Kind(
        _WARNING,
        "images with several pages or frames, of which the first is read",
        "save the page that belongs to the mask as a separate image",
    ),
    "dark-depth": Kind(
        _WARNING,
        "images that become dark because others use more of their 16 bits",
        "set image_bits in classes.yaml to the bits that most of them need, or scale them alike",
    ),
    "constant-band": Kind(
        _WARNING,
        "bands with one value in nearly all pixels",
        "omit them with data.bands, as in --data.bands '[1, 2, 3]'",
    ),
    "class-missing": Kind(
        _WARNING,
        "classes that occur in no mask of the training split",
        "add images that show them, or remove them from classes.yaml",
    ),
    "class-not-scored": Kind(
        _NOTE, "classes that occur in no mask of another split", "their scores will be empty"
    ),
    "constant-mask": Kind(
        _NOTE, "masks of one class only", "correct for images that show nothing else"
    ),
    "near-duplicate": Kind(
        _NOTE,
        "groups of images that look alike, in one split",
        "expected for frames of a video; keep them together in one split",
    ),
    "turned-photo": Kind(
        _NOTE,
        "images rotated upright by their EXIF data",
        "nothing to do: their masks fit them upright",
    ),
    "dropped-band": Kind(
        _NOTE,
        "images with a fourth band, of which the first three are read",
        "nothing to do if it is transparency; --data.bands all trains on every band",
    ),
    "deep-photo": Kind(
        _NOTE,
        "images with more than 8 bits per sample",
        "nothing to do if the white level is correct; image_bits in classes.yaml sets it",
    ),
    "grey-as-rgb": Kind(
        _NOTE, "grey masks saved with three channels", "nothing to do: they are read correctly"
    ),
    "sixteen-bit-format": Kind(
        _NOTE,
        "masks with 16 bits per pixel that need only 8",
        "nothing to do: they are read correctly",
    ),
    "nested-split": Kind(
        _NOTE, "splits that consist of others", "they are not checked a second time"
    ),
    "unlabelled-split": Kind(_NOTE, "splits without masks", "they can be used only for prediction"),
}
"""Every kind, the gravest first: the order in which findings are shown."""
