"""The section `augment` of a recipe: how a training image becomes a crop."""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from segmenter import numbers
from segmenter.numbers import STRICT, Ratio, Real, Share, Side, Whole

Scale = Annotated[Real, numbers.AUGMENT_SCALE]
ColorJitter = Literal["none", "paddleseg", "segmenter"]
PresetName = Literal["street", "aerial", "microscopy", "documents"]
_ANY_TURN = {"flip": 0.5, "flip_vertical": 0.5, "rotate_90": 0.75, "rotate": 0.25}
PRESETS: dict[PresetName, dict[str, float]] = {
    "street": {"flip": 0.5, "gamma": 0.2, "blur": 0.1, "noise": 0.1, "jpeg": 0.1},
    "aerial": {**_ANY_TURN, "rotate_degrees": 45.0, "gamma": 0.2, "blur": 0.1, "noise": 0.1},
    "microscopy": {**_ANY_TURN, "rotate_degrees": 45.0, "gamma": 0.3, "blur": 0.2, "noise": 0.2},
    "documents": {
        "flip": 0.0,
        "rotate": 0.3,
        "rotate_degrees": 3.0,
        "gamma": 0.2,
        "grey": 0.2,
        "blur": 0.2,
        "noise": 0.2,
        "jpeg": 0.3,
        "jpeg_quality": 30,
    },
}
"""Fields of each preset; the others of `PRESET_FIELDS` get their defaults."""
PRESET_FIELDS = (
    "flip",
    "flip_vertical",
    "rotate_90",
    "rotate",
    "rotate_degrees",
    "perspective",
    "perspective_shift",
    "elastic",
    "elastic_shift",
    "gamma",
    "gamma_limit",
    "grey",
    "channel_drop",
    "blur",
    "blur_sigma",
    "noise",
    "noise_std",
    "jpeg",
    "jpeg_quality",
    "cutout",
    "cutout_size",
    "mix",
    "mix_area",
    "paste",
)
"""Fields that a preset sets."""


