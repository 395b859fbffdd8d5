"""Augmentations for images without an up, and for poor cameras: all are off by default.

Each operation is a row of a table. Its share of the crops is the field of the same name under
`augment`, and its random numbers depend on the crop and its own name alone: turning one on changes
neither the draws of another nor those of scale, crop, flip and colour jitter.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Int64, Shaped
from numpy import ndarray

from segmenter.data.sample import Sample
from segmenter.image_spec import LEVELS, by_opencv
from segmenter.recipe import AugmentRecipe

Image = Shaped[ndarray, "height width channels"]
"""Levels: 0 is the low end of the range, 255 the high end; uint8, or float32 for other images."""
Labels = Shaped[ndarray, "height width"]
Fill = Int64[ndarray, " channels"]
"""Level of each channel outside the image."""
Draws = dict[str, np.random.Generator]
"""The operations that one crop gets, each with its own random numbers."""
Places = Float[ndarray, "height width 2"]
"""Column and row, in pixels of the crop as it was, that each pixel is taken from; float32."""

_BEST_JPEG = 95
_NODE_DISTANCE = 32  # smallest, in pixels, between the nodes of an elastic deformation


class Turn(NamedTuple):
    """A row of `TURNS`: pixels change their place, and no pixel its value."""

    name: str
    """Field with the share of the crops."""
    draw: Callable[[np.random.Generator], Callable[[ndarray], ndarray]]
    """Draw what is done to the image and to its labels alike."""


class Warp(NamedTuple):
    """A row of `WARPS`: pixels move by fractions, so the image is interpolated."""

    name: str
    """Field with the share of the crops."""
    draw: Callable[[tuple[int, int], AugmentRecipe, np.random.Generator], Places]
    """Draw the places of a crop of a height and width, of the settings and random numbers."""


class Change(NamedTuple):
    """A row of `CHANGES`: pixels change their value, and labels stay."""

    name: str
    """Field with the share of the crops."""
    apply: Callable[[Image, AugmentRecipe, Fill, np.random.Generator], Image]
    """Return a changed image, of the settings, the fill of each channel, and random numbers."""
    needs_rgb: bool = False
    """The operation has a meaning for RGB and grey of 8 bits alone; it skips other images."""


def draw_operations(
    augment: AugmentRecipe, rng: np.random.Generator, names: Sequence[str] | None = None
) -> Draws:
    """Draw the operations of one crop; `rng` is as before, whatever is drawn.

    Args:
        augment: Settings; the field of each name is its share of the crops.
        rng: Random numbers of the crop.
        names: Names of the operations to choose from; None: those of one image, `OPERATIONS`.
    """
    shares = {name: getattr(augment, name) for name in names or OPERATIONS}
    if not any(shares.values()):
        return {}
    generators = {name: own_generator(rng, name) for name, share in shares.items() if share}
    return {name: own for name, own in generators.items() if own.random() < shares[name]}


def own_generator(rng: np.random.Generator, name: str) -> np.random.Generator:
    """Return random numbers of an operation's own; `rng` is as before."""
    state = rng.bit_generator.state
    seed = int(rng.integers(2**63))
    rng.bit_generator.state = state
    return np.random.default_rng([seed, *name.encode()])


def turn(
    image: Image, labels: Labels, draws: Draws
) -> tuple[
    Shaped[ndarray, "new_height new_width channels"], Shaped[ndarray, "new_height new_width"]
]:
    """Apply the rows of `TURNS` that were drawn; height and width may change places."""
    for each in TURNS:
        if each.name in draws:
            apply = each.draw(draws[each.name])
            image, labels = (np.ascontiguousarray(apply(array)) for array in (image, labels))
    return image, labels


