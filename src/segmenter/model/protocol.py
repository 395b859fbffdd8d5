"""Evaluation protocols: how images are fed to a model and scored; published ones are a table.

The three code bases that published Segmenters score in three ways. Each difference is a field, so
that any of them can be changed alone; no code asks which code base a protocol comes from.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ValidationError, model_validator

from segmenter.errors import UserError
from segmenter.files.yaml import first_problem, nearest
from segmenter.numbers import RATIO, SCALE, SCALES, SIDE, STRICT, Finite

Side = Annotated[int, SIDE]
Ratio = Annotated[Finite, RATIO]
Scale = Annotated[Finite, SCALE]


PublishedName = Literal["segmenter", "segmenter-miou", "mmseg", "paddleseg"]
"""Protocols of published code bases."""
AbsentRule = Literal["skip", "one", "zero"]
"""IoU of a class that is in neither truth nor prediction of a whole data set.

`skip`: left out of the mean (the paper, MMSegmentation); `one`: 1 (PaddleSeg 2.9); `zero`: 0
(PaddleSeg 2.8).
"""


class ProtocolFields(BaseModel):
    """The part of a protocol that a recipe chooses: resize, windows, flip."""

    model_config = STRICT

    short_side: Side | None = None
    """Resize the image, keeping its shape, to this short side; None: its own size."""
    max_ratio: Ratio = 4.0
    """The long side is resized to at most this many times `short_side`."""
    window: Side | None = None
    """Side of the sliding window, in pixels of the resized image; None: the whole at once."""
    stride: Side | None = None
    """Distance of neighbouring windows; at most the window."""
    blend: Literal["none", "linear"] = "none"
    """How overlapping windows are merged: by the plain mean of their logits, as all published code
    does, or by a mean in which a window counts less towards its border, so that it fades out."""
    flip: bool = False
    """Average with the mirrored image."""

    @model_validator(mode="after")
    def _check(self) -> "ProtocolFields":
        if (self.window is None) != (self.stride is None):
            raise ValueError("window and stride go together: give both, or neither")
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ValueError(
                f"stride {self.stride} is larger than window {self.window}: pixels would be skipped"
            )
        return self


class Protocol(ProtocolFields):
    """How an image is fed to a model, and how its outputs become one label map and a score."""

    name: str = "plain"
    """Name of the protocol, for messages and JSON."""
    resize_dtype: Literal["uint8", "float32"] = "uint8"
    """Type of the pixels when the image is resized."""
    rounding: Literal["half-up", "half-even"] = "half-up"
    """How the sides of the resized image are rounded; `half-even` is Python's `round`."""
    small_image: Literal["as-is", "enlarge"] = "as-is"
    """An image with a side under the window: smaller windows, or its short side enlarged to one."""
    average: Literal["logits", "probabilities"] = "probabilities"
    """What is averaged over flips and scales; overlapping windows always average logits.
    Probabilities are averaged at the image's size."""
    scales: Annotated[tuple[Scale, ...], SCALES] = (1.0,)
    """Sizes to average over, relative to the others."""
    scales_of: Literal["photo", "resized"] = "photo"
    """What scales resize: the image, each time anew and averaged at its own size; or the resized
    image once more, unrounded, with logits averaged at the resized image's size."""
    absent_classes: AbsentRule = "skip"
    """IoU of absent classes; see `AbsentRule`."""


_SHORT_SIDE = 512
_RULES: dict[PublishedName, dict[str, Any]] = {
    # rstrudel/segmenter: segm/inference.py with the file's window and stride
    "segmenter": {"small_image": "enlarge"},
    # rstrudel/segmenter: segm/eval/miou.py, which made the published scores
    "segmenter-miou": {"small_image": "enlarge"},
    # MMSegmentation 0.x: configs/_base_/models/segmenter_vit-b16_mask.py
    "mmseg": {},
    # PaddleSeg 2.9: paddleseg/core/{val,infer}.py. It knows no largest ratio; 64 bounds memory.
    "paddleseg": {
        "max_ratio": 64.0,
        "resize_dtype": "float32",
        "rounding": "half-even",
        "average": "logits",
        "scales_of": "resized",
        "absent_classes": "one",
    },
}
_OVERLAP = {"segmenter-miou": 32, "mmseg": 32, "paddleseg": 0}
"""Overlap of neighbouring windows, in pixels, where the code base fixes it."""

PUBLISHED_PROTOCOLS = tuple(_RULES)
"""Names that `published_protocol` knows."""


def published_protocol(
    name: str,
    *,
    window: int | None,
    stride: int | None = None,
    short_side: int | None = _SHORT_SIDE,
    max_ratio: float = 4.0,
) -> Protocol:
    """Return the protocol of a published code base, for windows of a size.

    Args:
        name: One of `PUBLISHED_PROTOCOLS`.
        window: Side of the windows: that of the crops the model was trained on.
        stride: Used where the code base does not fix it; None: windows side by side.
        short_side: Of the resized image: ADE20K 512, Pascal Context 520, Cityscapes 1024.
        max_ratio: Used where the code base knows one: ADE20K 4, Pascal Context 8, Cityscapes 2.

    Raises:
        UserError: If there is no such protocol, or window and stride do not fit.
    """
    if name not in _RULES:
        raise UserError(
            f"no protocol {name!r}{nearest(name, PUBLISHED_PROTOCOLS)}; choose from "
            f"{', '.join(PUBLISHED_PROTOCOLS)}"
        )
    overlap = _OVERLAP.get(name)
    if window is not None and overlap is not None:
        stride = window - overlap if window > overlap else window
    fields = {
        "name": name,
        "short_side": short_side,
        "max_ratio": max_ratio,
        "window": window,
        "stride": stride or window,
        **_RULES[name],
    }
    try:
        return Protocol.model_validate(fields)
    except ValidationError as error:
        raise UserError(first_problem(error, Protocol)) from None
