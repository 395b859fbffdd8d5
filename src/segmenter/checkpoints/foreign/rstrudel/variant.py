"""`variant.yml`, which lies beside a checkpoint of the paper's own code (rstrudel/segmenter)."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from segmenter.data.published import SETS
from segmenter.errors import UserError
from segmenter.files.yaml import StrictLoader, first_problem, read_yaml
from segmenter.model.protocol import Side
from segmenter.model.spec import Rate
from segmenter.numbers import HEADS

VARIANT_NAME = "variant.yml"
DATA_SETS = {each.rstrudel.name: each for each in SETS.values() if each.rstrudel}
"""The data sets that the paper's code has, by its names for them."""

_Normalization = Literal["vit", "deit"]


class Variant(BaseModel):
    """Facts of `variant.yml` that the weights do not hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    normalization: _Normalization
    window: Side
    stride: Side
    data_set: str | None = None
    image_size: tuple[Side, Side] | None = None
    num_heads: Annotated[int, HEADS] | None = None
    drop_path: Rate = 0.1
    decoder_drop_path: Rate = 0.0
    dropout: Rate = 0.1


def read_variant(path: Path) -> Variant:
    """Read a `variant.yml`, whose `!!python/tuple` are the only tags of Python that are known.

    Raises:
        UserError: If it is missing, damaged, or asks for anything else of Python.
    """
    content = read_yaml(path, loader=VariantLoader)
    try:
        given = _VariantFile.model_validate(content)
        net, decoder = given.net_kwargs, given.net_kwargs.decoder
        normalization = given.dataset_kwargs.normalization or net.normalization
        if normalization is None:
            raise UserError(f"{path} lacks dataset_kwargs.normalization; set it to vit or deit")
        return Variant(
            normalization=normalization,
            window=given.inference_kwargs.window_size,
            stride=given.inference_kwargs.window_stride,
            data_set=given.dataset_kwargs.dataset,
            image_size=net.image_size,
            num_heads=net.n_heads,
            drop_path=net.drop_path_rate,
            decoder_drop_path=decoder.drop_path_rate,
            dropout=decoder.dropout,
        )
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error, _VariantFile)}") from None


class VariantLoader(StrictLoader):
    """The safe loader, taught one tag more."""


def _construct_tuple(loader: Any, node: Any) -> tuple:
    return tuple(loader.construct_sequence(node))


VariantLoader.add_constructor("tag:yaml.org,2002:python/tuple", _construct_tuple)

_LOOSE = ConfigDict(frozen=True, extra="ignore")


class _Decoder(BaseModel):
    model_config = _LOOSE

    drop_path_rate: Rate = 0.0
    dropout: Rate = 0.0


class _Net(BaseModel):
    model_config = _LOOSE

    normalization: _Normalization | None = None
    image_size: tuple[Side, Side]
    n_heads: Annotated[int, HEADS]
    drop_path_rate: Rate = 0.0
    decoder: _Decoder = _Decoder()


class _DataSet(BaseModel):
    model_config = _LOOSE

    dataset: str
    normalization: _Normalization | None = None


class _Inference(BaseModel):
    model_config = _LOOSE

    window_size: Side
    window_stride: Side


class _VariantFile(BaseModel):
    """The sections of `variant.yml` that matter here."""

    model_config = _LOOSE

    net_kwargs: _Net
    dataset_kwargs: _DataSet
    inference_kwargs: _Inference
