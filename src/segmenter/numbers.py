"""The numbers that a recipe, a model file or an exported file may hold: their kinds and ranges.

In a recipe numbers are taken as they are written; text, truth or a fraction is refused. Every range
stands in this one table and is checked where the number is read. Its ends lie beyond all that was
published and below what would only take time and memory.
"""

from typing import Annotated, Literal

from annotated_types import Interval, Len, MultipleOf
from pydantic import AllowInfNan, BeforeValidator, ConfigDict, Strict


def _refuse_all_but_whole(value: object) -> object:
    if type(value) is not int:
        raise ValueError(f"must be a whole number, in plain digits, got {value!r}")
    return value


Whole = Annotated[int, Strict()]
"""A whole number: 2, but neither 2.0, "2" nor true."""
Real = Annotated[float, Strict(), AllowInfNan(False)]
"""A finite number, whole or not; neither text nor true."""
Finite = Annotated[float, AllowInfNan(False)]
"""A number of a model file, which NumPy may have made."""
OnlyWhole = BeforeValidator(_refuse_all_but_whole)
"""For choices among numbers, where pydantic takes true and 1.0 for 1."""

HEAD_DIM = 64
"""Channels of an attention head, in decoders and in most encoders."""

WIDTH = Interval(ge=HEAD_DIM, le=8192)
"""Channels of a token, in heads: `IN_HEADS`."""
IN_HEADS = MultipleOf(HEAD_DIM)
HEADS = Interval(ge=1, le=8192 // HEAD_DIM)
BLOCKS = Interval(ge=1, le=200)
FROZEN_BLOCKS = Interval(ge=0, le=200)
PATCH_SIZE = Interval(ge=1, le=128)
CHANNELS = Interval(ge=1, le=1024)
"""Channels of an image."""
GRID_SIDE = Interval(ge=1, le=1024)
"""Rows or columns of positions."""
TABLE_OFFSET = Interval(ge=0, lt=1)
"""Offset of a position table, in patches."""
PREFIX_TOKENS = Interval(ge=0, le=64)
QUERIES = Interval(ge=1, le=4096)
MLP_RATIO = Interval(gt=0, le=64)
EPSILON = Interval(ge=1e-12, le=0.1)
"""Epsilon of a layer norm."""
ROTARY_TEMPERATURE = Interval(gt=1, le=1e9)
MEAN = Interval(ge=-1e6, le=1e6)
"""Mean of a channel, on the scale 0 to 255."""
STD = Interval(ge=1e-3, le=1e6)

PIXEL_VALUE = Interval(ge=-1e30, le=1e30)
"""Value in an image of floats."""

MAX_SIDE = 16384
SIDE = Interval(ge=1, le=MAX_SIDE)
"""Side of a resized image or a window, in pixels."""
CROP_SIDE = Interval(ge=1, le=8192)
RATIO = Interval(ge=1, le=1024)
"""Ratio of the long side to the short one."""
SCALE = Interval(ge=0.01, le=16)
SCALES = Len(1, 64)
"""Number of scales that are averaged over."""
AUGMENT_SCALE = Interval(ge=0.01, le=64)
DEGREES = Interval(gt=0, le=180)
CORNER_SHIFT = Interval(gt=0, le=0.3)
"""Shift of a corner, as a share of the sides; from 1/3 on, four corners may bend inward."""
NODE_SHIFT = Interval(gt=0, lt=8)
"""Shift of a node of a grid, in pixels; from 8, a quarter of their distance, the image may fold."""
SIGMA = Interval(gt=0, le=64)
"""Standard deviation of a blur, in pixels."""
LEVEL_STD = Interval(gt=0, le=255)
"""Standard deviation of noise, on the scale 0 to 255."""
JPEG_QUALITY = Interval(ge=1, le=100)
GAMMA_LIMIT = Interval(gt=1, le=10)

SHARE = Interval(ge=0, le=1)
INNER_SHARE = Interval(gt=0, lt=1)
"""A share that is neither nothing nor all."""
SOME_SHARE = Interval(gt=0, le=1)
RATE = Interval(ge=0, lt=1)
LEARNING_RATE = Interval(gt=0, le=1000)
FINAL_RATE = Interval(ge=0, le=1000)
WEIGHT_DECAY = Interval(ge=0, le=1000)
FACTOR = Interval(gt=0, le=1e6)
NORM = Interval(gt=0, le=1e9)
"""Norm of all gradients together."""
POWER = Interval(gt=0, le=100)
STEPS = Interval(ge=1, le=10**9)
WARMUP_STEPS = Interval(ge=0, le=10**9)
CROPS = Interval(ge=1, le=65536)
"""Crops in one batch."""
SEED = Interval(ge=0, lt=2**32)
WORKERS = Interval(ge=0, le=256)
WEIGHT = Interval(ge=0, le=1e6)
"""Weight of a term of the loss, or of a class in it."""
SOME_WEIGHT = Interval(gt=0, le=1e6)
TEMPERATURE = Interval(ge=1e-3, le=1e3)
FOCAL_GAMMA = Interval(ge=0, le=10)
PIXELS = Interval(ge=1, le=2**31)
"""Pixels of a batch."""
POINTS = Interval(ge=1, le=2**20)
"""Points of a mask."""
OVERSAMPLING = Interval(ge=1, le=100)

Blocks = Annotated[Whole, BLOCKS]
Epsilon = Annotated[Real, EPSILON]
HeadDim = Annotated[Literal[64, 72, 128], OnlyWhole]
"""Channels of an encoder's attention heads: 72 in TIPSv2's So400m, 128 in DINOv3's 7B."""
MlpRatio = Annotated[Real, MLP_RATIO]
Side = Annotated[Whole, SIDE]
Steps = Annotated[Whole, STEPS]
Rate = Annotated[Real, RATE]
Ratio = Annotated[Real, RATIO]
Share = Annotated[Real, SHARE]
Weight = Annotated[Real, WEIGHT]
Width = Annotated[Whole, WIDTH, IN_HEADS]

STRICT = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
"""For classes of settings: an unknown key is refused, and what was read does not change."""
