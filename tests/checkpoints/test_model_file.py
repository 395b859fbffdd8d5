"""A model file gives back the same model, and nothing else is taken for one."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import segmenter
from segmenter import UserError
from segmenter.checkpoints import model_file as own
from segmenter.model import Segmenter
from tests.helpers.models import make_spec
from tests.helpers.relabel import relabel


@pytest.mark.parametrize("decoder", ["linear", "mask"])
def test_loading_gives_back_the_saved_model(tmp_path: Path, decoder: str) -> None:
    model = Segmenter(make_spec(decoder=decoder, drop_path=0.1))
    segmenter.save(model, tmp_path / "model.safetensors")
    loaded = segmenter.load(tmp_path / "model.safetensors")
    images = torch.randn(1, 3, 32, 48)
    assert loaded.spec == model.spec
    assert not loaded.training
    torch.testing.assert_close(loaded(images), model.eval()(images), rtol=0, atol=0)


def test_files_written_before_a_field_was_there_load_unchanged(tmp_path: Path) -> None:
    model = Segmenter(make_spec(2, decoder="mask")).eval()
    segmenter.save(model, tmp_path / "new.safetensors")
    tensors, metadata = own.read_tensors(tmp_path / "new.safetensors")
    facts = json.loads(metadata["segmenter"])
    del facts["digest"], facts["spec"]["decoder"]["class_norm"]
    del facts["spec"]["classes"]["background"]
    save_file(tensors, tmp_path / "old.safetensors", {"segmenter": json.dumps(facts)})
    loaded = segmenter.load(tmp_path / "old.safetensors")
    images = torch.randn(1, 3, 32, 48)
    assert loaded.spec == model.spec
    torch.testing.assert_close(loaded(images), model(images), rtol=0, atol=0)


def test_half_precision_files_load_as_float32(tmp_path: Path, tiny_model: Segmenter) -> None:
    segmenter.save(tiny_model, tmp_path / "full.safetensors")
    segmenter.save(tiny_model, tmp_path / "half.safetensors", dtype="float16")
    loaded = segmenter.load(tmp_path / "half.safetensors")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.6 * sizes[1]


def test_a_file_that_exists_is_not_overwritten_unasked(
    tmp_path: Path, tiny_model: Segmenter
) -> None:
    path = tmp_path / "precious.safetensors"
    path.write_text("precious")
    with pytest.raises(UserError, match="precious"):
        segmenter.save(tiny_model, path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("num_bytes", [0, 4, 100, 5000])
def test_a_truncated_file_is_refused(tmp_path: Path, tiny_model: Segmenter, num_bytes: int) -> None:
    path = tmp_path / "model.safetensors"
    segmenter.save(tiny_model, path)
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(UserError, match=r"model\.safetensors"):
        segmenter.load(path)


def test_one_flipped_bit_is_noticed(tmp_path: Path, tiny_model: Segmenter) -> None:
    path = tmp_path / "model.safetensors"
    segmenter.save(tiny_model, path)
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        segmenter.load(path)


@pytest.mark.parametrize("is_old", [False, True], ids=["with a digest", "as 0.1.0 wrote it"])
def test_weights_that_claim_another_dtype_are_refused(
    tmp_path: Path, tiny_model: Segmenter, is_old: bool
) -> None:
    path = tmp_path / "model.safetensors"
    segmenter.save(tiny_model, path, dtype="float16")
    with pytest.raises(UserError, match=r"damaged|has type torch.bfloat16"):
        segmenter.load(relabel(path, dtype="BF16", is_old=is_old))


def test_a_spec_that_was_changed_after_it_was_saved_is_noticed(
    tmp_path: Path, tiny_model: Segmenter
) -> None:
    path = tmp_path / "model.safetensors"
    segmenter.save(tiny_model, path)
    with pytest.raises(UserError, match="damaged"):
        segmenter.load(relabel(path, spec={"normalization": {"mean": [0, 0, 0]}}))


def test_a_file_as_0_1_0_wrote_it_opens(tmp_path: Path, tiny_model: Segmenter) -> None:
    path = tmp_path / "model.safetensors"
    segmenter.save(tiny_model, path)
    assert segmenter.load(relabel(path, is_old=True)).spec == tiny_model.spec


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="no Segmenter model"):
        segmenter.load(path)
    with pytest.raises(UserError, match="neither a file nor a bundled name"):
        segmenter.load(tmp_path / "absent.safetensors")


def test_an_unknown_key_in_the_spec_is_named(tmp_path: Path, tiny_model: Segmenter) -> None:
    path = tmp_path / "model.safetensors"
    segmenter.save(tiny_model, path)
    tensors, metadata = own.read_tensors(path)
    facts = json.loads(metadata["segmenter"])
    facts["spec"]["size_polic"] = "pad-crop"
    save_file(tensors, path, metadata={"segmenter": json.dumps(facts)})
    with pytest.raises(UserError, match="unknown key 'size_polic', did you mean 'size_policy'"):
        segmenter.load(path)


def test_the_size_policy_has_in_files_the_name_that_0_1_0_reads(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    segmenter.save(Segmenter(make_spec(size_policy="stretch")), path)
    spec = json.loads(own.read_metadata(path)["segmenter"])["spec"]
    assert spec["fit"] == "stretch"
    assert "size_policy" not in spec
    assert segmenter.load(path).spec.size_policy == "stretch"


def test_all_tensors_that_do_not_fit_are_listed() -> None:
    wanted = Segmenter(make_spec()).state_dict()
    given = Segmenter(make_spec(5)).state_dict() | {"extra": torch.zeros(1)}
    del given["encoder.norm.bias"]
    with pytest.raises(UserError) as caught:
        own.check_fit(wanted, given, "file")
    for name in (
        "missing encoder.norm.bias",
        "unexpected extra",
        "decoder.project.weight is (5, 64)",
    ):
        assert name in str(caught.value)


def test_weights_that_are_not_finite_are_named() -> None:
    wanted = Segmenter(make_spec()).state_dict()
    wanted["encoder.norm.bias"][3] = float("nan")
    with pytest.raises(UserError, match=r"encoder\.norm\.bias"):
        own.check_fit(wanted, wanted, "file")


@pytest.mark.parametrize("dtype", [torch.uint16, torch.complex64, torch.float8_e4m3fn, torch.bool])
def test_numbers_that_no_weights_are_made_of_are_refused(
    tmp_path: Path, tiny_model: Segmenter, dtype: torch.dtype
) -> None:
    path = tmp_path / "model.safetensors"
    segmenter.save(tiny_model, path)
    tensors, metadata = own.read_tensors(path)
    tensors["encoder.norm.bias"] = tensors["encoder.norm.bias"].to(dtype)
    facts = own.seal(json.loads(metadata["segmenter"])["spec"], tensors)
    save_file(tensors, path, {"segmenter": json.dumps(facts)})
    with pytest.raises(UserError, match=rf"encoder\.norm\.bias has type {dtype}"):
        segmenter.load(path)


def test_a_saved_file_can_be_read_by_the_safetensors_library(
    tmp_path: Path, tiny_model: Segmenter
) -> None:
    segmenter.save(tiny_model, tmp_path / "model.safetensors")
    assert load_file(tmp_path / "model.safetensors").keys() == tiny_model.state_dict().keys()
