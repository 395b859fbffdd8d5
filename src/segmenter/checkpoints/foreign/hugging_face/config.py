"""Read `config.json` and `preprocessor_config.json` beside weights; code that they name never runs.

Source: huggingface/transformers `models/eomt/configuration_eomt.py`,
`models/eomt_dinov3/configuration_eomt_dinov3.py`, `models/eomt/image_processing_eomt.py`.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segmenter.classes import Classes, ClassInfo
from segmenter.classes.colors import distinct_colors
from segmenter.data.published import set_of_count
from segmenter.errors import UserError
from segmenter.files.yaml import first_problem
from segmenter.model.architectures import IMAGENET
from segmenter.model.spec import Normalization

CONFIG_FILE = "config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
ARCHITECTURES = ("EomtForUniversalSegmentation", "EomtDinov3ForUniversalSegmentation")
"""Values of `architectures` that are read."""

_MAX_BYTES = 1 << 22  # of a file of settings
_PLACEHOLDER = "LABEL_"  # how transformers numbers classes without names
_Count = Annotated[int, Field(ge=1, le=1 << 20)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Rope(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    rope_theta: _Positive | None = None


class EomtConfig(BaseModel):
    """The fields of `config.json` that say what tensors do not, or have to agree with them."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model_type: Literal["eomt", "eomt_dinov3"]
    architectures: list[str] | None = None
    auto_map: dict[str, Any] | None = None
    hidden_size: _Count
    num_hidden_layers: _Count
    num_attention_heads: _Count
    patch_size: _Count
    image_size: _Count | tuple[_Count, _Count]
    num_blocks: _Count = 4
    num_queries: _Count = 200
    num_register_tokens: Annotated[int, Field(ge=0, le=64)] = 4
    num_upscale_blocks: _Count = 2
    layer_norm_eps: _Positive = 1e-6
    hidden_act: str = "gelu"
    use_gated_mlp: bool = False
    rope_theta: _Positive | None = None
    rope_parameters: _Rope | None = None
    id2label: dict[int, str] = {0: "LABEL_0", 1: "LABEL_1"}

    @property
    def sides(self) -> tuple[int, ...]:
        """Height and width of the images of training, or the side of square ones, in pixels."""
        return (self.image_size,) if isinstance(self.image_size, int) else self.image_size

    @property
    def window(self) -> int:
        """Side of the square image that the model takes, in pixels."""
        return min(self.sides)

    @property
    def rotary_temperature(self) -> float:
        """Base of the rotary frequencies."""
        nested = self.rope_parameters.rope_theta if self.rope_parameters else None
        return nested or self.rope_theta or 100.0

    def classes(self) -> Classes | None:
        """Return the classes that the file names; None if it only numbers them."""
        names = [self.id2label.get(index, "") for index in range(len(self.id2label))]
        if any(not name or name.startswith(_PLACEHOLDER) for name in names):
            return None
        known = set_of_count(len(names))
        if known is not None and list(known.classes().names) == names:
            return known.classes()
        colors = distinct_colors(len(names))
        try:
            return Classes(
                classes=tuple(
                    ClassInfo(name=name, color=tuple(color.tolist()), values=(index,))
                    for index, (name, color) in enumerate(zip(names, colors, strict=True))
                ),
                ignore=(255,) if len(names) <= 255 else (),
            )
        except ValidationError:  # such as two of one name
            return None


class _Preprocessor(BaseModel):
    model_config = ConfigDict(extra="ignore")

    image_mean: tuple[float, ...] | None = None
    image_std: tuple[float, ...] | None = None
    do_normalize: bool = True
    do_rescale: bool = True
    rescale_factor: float = 1 / 255


def read_config(weights: Path) -> EomtConfig:
    """Read the `config.json` in the folder of a file of weights.

    Raises:
        UserError: If it is missing or damaged, names another architecture, or code of its own.
    """
    path = weights.parent / CONFIG_FILE
    if not path.is_file():
        raise UserError(
            f"{weights} is an EoMT of Hugging Face, and there is no {CONFIG_FILE} beside it; give "
            "the whole folder, or hf:owner/name"
        )
    content = read_json(path)
    if content.get("auto_map"):
        raise UserError(
            f"{path} names code of its own (auto_map), which is never run; give a model of "
            f"{' or '.join(ARCHITECTURES)}"
        )
    try:
        config = EomtConfig.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error, EomtConfig)}") from None
    unknown = [name for name in config.architectures or () if name not in ARCHITECTURES]
    if unknown:
        raise UserError(f"{path} is of {unknown[0][:100]!r}; supported: {', '.join(ARCHITECTURES)}")
    return config


def read_normalization(weights: Path) -> Normalization:
    """Mean and std of the `preprocessor_config.json` beside weights, else ImageNet's.

    Raises:
        UserError: If the file is damaged, or pixels are scaled in a way that has no such form.
    """
    path = weights.parent / PREPROCESSOR_FILE
    if not path.is_file():
        return IMAGENET
    try:
        found = _Preprocessor.model_validate(read_json(path))
        if not (found.do_normalize and found.do_rescale):
            raise UserError(f"{path}: do_normalize and do_rescale have to be true")
        if found.image_mean is None or found.image_std is None:
            return IMAGENET
        fields = {
            "mean": tuple(value / found.rescale_factor for value in found.image_mean),
            "std": tuple(value / found.rescale_factor for value in found.image_std),
        }
        return Normalization.model_validate(fields)
    except ZeroDivisionError:
        raise UserError(f"{path}: rescale_factor is 0") from None
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error, Normalization)}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read an object of JSON.

    Raises:
        UserError: If the file holds none, or is larger than settings are.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise UserError(f"{path} is larger than {_MAX_BYTES >> 20} MiB, the limit of a config")
        content = json.loads(data)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path} is damaged: not JSON") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: a {type(content).__name__} in place of settings")
    return content
