"""Checkpoints of other code bases give the outputs of those code bases."""

import argparse
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import segmenter
from segmenter import UserError
from segmenter.checkpoints.foreign.family import ForeignFile
from segmenter.checkpoints.foreign.mmseg import read_mmseg
from segmenter.checkpoints.foreign.read import read_foreign_model
from segmenter.checkpoints.foreign.read_state import read_state
from segmenter.checkpoints.foreign.rstrudel.variant import Variant, read_variant
from segmenter.class_lists import read_class_list
from segmenter.model.decoders import MaskTransformerSpec
from tests.checkpoints.writers import (
    make_model,
    paddleseg_table,
    rstrudel_table,
    write_paddleseg,
    write_rstrudel,
)
from tests.helpers.models import make_classes
from tests.helpers.paths import GOLDEN
from tests.helpers.weights import assert_same_weights

FILES = {
    "mmseg_linear": "checkpoint.pth",
    "mmseg_mask": "checkpoint.pth",
    "paddleseg_linear": "model.pdparams",
    "paddleseg_mask": "model.pdparams",
    "rstrudel_linear": "checkpoint.pth",
    "rstrudel_mask": "checkpoint.pth",
    "rstrudel_mask_distilled": "checkpoint.pth",
}


@pytest.mark.parametrize("name", FILES)
def test_logits_equal_those_of_the_code_that_wrote_the_file(name: str) -> None:
    model = segmenter.load(GOLDEN / name / FILES[name])
    golden = np.load(GOLDEN / name / "golden.npz")
    numbers = [number for number in range(3) if f"input_{number}" in golden]
    assert golden[f"input_{numbers[-1]}"].shape[2:] == (90, 70)  # no multiple of the patch
    for number in numbers:
        images, expected = (
            torch.from_numpy(golden[f"{key}_{number}"]) for key in ("input", "logits")
        )
        with torch.inference_mode():
            assert (model(images) - expected).abs().max() < 1e-4


def test_the_spec_holds_the_numerics_of_each_family() -> None:
    specs = {name: segmenter.load(GOLDEN / name / FILES[name]).spec for name in FILES}
    paddle, paper, mmseg = (specs[f"{f}_mask"] for f in ("paddleseg", "rstrudel", "mmseg"))
    distilled = specs["rstrudel_mask_distilled"]
    assert [s.encoder.layer_norm_eps for s in (paddle, paper, mmseg)] == [1e-5, 1e-5, 1e-6]
    decoders = [s.decoder for s in (paddle, paper, mmseg)]
    masks = [each for each in decoders if isinstance(each, MaskTransformerSpec)]
    assert [each.layer_norm_eps for each in masks] == [1e-5, 1e-5, 1e-5]
    assert [each.qkv_bias for each in masks] == [False, True, True]
    assert [each.drop_path for each in masks] == [0.1, 0.0, 0.1]
    assert [each.dropout for each in masks] == [0.0, 0.1, 0.0]
    assert [s.encoder.drop_path for s in (paddle, paper, mmseg)] == [0.1, 0.1, 0.1]
    assert [s.encoder.table_resize for s in (paddle, paper)] == ["bicubic", "bilinear"]
    assert [s.size_policy for s in (paddle, paper, mmseg)] == ["stretch", "pad-crop", "pad-squeeze"]
    assert [s.protocol.average for s in (paddle, paper)] == ["logits", "probabilities"]
    assert [s.protocol.name for s in (paddle, paper, mmseg)] == ["paddleseg", "segmenter", "mmseg"]
    assert distilled.encoder.num_prefix_tokens == 2
    assert distilled.normalization.mean == (123.68, 116.28, 103.53)
    assert paper.normalization.mean == (127.5,) * 3
    assert [specs[f"mmseg_{d}"].encoder.patch_bias for d in ("linear", "mask")] == [False, True]


