"""A label map drawn over its image, with a legend beside or below."""

from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Float, UInt, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from segmenter.classes import Classes
from segmenter.errors import UserError
from segmenter.text import LEAST_SHOWN_SHARE, percent, visible

_BACKGROUND = (255, 255, 255)
_NAME_COLOR = (32, 33, 36)
_SHARE_COLOR = (95, 99, 104)
_SWATCH_OUTLINE = (190, 194, 198)
_BORDER_OPACITY = 0.6
_UNDER_BORDER = (np.arange(256) * (1 - _BORDER_OPACITY) + 255 * _BORDER_OPACITY).astype(np.uint8)
"""Value of red, green or blue after a white border is blended over it."""
_MIN_TEXT_SIZE = 13  # pixels; smaller letters of the built-in font run together
_TEXT_PER_SIDE = 0.02  # text size for each pixel of the image's mean side
_SIDE_PER_BORDER = 900  # a border grows by one pixel per 900 pixels of the image's mean side
_MAX_NAME_WIDTH = 12.0  # this and the next four in text sizes
_NAME_INDENT = 1.6
_ROW_HEIGHT = 1.6
_PADDING = 0.9
_COLUMN_GAP = 2.2
_MAX_ENTRIES = 40
_MIN_ROWS_BESIDE = 6
_MAX_JPEG_SIDE = 65_500  # of libjpeg
_PIXELS_AT_ONCE = 1 << 16  # what is made of them stays in the cache


