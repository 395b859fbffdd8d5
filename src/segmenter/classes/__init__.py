"""The classes of a data set or model: their names, colours, and values in masks.

This is the form of `classes.yaml`, and of the classes inside a model file. A label map holds
class indices, 0 to K-1, and `Classes.ignore_index` where a pixel is not to be counted. Where there
is one class and a background, 0 is the background and 1 the class.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_serializer,
    model_validator,
)

from segmenter.classes.file import strict_content
from segmenter.errors import UserError
from segmenter.files.yaml import first_problem, read_yaml
from segmenter.image_spec import ImageSpec

Byte = Annotated[int, Field(ge=0, le=255, strict=True)]
Color = tuple[Byte, Byte, Byte]
MaskValue = Annotated[int, Field(ge=0, le=65535, strict=True)] | Color
"""Value of a mask file at one pixel: a grey value (8 or 16 bit), or an RGB triple."""

NoData = Annotated[int, Field(gt=-(1 << 31), lt=0, strict=True)]
"""A negative value, which no class can have: it can only be ignored."""

NO_DATA = -(1 << 31)
"""Stands in a decoded mask where the file has no number; always ignored."""

_NUM_GREY_VALUES = 1 << 16


class ClassInfo(BaseModel):
    """One class: its name, the colour it is drawn in, and the mask values that mean it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    color: Color
    values: Annotated[tuple[MaskValue, ...], Field(min_length=1)]
    """Several values merge into one class; the first is what `--ids source` writes back."""


