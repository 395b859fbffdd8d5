"""Reading one mask and telling what it holds, and everything that is wrong with it.

The one place where masks are examined, for `segmenter check` and before training.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, Shaped
from numpy import ndarray

from segmenter.classes import Classes, MaskValue
from segmenter.data.decoding.decode import Header, decode_mask, read_header
from segmenter.data.folder import size_problem
from segmenter.data.masks.layout import Layout, class_layout
from segmenter.data.masks.problems import Problem
from segmenter.data.masks.region_widths import SizeFacts, region_widths
from segmenter.data.masks.values import MANY_UNKNOWN_VALUES, MaskError, map_values
from segmenter.data.pairing.items import Item
from segmenter.errors import UserError

_KEPT_VALUES = 16
"""So many unknown values of one mask are remembered, the commonest."""
_RARE_SHARE = 0.002
"""Unknown values come from smoothing if the median one has at most this share of the pixels."""
_BLENDED_SHARE = 0.15
"""Masks with more of their borders blended were smoothed; measured in docs/how-to/check.md."""
_MIN_BORDER_PIXELS = 100
"""With fewer of them, their share says nothing."""
_SIXTEEN_BIT_STEP = 257
"""8 bits stretched to 16: 255 becomes 65535."""


@dataclass(frozen=True)
class MaskFacts:
    """The content of one mask."""

    pixel_counts: Int64[ndarray, " classes"]
    """Pixels of each class; zeros where the mask cannot be used."""
    num_pixels: int
    """Number of all pixels, with ignored ones; 0 if the mask cannot be used."""
    problems: tuple[Problem, ...] = ()
    size: tuple[int, int] = (0, 0)
    """Height and width; zeros where the mask cannot be used."""
    widths: Float32[ndarray, " classes"] | None = None
    """See `region_widths`; None where the mask cannot be used."""
    layout: Layout | None = None
    """Places of its classes; None if the mask cannot be used."""
    is_of_map: bool = False
    """True: its image has a georeference."""


def gather_sizes(masks: Iterable[MaskFacts | None], num_classes: int) -> SizeFacts:
    """Return the sizes of the masks that can be used, and of the regions in them."""
    usable = [mask for mask in masks if mask and mask.widths is not None]
    sizes = np.array([mask.size for mask in usable], dtype=np.int64).reshape(-1, 2)
    widths = np.array([mask.widths for mask in usable], dtype=np.float32)
    are_maps = bool(usable) and all(mask.is_of_map for mask in usable)
    return SizeFacts(sizes, widths.reshape(-1, num_classes), are_maps)


def inspect_header(item: Item) -> tuple[Header | None, tuple[Problem, ...]]:
    """Read the header of an image; None if it cannot be read."""
    try:
        header = read_header(item.image)
        said = (
            (
                "several-pages",
                "has several pages or frames; the first is read",
                header.num_pages > 1,
            ),
            ("dropped-band", "has a fourth band, which is not read", header.drops_band),
        )
        return header, tuple(
            Problem(kind, f"{item.image} {what}", (item.image,))
            for kind, what, is_so in said
            if is_so
        )
    except UserError as error:
        return None, (Problem("unreadable-photo", str(error), (item.image,)),)


def inspect_mask(
    item: Item, classes: Classes, header: Header | None, image_size: tuple[int, int] | None
) -> MaskFacts:
    """Read the mask of an image; what is wrong with it is not raised but part of the result.

    Args:
        item: An image and its mask.
        classes: What the values mean.
        header: Header of the image; None if it cannot be read.
        image_size: Height and width of the image, upright; None if it cannot be read.
    """
    path = item.mask
    nothing = np.zeros(len(classes), dtype=np.int64)
    if path is None:
        message = f"{item.image} has no mask; without one it can only be predicted"
        return MaskFacts(nothing, 0, (Problem("photo-without-mask", message, (item.image,)),))
    try:
        of_mask = read_header(path)
        is_jpeg = of_mask.format == "JPEG"
        raw = decode_mask(path, apply_palette=classes.is_rgb)
    except UserError as error:
        return MaskFacts(nothing, 0, (Problem("unreadable-mask", str(error), (path,)),))
    problems = _size_problems(
        item,
        None if _is_turned_alike(of_mask, header) else header,
        image_size,
        (raw.shape[0], raw.shape[1]),
    )
    try:
        labels = map_values(raw, classes, source=str(path))
    except MaskError as error:
        kind = "jpeg-mask" if is_jpeg else _kind_of(error, raw, classes)
        problem = Problem(kind, str(error), (path,), error.values[:_KEPT_VALUES])
        return MaskFacts(nothing, 0, (problem, *problems))
    counts = np.bincount(labels.ravel(), minlength=len(classes))[: len(classes)].astype(np.int64)
    problems += tuple(
        Problem(kind, f"{path}: {what}", (item.image, path))
        for kind, what in _doubts(raw, counts, classes, is_jpeg=is_jpeg)
    )
    size = labels.shape[0], labels.shape[1]
    widths = region_widths(labels, len(classes))
    layout = class_layout(labels, len(classes))
    is_of_map = header is not None and header.is_map
    return MaskFacts(counts, labels.size, problems, size, widths, layout, is_of_map)


def _is_turned_alike(of_mask: Header, of_image: Header | None) -> bool:
    """Return True if a mask is turned as its image is; of masks, only TIFF files are turned."""
    return (
        of_image is not None
        and of_mask.format == "TIFF"
        and of_mask.orientation == of_image.orientation
    )


def _doubts(
    raw: Shaped[ndarray, "height width *channels"],
    counts: Int64[ndarray, " classes"],
    classes: Classes,
    *,
    is_jpeg: bool,
) -> Iterator[tuple[str, str]]:
    """Yield kind and description of what is unusual in a mask that can be read.

    Args:
        raw: Its values.
        counts: Pixels of each class.
        classes: What the values mean.
        is_jpeg: Whether the file is a JPEG.
    """
    is_constant = counts.max() == raw.shape[0] * raw.shape[1]
    is_blended = not is_jpeg and blended_share(raw) > _BLENDED_SHARE
    is_narrow = raw.dtype == np.uint16 and raw.max() <= 255
    for kind, what, is_so in (
        ("jpeg-format", "is a JPEG file", is_jpeg),
        ("all-ignored", "every pixel is ignored", counts.sum() == 0),
        ("constant-mask", _constant(counts, classes), is_constant),
        ("blended-mask", "borders look smoothed", is_blended),
        ("grey-as-rgb", "grey, with three channels", raw.ndim == 3 and not classes.is_rgb),
        ("sixteen-bit-format", "16 bits a pixel, no value above 255", is_narrow),
    ):
        if is_so:
            yield kind, what


def _size_problems(
    item: Item,
    header: Header | None,
    image_size: tuple[int, int] | None,
    mask_size: tuple[int, int],
) -> tuple[Problem, ...]:
    """Check that image and mask lie upon each other, as far as sizes and EXIF data tell."""
    if image_size is None or item.mask is None:
        return ()
    problem = size_problem(item, image_size, mask_size)
    if problem is not None:
        return (problem,)
    if header is None or not header.is_turned:
        return ()
    tells = header.swaps_sides and mask_size[0] != mask_size[1]
    kind = "turned-photo" if tells else "perhaps-not-turned"
    message = f"{item.image} has EXIF orientation {header.orientation}"
    return (Problem(kind, message, (item.image, item.mask)),)


def _constant(counts: Int64[ndarray, " classes"], classes: Classes) -> str:
    return f"all of it is {classes.names[int(counts.argmax())]!r}"


def _kind_of(
    error: MaskError, raw: Shaped[ndarray, "height width *channels"], classes: Classes
) -> str:
    """Return the fault that made the unknown values of a mask."""
    if not error.values:
        return error.kind
    if raw.dtype == np.uint16 and all(_is_stretched(value, classes) for value, _ in error.values):
        return "sixteen-bit-mask"
    counts = [count for _, count in error.values]
    is_rare = np.median(counts) <= max(_RARE_SHARE * raw.shape[0] * raw.shape[1], 1)
    return "smooth-mask" if len(counts) > MANY_UNKNOWN_VALUES and is_rare else error.kind


def _is_stretched(value: MaskValue, classes: Classes) -> bool:
    """Return True if a 16-bit value is the value of a class, stretched from 8 bits."""
    if not isinstance(value, int) or value % _SIXTEEN_BIT_STEP:
        return False
    return bool(classes.grey_table()[value // _SIXTEEN_BIT_STEP] >= 0)


def blended_share(raw: Shaped[ndarray, "height width *channels"]) -> float:
    """Share of the border pixels at which values pass through others on their way, 0 to 1.

    A border between 2 and 7 that was resized smoothly has a pixel of 4 or 5 in it: perhaps the
    value of a class, so that nothing else tells. 0 for RGB, and where there is too little border.
    """
    if raw.ndim == 3:
        return 0.0
    values = np.maximum(raw.astype(np.int32), -1)
    num_blended = num_hard = 0
    for rows in (values, values.T):
        before, middle, after = rows[:, :-2], rows[:, 1:-1], rows[:, 2:]
        rises, falls = (before < middle) & (middle < after), (before > middle) & (middle > after)
        num_blended += int(np.count_nonzero(rises | falls))
        num_hard += int(np.count_nonzero(np.abs(np.diff(rows, axis=1)) >= 2))
    num_border = num_blended + num_hard
    return num_blended / num_border if num_border >= _MIN_BORDER_PIXELS else 0.0