def overlay(
    image: UInt8[ndarray, "height width 3"],
    labels: UInt[ndarray, "height width"],
    colors: UInt8[ndarray, "classes 3"],
    opacity: float = 0.5,
    background_index: int | None = None,
) -> UInt8[ndarray, "height width 3"]:
    """Lay the colour of each pixel's class over the image, and a thin line between classes.

    Args:
        image: RGB, 0 to 255.
        labels: Class of each pixel; the image shows through where it is none of `colors`.
        colors: RGB, by class.
        opacity: Opacity of the colours: 0 shows the image alone, 1 the colours alone.
        background_index: A label whose pixels are not painted; None: all are.

    Raises:
        UserError: If `colors` are none.
    """
    if not isinstance(colors, ndarray) or colors.ndim != 2 or colors.shape[1] != 3:
        raise UserError(
            "colors must be an array of shape (classes, 3), such as `classes.colors`, got "
            f"{type(colors).__name__}"
        )
    drawn = np.empty_like(image, order="C")
    if not labels.size:
        return drawn
    step = max(1, _PIXELS_AT_ONCE // max(labels.shape[1], 1))
    for top in range(0, len(labels), step):
        rows = slice(top, top + step)
        painted = _painted(labels[rows], colors)
        drawn[rows] = cv2.addWeighted(image[rows], 1 - opacity, painted, opacity, 0, dst=painted)
    is_clear = labels >= len(colors)
    if background_index is not None:
        is_clear |= labels == background_index
    if is_clear.any():
        np.copyto(drawn, image, where=is_clear[:, :, None])
    borders = _class_borders(labels)
    drawn[borders] = _UNDER_BORDER[np.asarray(drawn[borders], dtype=np.uint8)]
    return drawn


def overlay_with_legend(
    image: UInt8[ndarray, "height width 3"],
    labels: UInt[ndarray, "height width"],
    classes: Classes,
    *,
    shares: Float[ndarray, " classes"] | None = None,
    opacity: float = 0.5,
) -> UInt8[ndarray, "drawn_height drawn_width 3"]:
    """Draw `overlay` with the classes that occur, the largest first: colour, name, share.

    A background is not a class, so it is neither painted nor listed.

    The legend stands below a wide image and to the right of a tall one; its text grows with the
    image. An image too small for a legible legend gets a margin.

    Args:
        image: RGB, 0 to 255.
        labels: Class of each pixel.
        classes: Names and colours.
        shares: What to print for each class, 0 to 1; None: its share of the labelled pixels.
        opacity: Opacity of the colours, 0 to 1.
    """
    if shares is None:
        shares = class_shares(labels, len(classes))
    drawn = overlay(image, labels, classes.colors, opacity, classes.background_index)
    legend = _Legend.arrange(_entries(classes, shares), image.shape[:2])
    if not legend.entries:
        return drawn

    height, width = image.shape[:2]
    if legend.is_below:
        canvas_hw = (height + legend.height, max(width, legend.width))
        beside = (slice(height, None), slice(None))
    else:
        canvas_hw = (max(height, legend.height), width + legend.width)
        beside = (slice(None), slice(width, None))
    canvas = np.empty((*canvas_hw, 3), dtype=np.uint8)
    canvas[:height, :width] = drawn
    canvas[height:], canvas[:, width:] = _BACKGROUND, _BACKGROUND
    picture = Image.fromarray(canvas[beside])
    legend.draw(ImageDraw.Draw(picture))
    canvas[beside] = np.array(picture)
    return canvas


def class_shares(
    labels: UInt[ndarray, "height width"], num_classes: int
) -> Float[ndarray, " classes"]:
    """Share of each class in the labelled pixels, 0 to 1; zeros where no pixel is labelled."""
    counts = np.zeros(num_classes, dtype=np.int64)
    pixels = labels.ravel()
    for start in range(0, pixels.size, _PIXELS_AT_ONCE):
        some = pixels[start : start + _PIXELS_AT_ONCE]
        counts += np.bincount(some, minlength=num_classes)[:num_classes]
    return counts / max(counts.sum(), 1)


def shown_classes(shares: Float[ndarray, " classes"]) -> list[int]:
    """Return the classes whose share would not be written as 0.0 %, the largest first."""
    order = np.argsort(-shares, kind="stable").tolist()
    return [index for index in order if shares[index] >= LEAST_SHOWN_SHARE]


def smaller_size(shape: tuple[int, ...], max_side: int) -> tuple[int, int]:
    """Return width and height, as OpenCV takes them, with no side longer than `max_side`.

    Args:
        shape: Height and width of a picture.
        max_side: In pixels; a smaller picture keeps its size.
    """
    height, width = shape[:2]
    factor = min(1.0, max_side / max(height, width))
    return max(1, round(width * factor)), max(1, round(height * factor))


def encode_jpeg(image: UInt8[ndarray, "height width 3"], quality: int = 90) -> bytes:
    """Encode RGB as JPEG, with full colour resolution so that thin borders stay clean.

    A picture with a side longer than a JPEG can have is made smaller.
    """
    factor = _MAX_JPEG_SIDE / max(image.shape)
    if factor < 1:
        height, width = (max(1, int(side * factor)) for side in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", "444")


def _painted(
    labels: UInt[ndarray, "height width"], colors: UInt8[ndarray, "classes 3"]
) -> UInt8[ndarray, "height width 3"]:
    """Return the colour of each label; of the last class, where there is none."""
    if labels.dtype != np.uint8:
        return np.take(colors, np.minimum(labels, len(colors) - 1), axis=0)
    table = colors[np.minimum(np.arange(256), len(colors) - 1)]
    return cv2.LUT(cv2.merge([labels] * 3), table[:, None])


def _class_borders(labels: UInt[ndarray, "height width"]) -> ndarray:
    """Return the pixels where one class meets another, as thick as suits the picture's size."""
    borders = np.zeros(labels.shape, dtype=np.uint8)
    borders[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    borders[1:] |= labels[1:] != labels[:-1]
    thickness = max(1, round(labels.size**0.5 / _SIDE_PER_BORDER))
    if thickness > 1:
        borders = cv2.dilate(borders, np.ones((thickness, thickness), dtype=np.uint8))
    return borders.astype(bool)


class _Entry(NamedTuple):
    """One line of a legend; `color` is none for the line that stands for all small classes."""

    name: str
    share: str
    color: tuple[int, int, int] | None


def _entries(classes: Classes, shares: ndarray) -> list[_Entry]:
    """Text of the legend: classes that occur, the largest first, the smallest summed up."""
    largest_first = np.argsort(-shares, kind="stable")
    order = [
        int(index)
        for index in largest_first
        if shares[index] > 0 and index != classes.background_index
    ]
    if len(order) > _MAX_ENTRIES:
        order, small = order[: _MAX_ENTRIES - 1], order[_MAX_ENTRIES - 1 :]
    else:
        small = []
    entries = [
        _Entry(visible(info.name), _percent(shares[index]), info.color)
        for index, info in ((index, classes.by_index[index]) for index in order)
    ]
    if small:
        entries.append(_Entry(f"{len(small)} more", _percent(shares[small].sum()), None))
    return entries


def _percent(share: float) -> str:
    return "<0.1 %" if share < LEAST_SHOWN_SHARE else f"{percent(share, 1)} %"


class _Legend(NamedTuple):
    """Entries in a grid, every length in pixels."""

    entries: list[_Entry]
    is_below: bool
    text_size: int
    num_columns: int
    cell_width: int
    width: int
    height: int

    @classmethod
    def arrange(cls, entries: list[_Entry], image_hw: tuple[int, int]) -> "_Legend":
        """Fit entries to an image: in rows below a wide one, in columns beside a tall one."""
        height, width = image_hw
        text_size = max(_MIN_TEXT_SIZE, round(_TEXT_PER_SIDE * (height * width) ** 0.5))
        font = ImageFont.load_default(text_size)
        row, padding = round(_ROW_HEIGHT * text_size), round(_PADDING * text_size)
        entries = [
            entry._replace(name=_shorten(entry.name, font, _MAX_NAME_WIDTH * text_size))
            for entry in entries
        ]
        names = max((font.getlength(entry.name) for entry in entries), default=0)
        shares = font.getlength("100.0 %") + text_size
        cell = round(_NAME_INDENT * text_size + names + shares)
        gap = round(_COLUMN_GAP * text_size)
        is_below = width >= height
        if is_below:
            num_columns = max(1, min(len(entries), (width - 2 * padding + gap) // (cell + gap)))
        else:
            max_rows = max(_MIN_ROWS_BESIDE, (height - 2 * padding) // row)
            num_columns = -(-len(entries) // max_rows)
        num_rows = -(-len(entries) // max(num_columns, 1))
        return cls(
            entries=entries,
            is_below=is_below,
            text_size=text_size,
            num_columns=num_columns,
            cell_width=cell,
            width=num_columns * (cell + gap) - gap + 2 * padding,
            height=num_rows * row + 2 * padding,
        )

    def draw(self, canvas: ImageDraw.ImageDraw) -> None:
        """Draw the entries, row by row below an image, column by column beside it."""
        size = self.text_size
        font = ImageFont.load_default(size)
        row, padding = round(_ROW_HEIGHT * size), round(_PADDING * size)
        gap = round(_COLUMN_GAP * size)
        num_rows = (self.height - 2 * padding) // row
        for index, entry in enumerate(self.entries):
            if self.is_below:
                line, column = divmod(index, self.num_columns)
            else:
                column, line = divmod(index, num_rows)
            left = padding + column * (self.cell_width + gap)
            middle = padding + line * row + row // 2
            if entry.color is not None:
                box = (left, middle - size // 2, left + size, middle - size // 2 + size)
                canvas.rectangle(box, fill=entry.color, outline=_SWATCH_OUTLINE)
            name_left = left + round(_NAME_INDENT * size)
            canvas.text((name_left, middle), entry.name, _NAME_COLOR, font, anchor="lm")
            share_right = left + self.cell_width
            canvas.text((share_right, middle), entry.share, _SHARE_COLOR, font, anchor="rm")


def _shorten(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """Bring a name onto one line, and end it with an ellipsis if it is too wide."""
    name = " ".join(name.split())
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(name + "…") > width:
        name = name[:-1]
    return name.rstrip() + "…"