class Classes(BaseModel):
    """The classes to tell apart, in the order of their indices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: Annotated[tuple[ClassInfo, ...], Field(min_length=1, max_length=65534)]
    ignore: tuple[MaskValue | NoData, ...] = (255,)
    """Mask values of pixels that are left out of training and scores; also negative ones."""
    background: tuple[MaskValue, ...] = ()
    """Mask values of all that is not the one class. Only with one class. It is not a class itself:
    it has no logit and no part in mean scores, and the image shows where it is."""
    image_bits: Annotated[int, Field(ge=8, le=16, strict=True)] | None = None
    """Bits a sample of those images that have more than 8; white is 2^image_bits - 1. None: found,
    by training once for all its images, so that they are in the model; else for each image."""
    image: ImageSpec | None = None
    """Bands, type and range of images that are not read as RGB of 8 bits. None: they are. Training
    measures the range."""

    @model_serializer(mode="wrap")
    def _leave_out_none(self, serialize: Callable[[Any], Any]) -> dict[str, Any]:
        fields = serialize(self)
        return {key: value for key, value in fields.items() if value is not None}

    @model_validator(mode="after")
    def _check(self) -> "Classes":
        if self.background and len(self.classes) > 1:
            raise ValueError(
                f"background is for one class, there are {len(self.classes)}; list the background "
                "as a class of its own"
            )
        names = [info.name for info in self.by_index]
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise ValueError(f"two classes have the name {min(repeated)!r}; names must differ")
        owner: dict[MaskValue, str] = {}
        for info in self.by_index:
            for value in info.values:
                if value in owner:
                    raise ValueError(
                        f"mask value {value} belongs to {owner[value]!r} and to {info.name!r}; "
                        "a value has one class"
                    )
                owner[value] = info.name
        both = [value for value in self.ignore if value in owner]
        if both and both != [255]:
            raise ValueError(
                f"mask value {both[0]} is both ignored and class {owner[both[0]]!r}; keep one"
            )
        kinds = {isinstance(value, tuple) for value in owner}
        if len(kinds) > 1:
            raise ValueError("mask values are grey values in some classes and RGB in others")
        return self

    @property
    def by_index(self) -> tuple[ClassInfo, ...]:
        """The class of each index of a label map: the classes, or background and class."""
        if not self.background:
            return self.classes
        return (
            ClassInfo(name="background", color=(0, 0, 0), values=self.background),
            *self.classes,
        )

    @property
    def background_index(self) -> int | None:
        """The label that is not a class; None if all are classes."""
        return 0 if self.background else None

    def present(self, labels: np.ndarray) -> list[int]:
        """Indices of the classes in a label map, rising; a background is none of them."""
        found = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(self))[: len(self)])
        return [index for index in found.tolist() if index != self.background_index]

    def with_image_bits(self, bits: int | None) -> "Classes":
        """Return the same classes, with these bits if they leave open how deep images are read."""
        if self.image_bits is not None or bits is None:
            return self
        return self.model_copy(update={"image_bits": bits})

    def with_image(self, image: ImageSpec | None) -> "Classes":
        """Return the same classes, with images of these bands, type and range."""
        return self.model_copy(update={"image": image})

    def __len__(self) -> int:
        """Return the number of indices in a label map, not counting what is ignored."""
        return len(self.classes) + bool(self.background)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the indices."""
        return tuple(info.name for info in self.by_index)

    @property
    def colors(self) -> np.ndarray:
        """Colours as uint8 (K, 3), in the order of the indices."""
        return np.array([info.color for info in self.by_index], dtype=np.uint8)

    @property
    def ignore_index(self) -> int:
        """The label of ignored pixels: 255, or 65535 where 255 is a class."""
        return 255 if len(self) <= 255 else 65535

    @property
    def label_dtype(self) -> type[np.unsignedinteger]:
        """The integer type of label maps: uint8, or uint16 for more than 255 classes."""
        return np.uint8 if len(self) <= 255 else np.uint16

    @property
    def is_rgb(self) -> bool:
        """True if mask files are read as colours instead of grey values."""
        return isinstance(self.classes[0].values[0], tuple)

    @property
    def source_values(self) -> tuple[MaskValue, ...]:
        """The mask value that stands for each class in the user's own files."""
        return tuple(info.values[0] for info in self.by_index)

    def grey_table(self) -> np.ndarray:
        """Table from grey mask value to label, int32 (65536,); -1 where no class has the value."""
        table = np.full(_NUM_GREY_VALUES, -1, dtype=np.int32)
        for value in self.ignore:
            if isinstance(value, int) and value >= 0:
                table[value] = self.ignore_index
        for index, info in enumerate(self.by_index):
            table[list(info.values)] = index
        return table

    def color_table(self) -> dict[int, int]:
        """Map from `red << 16 | green << 8 | blue` to label, for RGB masks."""
        table = {
            pack_rgb(value): self.ignore_index
            for value in self.ignore
            if not isinstance(value, int)
        }
        for index, info in enumerate(self.by_index):
            table |= {pack_rgb(value): index for value in info.values if not isinstance(value, int)}
        return table

    def to_yaml(self) -> str:
        """Return the text of a `classes.yaml` that reads back equal."""
        lines = [f"ignore: {_flow(self.ignore)}"]
        if self.background:
            lines.append(f"background: {_flow(self.background)}")
        if self.image_bits is not None:
            lines.append(f"image_bits: {self.image_bits}")
        if self.image is not None:
            lines.append(f"image: {_flow(self.image.model_dump(mode='json'))}")
        lines.append("classes:")
        for info in self.classes:
            lines.append(
                f"  - {{name: {_flow(info.name)}, color: {_flow(info.color)}, "
                f"values: {_flow(info.values)}}}"
            )
        return "\n".join(lines) + "\n"


def pack_rgb(color: Sequence[int]) -> int:
    """Return one integer for an RGB triple, red in the highest byte."""
    red, green, blue = color
    return red << 16 | green << 8 | blue


def read_classes(path: Path) -> Classes:
    """Read a `classes.yaml`.

    Raises:
        UserError: If the file is missing, no YAML, or does not describe classes.
    """
    content = read_yaml(path)
    try:
        return Classes.model_validate(strict_content(content))
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error, Classes)}") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _flow(value: object) -> str:
    """Return one YAML value on one line."""
    plain = (
        [list(item) if isinstance(item, tuple) else item for item in value]
        if isinstance(value, tuple)
        else value
    )
    return yaml.safe_dump(plain, default_flow_style=True, width=10**9).strip().removesuffix("\n...")
