"""Images that are not RGB of 8 bits: their channels, the type of their values, and their range."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from annotated_types import Len
from jaxtyping import Float32, Shaped, UInt8
from numpy import ndarray
from pydantic import BaseModel, model_validator

from segmenter.errors import UserError
from segmenter.numbers import PIXEL_VALUE, STRICT, Finite, Interval, Whole

MAX_BANDS = 256
"""Most bands of an image file."""

_OPENCV_CHANNELS = 128
"""Most channels of an image of OpenCV 5; version 4 takes 512."""

SampleType = Literal["uint8", "uint16", "float32"]
"""Type of the values of an image in memory. Files of other types are read as float32."""

LEVELS = 255.0
"""`stretch` maps `low` to 0 and `high` to this number, the white of images of 8 bits."""
LOWEST_LEVEL, HIGHEST_LEVEL = -LEVELS, 2 * LEVELS
"""Values more than one range below `low` or above `high` are clipped to these levels."""

LOW_PERCENTILE, HIGH_PERCENTILE = 1.0, 99.0
"""Percentiles of the training images that become `low` and `high`."""

Band = Annotated[Whole, Interval(ge=1, le=MAX_BANDS)]
Bands = Annotated[tuple[Band, ...], Len(1, MAX_BANDS)]
Limits = Annotated[tuple[Annotated[Finite, PIXEL_VALUE], ...], Len(1, MAX_BANDS)]


def sample_type(dtype: np.dtype) -> SampleType:
    """Return the type in which values are kept: signed numbers and all floats become float32."""
    if dtype.kind == "b" or (dtype.kind == "u" and dtype.itemsize == 1):
        return "uint8"
    return "uint16" if dtype.kind == "u" and dtype.itemsize == 2 else "float32"


class ImageType(NamedTuple):
    """Bands of an image file, and the type of their values."""

    bands: int
    dtype: SampleType

    def __str__(self) -> str:
        """Return both in words, such as `4 bands of uint16`."""
        return f"{self.bands} band{'s' * (self.bands != 1)} of {self.dtype}"


class ImageSpec(BaseModel):
    """Image files of any number of bands and any type, and the values that a model sees of them.

    The model sees `bands` in their order. Each value becomes
    `clip(255 * (value - low) / (high - low), -255, 510)`, with one `low` and `high` per channel,
    before mean and standard deviation are applied on the scale 0 to 255.
    """

    model_config = STRICT

    file_bands: Band
    """Bands of each image file."""
    dtype: SampleType
    """Type of the values."""
    bands: Bands
    """Bands that the model sees, counted from 1 as GDAL does, in this order."""
    low: Limits
    """Per channel: the value that becomes 0."""
    high: Limits
    """Per channel: the value that becomes 255."""

    @model_validator(mode="after")
    def _check(self) -> "ImageSpec":
        if max(self.bands) > self.file_bands:
            raise ValueError(
                f"bands has {max(self.bands)}, but the images have {self.file_bands} bands"
            )
        if not len(self.bands) == len(self.low) == len(self.high):
            raise ValueError(
                f"bands, low and high have {len(self.bands)}, {len(self.low)} and "
                f"{len(self.high)} entries; each has one per channel"
            )
        if any(low >= high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("low must be below high in every channel")
        return self

    @property
    def channels(self) -> int:
        """Number of channels that the model sees."""
        return len(self.bands)

    @property
    def file_type(self) -> ImageType:
        """Bands and type that an image file must have."""
        return ImageType(self.file_bands, self.dtype)

    @property
    def shown(self) -> tuple[int, int, int]:
        """Channels drawn as red, green and blue, from 0: the first three, or one of them thrice."""
        return (0, 1, 2) if self.channels >= 3 else (0, 0, 0)

    def with_range(self, low: Any, high: Any) -> "ImageSpec":
        """Return the same images with these limits per channel; an empty range becomes 1 wide."""
        lows = [float(each) for each in low]
        pairs = zip(lows, high, strict=True)
        highs = [float(most) if most > least else least + 1 for least, most in pairs]
        return self.model_copy(update={"low": tuple(lows), "high": tuple(highs)})

    def choose(self, pixels: Shaped[ndarray, "height width bands"]) -> ndarray:
        """Return the channels that the model sees, of all bands of a file."""
        if self.bands == tuple(range(1, pixels.shape[2] + 1)):
            return pixels
        return np.ascontiguousarray(pixels[:, :, [band - 1 for band in self.bands]])

    def stretch(
        self, pixels: Shaped[ndarray, "*height width channels"]
    ) -> Float32[ndarray, "*height width channels"]:
        """Return levels: 0 where a value is `low`, 255 where it is `high`; channels come last."""
        low, gain = self.scale()
        levels = (pixels.astype(np.float32) - low) * gain
        return np.clip(levels, LOWEST_LEVEL, HIGHEST_LEVEL, out=levels)

    def unstretch(
        self, levels: Shaped[ndarray, "*height width channels"]
    ) -> Float32[ndarray, "*height width channels"]:
        """Return the values of levels: the inverse of `stretch`."""
        low, gain = self.scale()
        return levels.astype(np.float32) / gain + low

    def scale(self) -> tuple[Float32[ndarray, " channels"], Float32[ndarray, " channels"]]:
        """Return `low`, and the levels per unit, of each channel."""
        low = np.array(self.low, np.float64)
        gain = LEVELS / (np.array(self.high, np.float64) - low)
        return low.astype(np.float32), gain.astype(np.float32)

    def show(
        self, pixels: Shaped[ndarray, "height width channels"]
    ) -> UInt8[ndarray, "height width 3"]:
        """Return a picture of three channels, stretched from `low` (black) to `high` (white)."""
        low, gain = self.scale()
        channels = list(self.shown)
        chosen = np.ascontiguousarray(pixels[:, :, channels], dtype=np.float32)
        levels = (chosen - low[channels]) * gain[channels]
        return np.clip(np.rint(levels), 0, LEVELS).astype(np.uint8)

    def __str__(self) -> str:
        """Return what a model wants, in words."""
        if self.bands == tuple(range(1, self.file_bands + 1)):
            return str(self.file_type)
        several = "s" * (self.channels > 1)
        return f"band{several} {', '.join(map(str, self.bands))} of images with {self.file_type}"


def choose_bands(given: tuple[int, ...] | Literal["all"] | None, found: ImageType) -> ImageSpec:
    """Return the spec of images, with the full range of their type as limits.

    Args:
        given: Bands to use, from 1; None or `all`: every band.
        found: What the files hold.

    Raises:
        UserError: If the files have no such band.
    """
    bands = tuple(range(1, found.bands + 1)) if given in (None, "all") else tuple(given or ())
    wrong = next((band for band in bands if not 1 <= band <= found.bands), None)
    if wrong is not None or not 1 <= len(bands) <= MAX_BANDS:
        what = f"band {wrong}" if wrong is not None else f"{len(bands)} entries"
        raise UserError(
            f"bands has {what}, but the images have {found}; list bands from 1, or use all"
        )
    most = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}[found.dtype]
    return ImageSpec(
        file_bands=found.bands,
        dtype=found.dtype,
        bands=bands,
        low=(0.0,) * len(bands),
        high=(most,) * len(bands),
    )


def shown_pixels(
    pixels: Shaped[ndarray, "height width channels"], image: ImageSpec | None
) -> UInt8[ndarray, "height width 3"]:
    """Return the picture of an image: itself if it is RGB of 8 bits, else three channels of it."""
    return pixels if image is None else image.show(pixels)


def by_opencv(
    change: Callable[[ndarray], Any], pixels: Shaped[ndarray, "height width channels"]
) -> Shaped[ndarray, "new_height new_width channels"]:
    """Apply a function of OpenCV to an image of any number of channels, a group at a time.

    Args:
        change: Treats all channels alike, and may drop the axis of a single one.
        pixels: The image.
    """
    channels = pixels.shape[2]
    groups = [pixels]
    if channels > _OPENCV_CHANNELS:
        firsts = range(0, channels, _OPENCV_CHANNELS)
        groups = [pixels[:, :, first : first + _OPENCV_CHANNELS] for first in firsts]
    parts = [np.atleast_3d(np.asarray(change(group))) for group in groups]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