class AugmentRecipe(BaseModel):
    """Augmentation: how a training image becomes a crop; see `data/transforms.py`."""

    model_config = STRICT

    crop_size: Annotated[Whole, numbers.CROP_SIDE]
    """Side of the square crop, in pixels."""
    scale: tuple[Scale, Scale] = (0.5, 2.0)
    """Smallest and largest factor by which an image is resized before it is cropped."""
    scale_draw: Literal["uniform", "log-uniform", "quarters"] = "uniform"
    """Distribution of the factor; `quarters`: one of the multiples of 0.25 in the range."""
    scale_base: Side | None = None
    """Short side at factor 1, in pixels, as far as `max_ratio` allows. None: the image's own."""
    max_ratio: Ratio = 4.0
    """The long side is resized to at most this many times `scale_base`, times the factor."""
    flip: Share = 0.5
    """Share of crops that are mirrored left to right."""
    max_class_share: Share = 1.0
    """Draw the crop again, up to 10 times in all, while it has no labels or one class has more than
    this share of them. 1: take the first."""
    rare_class_crops: Share = 0.0
    """Share of crops placed on a pixel of a rare class: its class is drawn evenly from those with
    less than `rare_class_below` of the training pixels."""
    rare_class_below: Share = 0.02
    """Pixel share under which a class counts as rare."""
    color: ColorJitter = "segmenter"
    """Colour jitter: that of PaddleSeg's recipes, or of the paper's."""
    pad_value: Literal["grey", "mean"] = "mean"
    """Fill of a crop that reaches past the image: 127.5, or the mean (0 after normalising)."""
    flip_vertical: Share = 0.0
    """Share of crops that are mirrored top to bottom."""
    rotate_90: Share = 0.0
    """Share of crops that are turned by 90, 180 or 270 degrees, drawn evenly. 0.75: each of the
    four orientations is equally frequent."""
    rotate: Share = 0.0
    """Share of crops that are turned about their centre by any angle up to `rotate_degrees`. What
    lies outside the image is ignored."""
    rotate_degrees: Annotated[Real, numbers.DEGREES] = 15.0
    """Largest angle of `rotate` to either side, in degrees."""
    perspective: Share = 0.0
    """Share of crops seen at an angle: a quadrilateral inside the crop is stretched to its size."""
    perspective_shift: Annotated[Real, numbers.CORNER_SHIFT] = 0.15
    """Largest distance of a corner of the quadrilateral from that of the crop, as a share of the
    crop's sides."""
    elastic: Share = 0.0
    """Share of crops that are deformed: the nodes of a grid, 32 pixels apart, are shifted at
    random, and pixels between them in proportion."""
    elastic_shift: Annotated[Real, numbers.NODE_SHIFT] = 5.0
    """Largest shift of a node of `elastic` along each axis, in pixels of the crop."""
    gamma: Share = 0.0
    """Share of crops whose levels, as a share of their range, are raised to a random power."""
    gamma_limit: Annotated[Real, numbers.GAMMA_LIMIT] = 1.5
    """Largest power of `gamma`; the smallest is 1 divided by it, and the draw is log-uniform."""
    grey: Share = 0.0
    """Share of crops without colour. RGB images of 8 bits only."""
    channel_drop: Share = 0.0
    """Share of crops in which one channel is filled as by `pad_value`, if there are several."""
    blur: Share = 0.0
    """Share of crops that are blurred by a Gaussian."""
    blur_sigma: Annotated[Real, numbers.SIGMA] = 1.5
    """Largest standard deviation of `blur`, in pixels of the crop."""
    noise: Share = 0.0
    """Share of crops to which Gaussian noise is added, each pixel and channel on its own."""
    noise_std: Annotated[Real, numbers.LEVEL_STD] = 10.0
    """Largest standard deviation of `noise`, on the scale 0 to 255."""
    jpeg: Share = 0.0
    """Share of crops with the artefacts of JPEG. Images of 8 bits with 1 or 3 channels only."""
    jpeg_quality: Annotated[Whole, numbers.JPEG_QUALITY] = 50
    """Lowest quality of `jpeg`; the highest is 95."""
    cutout: Share = 0.0
    """Share of crops in which a square is filled as by `pad_value`, and its labels are ignored."""
    cutout_size: Annotated[Real, numbers.SOME_SHARE] = 0.3
    """Largest side of the square of `cutout`, as a share of the crop's shorter side."""
    mix: Share = 0.0
    """Share of crops in which a rectangle, and its labels, come from a crop of another image
    (CutMix)."""
    mix_area: Annotated[Real, numbers.SOME_SHARE] = 0.5
    """Largest rectangle of `mix`, as a share of the crop's area."""
    paste: Share = 0.0
    """Share of crops onto which all regions of a rare class are pasted from a crop of another
    image (copy-paste). The class is drawn evenly from those with less than `rare_class_below` of
    the training pixels."""
    custom: Annotated[str, Field(pattern=r"^[\w.]+:\w+$", max_length=200)] | None = None
    """Import path of a function of your own that changes every crop last, before `mix`:
    `package.module:function`. It is code that runs on this machine, so a recipe file alone does not
    start it: name it when you start the run, too."""
    preset: Annotated[PresetName | None, Field(exclude=True)] = None
    """Set `flip` and all fields from `flip_vertical` to `paste` to those of a named set; fields
    given beside it win. The recipe in the folder of a run has the fields."""

    @model_validator(mode="before")
    @classmethod
    def _take_preset(cls, content: Any) -> Any:
        return with_preset(content)

    @model_validator(mode="after")
    def _check(self) -> "AugmentRecipe":
        low, high = self.scale
        if low > high:
            raise ValueError(f"scale is (smallest, largest), got ({low}, {high})")
        if self.scale_draw == "quarters" and math.ceil(low * 4) > math.floor(high * 4):
            raise ValueError(
                f"scale_draw 'quarters' needs a multiple of 0.25 in scale, got ({low}, {high})"
            )
        return self


def with_preset(content: Any) -> Any:
    """Return the section `augment` with the fields of its preset, if it names one.

    Fields given beside the preset win. An unknown name stays, for the check of the section.
    """
    name = content.get("preset") if isinstance(content, dict) else None
    if not isinstance(name, str) or name not in PRESETS:
        return content
    defaults = {field: AugmentRecipe.model_fields[field].default for field in PRESET_FIELDS}
    given = {key: value for key, value in content.items() if key != "preset"}
    return defaults | PRESETS[name] | given