def warp(
    image: Image, labels: Labels, augment: AugmentRecipe, ignore_index: int, draws: Draws
) -> Sample:
    """Apply the rows of `WARPS` that were drawn; labels from outside the crop are ignored.

    The image is mirrored at its edges, because what has no label needs no fill of its own.
    """
    for each in WARPS:
        if each.name not in draws:
            continue
        places = each.draw((labels.shape[0], labels.shape[1]), augment, draws[each.name])
        columns, rows = cv2.split(places)
        move = partial(cv2.remap, map1=columns, map2=rows)
        of_image = partial(move, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        image = by_opencv(of_image, image)
        labels = np.asarray(
            move(
                labels,
                interpolation=cv2.INTER_NEAREST,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=ignore_index,
            )
        )
    return Sample(image, labels)


def rotation_matrix(
    height: int, width: int, center: tuple[float, float], degrees: float
) -> Float[ndarray, "2 3"]:
    """Return the affine map from pixels of a turned window to those of its source.

    Args:
        height: Height of the window, in pixels.
        width: Width of the window, in pixels.
        center: Row and column of the source where the window's centre lies.
        degrees: Angle.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = (width - 1) / 2, (height - 1) / 2
    row, column = center
    return np.array([[cos, -sin, column - cos * x + sin * y], [sin, cos, row - sin * x - cos * y]])


def change_pixels(image: Image, augment: AugmentRecipe, fill: Fill, draws: Draws) -> Image:
    """Apply the rows of `CHANGES` that were drawn, in the order of the table."""
    for each in CHANGES:
        if each.name in draws and not (each.needs_rgb and image.dtype != np.uint8):
            image = each.apply(image, augment, fill, draws[each.name])
    return image


def cut_out(
    image: Image,
    labels: Labels,
    augment: AugmentRecipe,
    fill: tuple[Fill, int],
    rng: np.random.Generator,
) -> tuple[Image, Labels]:
    """Fill a random square; nothing there tells the class, so its labels are ignored.

    Args:
        image: The crop.
        labels: Labels of the crop.
        augment: Settings.
        fill: Level of each channel, and label, of the square.
        rng: The only source of randomness.
    """
    height, width = labels.shape
    side = max(round(min(height, width) * augment.cutout_size * (1 - rng.random())), 1)
    top, left = (int(rng.integers(length - side + 1)) for length in (height, width))
    square = slice(top, top + side), slice(left, left + side)
    image, labels = image.copy(), labels.copy()
    image[square], labels[square] = fill
    return image, labels


def skipped_operations(augment: AugmentRecipe) -> tuple[str, ...]:
    """Return the fields of operations that are on, but skip images that are not 8-bit RGB."""
    return tuple(each.name for each in CHANGES if each.needs_rgb and getattr(augment, each.name))


def _perspective(size: tuple[int, int], augment: AugmentRecipe, rng: np.random.Generator) -> Places:
    """Stretch a quadrilateral inside the crop, of a corner near each of its own, to the crop."""
    height, width = size
    inward = rng.uniform(0, augment.perspective_shift, (4, 2)).astype(np.float32)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    scale = np.array([width, height], np.float32)
    taken = (corners + inward * (1 - 2 * corners)) * scale - 0.5
    to_source = cv2.getPerspectiveTransform(corners * scale - 0.5, taken)
    return np.asarray(cv2.perspectiveTransform(_own_places(size), to_source))


def _elastic(size: tuple[int, int], augment: AugmentRecipe, rng: np.random.Generator) -> Places:
    """Shift the nodes of a grid at random, and pixels between them in proportion."""
    height, width = size
    nodes = [max(length // _NODE_DISTANCE, 1) for length in size]
    most = augment.elastic_shift * (1 - rng.random())
    shifts = rng.uniform(-most, most, (*nodes, 2)).astype(np.float32)
    return _own_places(size) + cv2.resize(shifts, (width, height), interpolation=cv2.INTER_LINEAR)


def _own_places(size: tuple[int, int]) -> Places:
    """Return the column and row of each pixel."""
    rows, columns = np.indices(size, dtype=np.float32)
    return np.stack([columns, rows], axis=-1)


def _gamma(image: Image, augment: AugmentRecipe, _: Fill, rng: np.random.Generator) -> Image:
    """Levels below 0 keep their sign."""
    exponent = math.exp(rng.uniform(-1, 1) * math.log(augment.gamma_limit))
    levels = np.arange(256, dtype=np.float32) if image.dtype == np.uint8 else image
    changed = np.copysign(LEVELS * (np.abs(levels) / LEVELS) ** np.float32(exponent), levels)
    if image.dtype == np.uint8:
        return cv2.LUT(image, _like(changed, image)).reshape(image.shape)
    return _like(changed, image)


def _grey(image: Image, _: AugmentRecipe, __: Fill, ___: np.random.Generator) -> Image:
    if image.shape[2] != 3:
        return image
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def _drop_channel(image: Image, _: AugmentRecipe, fill: Fill, rng: np.random.Generator) -> Image:
    if image.shape[2] == 1:
        return image
    channel = int(rng.integers(image.shape[2]))
    image = image.copy()
    image[:, :, channel] = fill[channel]
    return image


def _blur(image: Image, augment: AugmentRecipe, _: Fill, rng: np.random.Generator) -> Image:
    sigma = augment.blur_sigma * (1 - rng.random())  # never 0, which OpenCV takes for a default
    return by_opencv(partial(cv2.GaussianBlur, ksize=(0, 0), sigmaX=sigma), image)


def _noise(image: Image, augment: AugmentRecipe, _: Fill, rng: np.random.Generator) -> Image:
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= np.float32(augment.noise_std * (1 - rng.random()))
    if image.dtype == np.uint8:  # OpenCV rounds and clips several times faster than NumPy
        return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U)).reshape(image.shape)
    return image + noise


def _jpeg(image: Image, augment: AugmentRecipe, _: Fill, rng: np.random.Generator) -> Image:
    if image.shape[2] not in (1, 3):
        return image
    lowest = augment.jpeg_quality
    quality = int(rng.integers(lowest, max(lowest, _BEST_JPEG) + 1))
    as_bgr = np.ascontiguousarray(image[:, :, ::-1])
    encoded = cv2.imencode(".jpg", as_bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)).reshape(image.shape)
    return np.ascontiguousarray(decoded[:, :, ::-1])


def _like(levels: Float[ndarray, "..."], image: Image) -> ndarray:
    """Return levels in the type of an image; uint8 is rounded and clipped."""
    if image.dtype == np.uint8:
        return np.clip(np.rint(levels), 0, LEVELS).astype(np.uint8)
    return levels.astype(image.dtype, copy=False)


TURNS = (
    Turn("flip_vertical", lambda _: np.flipud),
    Turn("rotate_90", lambda rng: partial(np.rot90, k=int(rng.integers(1, 4)))),
)
WARPS = (Warp("perspective", _perspective), Warp("elastic", _elastic))
CHANGES = (
    Change("gamma", _gamma),
    Change("grey", _grey, needs_rgb=True),
    Change("channel_drop", _drop_channel),
    Change("blur", _blur),
    Change("noise", _noise),
    Change("jpeg", _jpeg, needs_rgb=True),
)
"""In the order of a camera: colours, the lens, the sensor, the file."""
OPERATIONS = (
    "rotate",
    *(each.name for each in (*TURNS, *WARPS, *CHANGES)),
    "cutout",
)
"""Fields of `augment` with the share of crops that get each operation of one image."""
