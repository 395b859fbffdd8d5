"""Weights in several safetensors files, as transformers saves large models.

`model.safetensors.index.json` says in which file beside it each tensor is.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from segmenter.checkpoints import model_file
from segmenter.checkpoints.foreign.hugging_face.config import read_json
from segmenter.errors import UserError
from segmenter.files.names import path_problem, shortened
from segmenter.files.outputs import stays_inside
from segmenter.files.yaml import first_problem

INDEX_SUFFIX = ".safetensors.index.json"


class _Index(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    weight_map: dict[str, str]


def is_index(path: Path) -> bool:
    """Return whether a file is, by its name, the index of weights in several files."""
    return path.name.endswith(INDEX_SUFFIX)


def shard_names(index: Path) -> list[str]:
    """Return the names of the files that an index lists, without a folder.

    Raises:
        UserError: If the index is damaged, or a name leads out of its folder.
    """
    return sorted(set(_read_index(index).values()))


def read_shards(index: Path) -> dict[str, Tensor]:
    """Read the tensors that an index lists; like those of one file, they lie over mapped bytes.

    Raises:
        UserError: If the index is damaged, a file or a tensor that it lists is missing, or all
            files together are larger than the memory.
    """
    listed = _read_index(index)
    shards = {name: index.parent / name for name in sorted(set(listed.values()))}
    for name, path in shards.items():
        if not path.is_file():
            raise UserError(f"{index} lists {name}, which is missing; download the whole folder")
    model_file.check_memory(index, sum(path.stat().st_size for path in shards.values()))
    held = {name: model_file.read_tensors(path)[0] for name, path in shards.items()}
    for tensor, name in listed.items():
        if tensor not in held[name]:
            raise UserError(f"{index} lists {shortened(tensor)} in {name}, which lacks it")
    return {tensor: held[name][tensor] for tensor, name in listed.items()}


def _read_index(index: Path) -> dict[str, str]:
    """Return the file of each tensor."""
    try:
        listed = _Index.model_validate(read_json(index)).weight_map
    except ValidationError as error:
        raise UserError(f"{index}: {first_problem(error, _Index)}") from None
    for name in {*listed.values()}:
        is_plain = stays_inside(name) and "/" not in name and name.endswith(".safetensors")
        if not is_plain or path_problem(name):
            raise UserError(
                f"{index} lists the file {shortened(name)}; weights are only read from "
                ".safetensors files in the same folder"
            )
    return listed
