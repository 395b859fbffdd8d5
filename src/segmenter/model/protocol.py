"""Evaluation protocols: how images are fed to a model and scored; published ones are a table.

The three code bases that published Segmenters score in three ways. Each difference is a field, so
that any of them can be changed alone; no code asks which code base a protocol comes from.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from segmenter.errors import UserError
from segmenter.files.yaml import first_problem, nearest
from segmenter.numbers import RATIO, SCALE, SCALES, SIDE, STRICT, Finite, OnlyWhole

Side = Annotated[int, SIDE]
Ratio = Annotated[Finite, RATIO]
Scale = Annotated[Finite, SCALE]


PublishedName = Literal["segmenter", "segmenter-miou", "mmseg", "paddleseg", "eomt"]
"""Protocols of published code bases."""
AbsentRule = Literal["skip", "one", "zero"]
"""IoU of absent classes; see `EvaluationProtocol.absent_classes`."""
SymmetryName = Literal["none", "mirror", "flips", "d4"]
SYMMETRIES: dict[SymmetryName, dict[str, Any]] = {
    "none": {"flip": False, "rotations": 1},
    "mirror": {"flip": True, "rotations": 1},
    "flips": {"flip": True, "rotations": 2},
    "d4": {"flip": True, "rotations": 4},
}
"""Fields of each symmetry: a group of flips and turns, whose results are averaged. `flips` has the
flips of both axes (4 views), `d4` all symmetries of a square (8 views)."""


class ProtocolFields(BaseModel):
    """The part of a protocol that a recipe chooses: resize, windows, flips and turns."""

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
    """Mean of the logits of overlapping windows: the plain mean, as in all published code, or one
    in which a window counts less towards its border, so that it fades out."""
    flip: bool = False
    """Average with the mirrored image."""
    rotations: Annotated[
        Literal[1, 2, 4], OnlyWhole, Field(exclude_if=lambda rotations: rotations == 1)
    ] = 1
    """Average over turned images: 2, also by 180 degrees; 4, also by 90, 180 and 270 degrees; with
    `flip`, over the mirror image of each."""
    symmetry: Annotated[SymmetryName | None, Field(exclude=True)] = None
    """Set `flip` and `rotations` to those of a symmetry: none, mirror, flips (of both axes), or d4
    (flips and quarter turns). Only the two fields are kept, so that there is one answer."""

    @model_validator(mode="before")
    @classmethod
    def _take_symmetry(cls, content: Any) -> Any:
        return with_symmetry(content)

    @property
    def num_orientations(self) -> int:
        """Number of flipped and turned images that are averaged at each scale."""
        return (1 + self.flip) * self.rotations

    @model_validator(mode="after")
    def _check(self) -> "ProtocolFields":
        if (self.window is None) != (self.stride is None):
            raise ValueError("window and stride go together: give both, or neither")
        if self.window is not None and self.stride is not None and self.stride > self.window:
            raise ValueError(
                f"stride {self.stride} is larger than window {self.window}: pixels would be skipped"
            )
        return self


class EvaluationProtocol(ProtocolFields):
    """Rules of inference and scoring: resizing, windows, averaging and absent classes.

    Example:
        model = segmenter.load("street")
        protocol = model.spec.protocol.model_copy(update={"window": 560, "stride": 420})
        segmenter.Predictor(model, protocol=protocol)
    """

    name: str = "plain"
    """Name of the protocol, for messages and JSON."""
    resize_dtype: Literal["uint8", "float32"] = "uint8"
    """Type of the pixels when the image is resized."""
    rounding: Literal["half-up", "half-even"] = "half-up"
    """Rounding of the sides of the resized image; `half-even` is Python's `round`."""
    small_image: Literal["as-is", "enlarge"] = "as-is"
    """Treatment of an image with a side below the window: smaller windows, or an enlarged short
    side."""
    average: Literal["logits", "probabilities"] = "probabilities"
    """Quantity to average over flips, turns and scales; see `window_average` for overlapping
    windows. Probabilities are averaged at the image's size."""
    scales: Annotated[tuple[Scale, ...], SCALES] = (1.0,)
    """Sizes to average over, relative to the resized image."""
    scales_of: Literal["photo", "resized"] = "photo"
    """Input of the scales: the image, each time anew and averaged at its own size; or the resized
    image once more, unrounded, with logits averaged at the resized image's size."""
    resize_filter: Literal["bilinear", "antialias"] = "bilinear"
    """Weights of the resize: OpenCV's bilinear ones, or Pillow's, which smooth what shrinks."""
    spacing: Literal["stride", "even"] = "stride"
    """Windows are `stride` apart, the last one moved back inside the image; or as many windows are
    evenly spread over the side (EoMT)."""
    window_average: Literal["logits", "scores"] = "logits"
    """Quantity to average over windows and to resize to the image. `scores` are the exponentials of
    logits, for decoders whose logits are logarithms of scores (EoMT)."""
    absent_classes: AbsentRule = "skip"
    """IoU of a class in neither truth nor prediction of a whole data set: `skip`, left out of the
    mean (the paper, MMSegmentation); `one`, 1 (PaddleSeg 2.9); `zero`, 0 (PaddleSeg 2.8, EoMT)."""

    def model_copy(
        self, *, update: Mapping[str, Any] | None = None, deep: bool = False
    ) -> "EvaluationProtocol":
        """Return a copy with other values; `symmetry` sets `flip` and `rotations`, as elsewhere.

        Raises:
            UserError: If the symmetry is unknown, or a field given beside it contradicts it.
        """
        if update and update.get("symmetry") is not None:
            update = _with_known_symmetry(dict(update))
        return super().model_copy(update=update, deep=deep)


