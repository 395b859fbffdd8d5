"""Weights in several files are read as if they were in one."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import segmenter
from segmenter import UserError
from segmenter.checkpoints.encoders.read_encoder import load_encoder_weights
from segmenter.checkpoints.foreign.dino.encoder import read_dino_encoder
from segmenter.model.architectures import ARCHITECTURES
from segmenter.model.encoder import Encoder
from segmenter.model.spec import EncoderSpec
from tests.helpers.dino import of_meta, random_dinov3, write_encoder
from tests.helpers.eomt import (
    GOLDEN_EOMT,
    INDEX,
    of_hugging_face,
    random_model,
    write_folder,
    write_shards,
)

FIRST = "model-00001-of-00002.safetensors"


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return of_hugging_face(torch.load(GOLDEN_EOMT / "pytorch_model.bin", weights_only=True))


def test_a_model_in_several_files_equals_that_in_one(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    folder = write_shards(tmp_path / "split", tensors)
    whole = segmenter.load(write_folder(tmp_path / "whole", tensors))
    for given in (folder, folder / INDEX):
        split = segmenter.load(given)
        assert all(
            torch.equal(tensor, whole.state_dict()[name])
            for name, tensor in split.state_dict().items()
        )
        assert split.spec.protocol == whole.spec.protocol


def test_an_encoder_in_several_files_starts_a_run_and_is_a_base(tmp_path: Path) -> None:
    state = random_dinov3()
    folder = write_shards(tmp_path / "split", state)
    spec, _ = ARCHITECTURES["vit_small_patch16_dinov3_qkvb"]
    sizes = {"embed_dim": 128, "depth": 3, "mlp_ratio": 2.0}
    encoder = Encoder(EncoderSpec.model_validate(spec.model_dump() | sizes))
    assert "fresh" not in load_encoder_weights(encoder, str(folder))
    whole = read_dino_encoder(write_encoder(tmp_path / "whole.pth", of_meta(state)))
    split = read_dino_encoder(folder / INDEX)
    assert all(torch.equal(each, whole.tensors[name]) for name, each in split.tensors.items())
    other = write_shards(tmp_path / "other", {n: each + 1 for n, each in state.items()})
    assert read_dino_encoder(other / INDEX).sha256 != split.sha256


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "/etc/x.safetensors",
        "a/b.safetensors",
        "c:x.safetensors",
        "a\\b.safetensors",
        "model.bin",
        "",
        ".safetensors\0.safetensors",
        "a" * 300 + ".safetensors",
    ],
)
def test_a_file_that_is_no_shard_beside_the_index_is_not_opened(
    tmp_path: Path, tensors: dict[str, Tensor], name: str
) -> None:
    folder = write_shards(tmp_path / "split", tensors)
    save_file(tensors, tmp_path / "secret.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(tensors, name)}))
    with pytest.raises(UserError, match="files in the same folder"):
        segmenter.load(folder)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}', "[" * 100_000]
)
def test_a_damaged_index_is_refused(
    tmp_path: Path, tensors: dict[str, Tensor], content: str
) -> None:
    folder = write_shards(tmp_path, tensors)
    (folder / INDEX).write_text(content)
    with pytest.raises(UserError, match=r"index\.json(:| is damaged)"):
        segmenter.load(folder)


def test_a_missing_or_damaged_shard_and_a_missing_tensor_are_named(
    tmp_path: Path, tensors: dict[str, Tensor]
) -> None:
    folder = write_shards(tmp_path, tensors)
    shard = folder / FIRST
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    with pytest.raises(UserError, match=f"{FIRST} is damaged"):
        segmenter.load(folder)
    shard.unlink()
    with pytest.raises(UserError, match=f"lists {FIRST}, which is missing"):
        segmenter.load(folder)
    save_file({"other": torch.ones(1)}, shard)
    with pytest.raises(UserError, match=f"in {FIRST}, which lacks it"):
        segmenter.load(folder)


def test_shards_that_no_memory_holds_together_are_refused(
    tmp_path: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_shards(tmp_path, tensors)
    sizes = [path.stat().st_size for path in folder.glob("*.safetensors")]
    monkeypatch.setattr("segmenter.checkpoints.model_file.total_memory", lambda: max(sizes) + 1)
    with pytest.raises(UserError, match=r"index\.json has .* of memory"):
        segmenter.load(folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of transformers
def test_what_transformers_saves_in_several_files_is_read(tmp_path: Path) -> None:
    theirs = random_model("eomt")
    theirs.save_pretrained(tmp_path / "split", max_shard_size="500KB")
    theirs.save_pretrained(tmp_path / "whole")
    assert len(list((tmp_path / "split").glob("*.safetensors"))) > 2
    split, whole = (segmenter.load(tmp_path / name) for name in ("split", "whole"))
    assert all(
        torch.equal(tensor, whole.state_dict()[name]) for name, tensor in split.state_dict().items()
    )