def test_classes_come_from_the_file_or_the_data_set_or_are_numbered(tmp_path: Path) -> None:
    mmseg = segmenter.load(GOLDEN / "mmseg_mask/checkpoint.pth").spec.classes
    assert (mmseg.names[10], tuple(mmseg.colors[1])) == ("class10", (1, 2, 254))
    numbered = read_foreign_model(GOLDEN / "paddleseg_mask/model.pdparams")
    assert numbered is not None
    assert numbered.spec.classes.names[10] == "class-10"
    assert "--classes" in numbered.notes[0]
    for count, name in ((150, "ade20k"), (19, "cityscapes"), (60, "pascal_context")):
        path = write_paddleseg(tmp_path, make_model(num_classes=count, qkv_bias=False))
        assert segmenter.load(path).spec.classes == read_class_list(name)


def test_class_names_of_mmseg_0_and_1_are_read() -> None:
    path = GOLDEN / "mmseg_mask/checkpoint.pth"
    state, _ = read_state(path)
    names = tuple(f"thing {index} " for index in range(11))
    palette = [[index, 0, 0] for index in range(11)]
    for meta in (
        {"CLASSES": names, "PALETTE": palette},
        {"dataset_meta": {"classes": names, "palette": palette}},
    ):
        classes = read_mmseg(ForeignFile(path, state, {"meta": meta})).spec.classes
        assert classes.names[3] == "thing 3"
        assert classes.colors[3].tolist() == [3, 0, 0]
    assert read_mmseg(ForeignFile(path, state, {})).notes


@pytest.mark.parametrize(
    ("data_set", "count", "short_side"),
    [("ade20k", 150, 512), ("cityscapes", 19, 1024), ("pascal_context", 60, 520)],
)
def test_the_papers_data_sets_bring_their_image_size(
    tmp_path: Path, data_set: str, count: int, short_side: int
) -> None:
    path = write_rstrudel(tmp_path, make_model(num_classes=count), data_set=data_set)
    protocol = segmenter.load(path).spec.protocol
    assert (protocol.short_side, protocol.window, protocol.stride) == (short_side, 64, 64)


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("decoder", ["linear", "mask"])
def test_every_pickle_protocol_of_paddle_is_read(
    tmp_path: Path, decoder: str, protocol: int
) -> None:
    model = make_model(decoder=decoder, qkv_bias=False, width=192)  # some arrays over 64 KiB
    assert_same_weights(segmenter.load(write_paddleseg(tmp_path, model, protocol)), model)


@pytest.mark.parametrize("protocol", [2, 4])
def test_files_of_numpy_1_are_read(tmp_path: Path, protocol: int) -> None:
    model = make_model(qkv_bias=False)
    path = write_paddleseg(tmp_path, model, protocol)
    text = path.read_bytes()
    old = text.replace(b"\x16numpy._core.", b"\x15numpy.core.").replace(
        b"numpy._core", b"numpy.core"
    )
    assert old != text
    path.write_bytes(old)
    assert_same_weights(segmenter.load(path), model)


def test_split_and_wrapped_and_nested_arrays_are_read(tmp_path: Path) -> None:
    model = make_model(qkv_bias=False)
    table: dict[str, Any] = {**paddleseg_table(model)}
    name = "backbone.blocks.0.attn.qkv.weight"
    whole = table.pop(name)
    table[f"{name}@@.0"], table[f"{name}@@.1"] = whole.ravel()[:100], whole.ravel()[100:]
    table["head.proj_input.bias"] = ("linear_1.b_0", table["head.proj_input.bias"])
    slices = {"OriginShape": whole.shape, "slices": [f"{name}@@.0", f"{name}@@.1"]}
    table["UnpackBigParamInfor@@"] = {name: slices}
    path = tmp_path / "model.pdparams"
    for content in (table, {"model": table, "epoch": 3}):
        path.write_bytes(pickle.dumps(content, protocol=2))
        assert_same_weights(segmenter.load(path), model)


def test_bfloat16_written_as_uint16_is_read(tmp_path: Path) -> None:
    model = make_model(qkv_bias=False).bfloat16().float()
    table = {
        name: torch.from_numpy(array).bfloat16().view(torch.uint16).numpy()
        for name, array in paddleseg_table(model).items()
    }
    (tmp_path / "model.pdparams").write_bytes(pickle.dumps(table, protocol=4))
    assert_same_weights(segmenter.load(tmp_path / "model.pdparams"), model)


