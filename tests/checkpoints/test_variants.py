"""What real checkpoints vary in, and a model does not depend on."""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import segmenter
from segmenter import UserError
from tests.checkpoints.writers import (
    make_model,
    mmseg_table,
    paddleseg_table,
    rstrudel_table,
    write_mmseg,
    write_rstrudel,
)
from tests.helpers.weights import assert_same_weights

Table = dict[str, Tensor]


def others(table: Table) -> Table:
    return {name: tensor + 1 for name, tensor in table.items()}


def one_storage(table: Table) -> Table:
    """All tensors in one storage, one after another."""
    flat = torch.cat([tensor.flatten() for tensor in table.values()])
    parts = flat.split([tensor.numel() for tensor in table.values()])
    return {
        name: part.view_as(tensor)
        for (name, tensor), part in zip(table.items(), parts, strict=True)
    }


def spread(tensor: Tensor) -> Tensor:
    """Every second number of a storage of twice the size."""
    return torch.stack([tensor, tensor], dim=-1)[..., 0]


CONTENTS: dict[str, Callable[[Table], object]] = {
    "the table alone": lambda table: table,
    "ordered": lambda table: OrderedDict(table),
    "state_dict": lambda table: {"state_dict": table},
    "nested": lambda table: {"model": {"state_dict": table}},
    "several GPUs": lambda table: {"model": {f"module.{n}": t for n, t in table.items()}},
    "compiled": lambda table: {f"module._orig_mod.{n}": t for n, t in table.items()},
    "averages beside": lambda table: {"model_ema": others(table), "model": table},
    "averages alone": lambda table: {"model_ema": table, "epoch": 3},
    "a teacher alone": lambda table: {"teacher": table},
    "a teacher beside": lambda table: {"model": table, "teacher": others(table)},
    "an optimizer": lambda table: {
        "model": table,
        "optimizer": torch.optim.SGD([next(iter(table.values()))], lr=0.1).state_dict(),
        "loss": torch.tensor(0.5),
    },
    "parameters": lambda table: {n: torch.nn.Parameter(t) for n, t in table.items()},
    "one storage": one_storage,
    "spread": lambda table: {name: spread(tensor) for name, tensor in table.items()},
    "double": lambda table: {name: tensor.double() for name, tensor in table.items()},
    "half": lambda table: {name: tensor.half() for name, tensor in table.items()},
    "bfloat16": lambda table: {name: tensor.bfloat16() for name, tensor in table.items()},
}


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("name", CONTENTS)
def test_the_papers_weights_are_found_however_they_are_kept(
    tmp_path: Path, name: str, new_format: bool
) -> None:
    model = make_model().bfloat16().half().float()
    path = write_rstrudel(tmp_path, model)
    content = CONTENTS[name](rstrudel_table(model))
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    assert_same_weights(segmenter.load(path), model)


ARRAYS: dict[str, Callable[[np.ndarray], object]] = {
    "as they are": lambda array: array,
    "column by column": np.asfortranarray,
    "every second": lambda array: np.stack([array, array], axis=-1)[..., 0],
    "double": lambda array: array.astype("f8"),
    "half": lambda array: array.astype("f2"),
    "read only": lambda array: np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
    "named": lambda array: ("linear_0.w_0", array),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ARRAYS)
def test_paddles_arrays_are_read_however_they_lie(tmp_path: Path, name: str, protocol: int) -> None:
    model = make_model(qkv_bias=False).half().float()
    table = {key: ARRAYS[name](array) for key, array in paddleseg_table(model).items()}
    path = tmp_path / "model.pdparams"
    path.write_bytes(pickle.dumps(table, protocol))
    assert_same_weights(segmenter.load(path), model)


@pytest.mark.parametrize("decoder", ["linear", "mask"])
def test_mmsegs_names_are_read_and_its_averages_left(tmp_path: Path, decoder: str) -> None:
    model = make_model(decoder=decoder)
    path = write_mmseg(tmp_path, model)
    assert_same_weights(segmenter.load(path), model)
    table = mmseg_table(model)
    ema = {f"ema_{name.replace('.', '_')}": tensor + 1 for name, tensor in table.items()}
    auxiliary = {"auxiliary_head.conv_seg.weight": torch.zeros(3, 4, 1, 1)}
    torch.save({"state_dict": table | ema | auxiliary, "meta": {}}, path)
    assert_same_weights(segmenter.load(path), model)


def renamed_folder(path: Path, old: str, new: str, **replaced: bytes) -> None:
    """Write a zip again, with another folder at its top and other contents of single entries."""
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, data in entries.items():
            last = name.rsplit("/", 1)[1]
            file.writestr(name.replace(old, new, 1), replaced.get(last, data))


def test_the_folder_inside_of_a_pth_may_have_any_name(tmp_path: Path) -> None:
    model = make_model()
    path = write_rstrudel(tmp_path, model)
    renamed_folder(path, "checkpoint/", "épreuve 7/")
    assert_same_weights(segmenter.load(path), model)


def test_a_big_endian_file_is_refused(tmp_path: Path) -> None:
    path = write_rstrudel(tmp_path, make_model())
    renamed_folder(path, "checkpoint/", "checkpoint/", byteorder=b"big")
    with pytest.raises(UserError, match="big-endian"):
        segmenter.load(path)
    table = {name: array.astype(">f4") for name, array in paddleseg_table(make_model()).items()}
    (tmp_path / "big.pdparams").write_bytes(pickle.dumps(table, 4))
    with pytest.raises(UserError, match=r"big\.pdparams: the tensor .*'f4' \(>\)"):
        segmenter.load(tmp_path / "big.pdparams")