def with_symmetry(content: Any) -> Any:
    """Return the fields of a protocol with those of its symmetry, if it names one.

    An unknown name stays, for the check of the fields.

    Raises:
        ValueError: If a field given beside the symmetry contradicts it.
    """
    name = content.get("symmetry") if isinstance(content, dict) else None
    if not isinstance(name, str) or name not in SYMMETRIES:
        return content
    given = {key: value for key, value in content.items() if key != "symmetry"}
    for field, value in SYMMETRIES[name].items():
        if given.get(field, value) != value:
            raise ValueError(
                f"symmetry {name} means {field} {str(value).lower()}, got "
                f"{str(given[field]).lower()}; give one of them"
            )
    return given | SYMMETRIES[name]


def _with_known_symmetry(update: dict[str, Any]) -> dict[str, Any]:
    """Return changes with the fields of their symmetry."""
    name = update["symmetry"]
    if not isinstance(name, str) or name not in SYMMETRIES:
        raise UserError(
            f"no symmetry {name!r}{nearest(str(name), tuple(SYMMETRIES))}; choose from "
            f"{', '.join(SYMMETRIES)}"
        )
    try:
        return with_symmetry(update)
    except ValueError as error:
        raise UserError(str(error)) from None


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
    # tue-mps/eomt: training/lightning_module.py. It knows no largest ratio either.
    "eomt": {
        "max_ratio": 64.0,
        "rounding": "half-even",
        "resize_filter": "antialias",
        "spacing": "even",
        "window_average": "scores",
        "average": "logits",
        "scales_of": "resized",
        "absent_classes": "zero",  # as MulticlassJaccardIndex of torchmetrics
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
) -> EvaluationProtocol:
    """Return the protocol of a published code base, for windows of a size.

    Args:
        name: One of `PUBLISHED_PROTOCOLS`.
        window: Side of the windows: that of the crops the model was trained on.
        stride: Used where the code base does not fix it; None: windows side by side.
        short_side: Short side of the image: ADE20K 512, Pascal Context 520, Cityscapes 1024.
        max_ratio: Used where the code base knows one: ADE20K 4, Pascal Context 8, Cityscapes 2.

    Raises:
        UserError: If the protocol does not exist, or window and stride do not fit.
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
        return EvaluationProtocol.model_validate(fields)
    except ValidationError as error:
        raise UserError(first_problem(error, EvaluationProtocol)) from None