@pytest.mark.parametrize("new_format", [True, False])
def test_other_things_in_a_checkpoint_do_not_matter(tmp_path: Path, new_format: bool) -> None:
    model = make_model()
    path = write_rstrudel(tmp_path, model)
    table = rstrudel_table(model)
    optimizer = {"state": {0: {"momentum_buffer": table["decoder.cls_emb"]}}}
    content = {
        "model": table,
        "optimizer": optimizer,
        "args": argparse.Namespace(lr=0.1, out=path),
        "best": np.float64(0.5),
    }
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    assert_same_weights(segmenter.load(path), model)


def test_half_precision_and_transposed_tensors_are_read(tmp_path: Path) -> None:
    model = make_model().half().float()
    path = write_rstrudel(tmp_path, model)
    table = {name: tensor.half() for name, tensor in rstrudel_table(model).items()}
    name = "encoder.blocks.0.mlp.fc1.weight"
    table[name] = table[name].T.contiguous().T
    torch.save({"model": table}, path)
    assert_same_weights(segmenter.load(path), model)


def test_a_loaded_model_does_not_depend_on_its_file(tmp_path: Path) -> None:
    model = make_model(qkv_bias=False)
    path = write_paddleseg(tmp_path, model)
    loaded = segmenter.load(path)
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    assert_same_weights(loaded, model)


def test_a_missing_variant_says_what_is_missing_and_what_stands_in(tmp_path: Path) -> None:
    path = write_rstrudel(tmp_path, make_model())
    (tmp_path / "variant.yml").unlink()
    with pytest.raises(UserError, match=r"variant\.yml .* is missing.*--normalization"):
        segmenter.load(path)
    variant = Variant(normalization="deit", window=64, stride=32)
    found = read_foreign_model(path, variant=variant)
    assert found is not None
    spec = found.spec
    assert spec.normalization.std == (58.40, 57.12, 57.38)
    assert spec.protocol.stride == 32


def test_a_variant_may_hold_tuples_and_nothing_else_of_python(tmp_path: Path) -> None:
    path = tmp_path / "variant.yml"
    path.write_text((GOLDEN / "rstrudel_mask/variant.yml").read_text())
    assert read_variant(path).image_size == (64, 64)
    canary = tmp_path / "canary"
    path.write_text(f"net_kwargs: !!python/object/apply:os.system ['touch {canary}']")
    with pytest.raises(UserError, match=r"variant\.yml, line 1"):
        read_variant(path)
    assert not canary.exists()


def test_every_tensor_that_does_not_fit_is_listed(tmp_path: Path) -> None:
    path = write_rstrudel(tmp_path, make_model())
    table = rstrudel_table(make_model())
    del table["decoder.blocks.0.norm1.weight"]
    table["decoder.extra"] = torch.zeros(2)
    table["encoder.norm.bias"] = torch.zeros(3)
    torch.save({"model": table}, path)
    with pytest.raises(UserError) as refused:
        segmenter.load(path)
    for finding in (
        "missing decoder.blocks.0.norm1.weight",
        "unexpected decoder.extra",
        "encoder.norm.bias is (3,), the model has (64,)",
    ):
        assert finding in str(refused.value)


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    model = make_model(qkv_bias=False)
    torch.nn.init.constant_(model.get_parameter("decoder.project_in.bias"), float("nan"))
    with pytest.raises(UserError, match=r"NaN or infinity in decoder\.project_in\.bias"):
        segmenter.load(write_paddleseg(tmp_path, model))


def test_classes_of_another_number_are_refused() -> None:
    path = GOLDEN / "paddleseg_mask/model.pdparams"
    with pytest.raises(UserError, match="11 classes, and --classes gives 3"):
        read_foreign_model(path, classes=make_classes(3))
    found = read_foreign_model(path, classes=make_classes(11))
    assert found is not None
    assert found.notes == ()
