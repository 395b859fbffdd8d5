"""EoMT with DINOv3, as tue-mps publishes it: differences that are added to Meta's weights."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import segmenter
from segmenter import UserError
from segmenter.checkpoints.foreign.dino import encoder as encoder_module
from segmenter.model.decoders.eomt import EoMT
from tests.helpers.command_line import run
from tests.helpers.dino import of_meta, random_dinov3, write_encoder
from tests.helpers.eomt import GOLDEN_EOMT, random_model

_OF_TUE_MPS = (
    (r"^embeddings\.", "network.encoder.backbone.patch_embed."),
    (r"^layers\.", "network.encoder.backbone.blocks."),
    (r"^layernorm\.", "network.encoder.backbone.norm."),
    (r"^query\.", "network.q."),
    (r"^class_predictor\.", "network.class_head."),
    (r"^mask_head\.fc1\.", "network.mask_head.0."),
    (r"^mask_head\.fc2\.", "network.mask_head.2."),
    (r"^mask_head\.fc3\.", "network.mask_head.4."),
    (r"^upscale_block\.block\.(\d+)\.layernorm2d\.", r"network.upscale.\1.norm."),
    (r"^upscale_block\.block\.", "network.upscale."),
    (r"^attn_mask_probs$", "network.attn_mask_probs"),
)
_BASE_NAMES = ((r"^layers\.", "layer."), (r"^layernorm\.", "norm."))
pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers


def renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


class Release:
    """A whole model of transformers, and the same as differences to a random encoder."""

    def __init__(self, *, gated: bool = False) -> None:
        act = "silu" if gated else "gelu"
        self.whole = random_model(
            "eomt_dinov3",
            intermediate_size=256,
            layer_norm_eps=1e-5,
            use_gated_mlp=gated,
            hidden_act=act,
        )
        self.base = random_dinov3(128, 4, gated=gated)
        self.differences: dict[str, Tensor] = {}
        for name, tensor in self.whole.state_dict().items():
            if name.startswith(("criterion", "rope")) or name.endswith("mask_token"):
                continue
            of_base = self.base.get(renamed(name, _BASE_NAMES))
            is_encoder = name.startswith(("embeddings", "layers", "layernorm"))
            assert is_encoder == (of_base is not None), name
            left = tensor - of_base if of_base is not None else tensor
            self.differences[renamed(name, _OF_TUE_MPS)] = left
        self.differences["network.encoder.pixel_mean"] = torch.zeros(1, 3, 1, 1)
        self.differences["network.encoder.pixel_std"] = torch.zeros(1, 3, 1, 1)

    def write(self, folder: Path, **changed: Any) -> Path:
        path = folder / "pytorch_model.bin"
        torch.save(self.differences | changed, path)
        return path


@pytest.fixture(scope="module")
def release() -> Release:
    return Release()


@pytest.fixture
def base(tmp_path: Path, release: Release) -> Path:
    return write_encoder(tmp_path / "dinov3_vit.pth", of_meta(release.base))


@torch.inference_mode()
def assert_equal(ours: Any, whole: Any) -> None:
    assert isinstance(ours.decoder, EoMT)
    images = torch.nn.functional.interpolate(3 * torch.randn(2, 3, 2, 2), (64, 64))
    expected = whole(pixel_values=images)
    classes, masks = ours.decoder.classified_masks(*ours.encode(images))
    assert (classes - expected.class_queries_logits).abs().max() < 1e-4
    if whole.config.hidden_act == "gelu":  # else transformers' mask head takes the encoder's SiLU
        assert (masks - expected.masks_queries_logits).abs().max() < 1e-4


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("layout", ["transformers", "meta"])
def test_differences_added_to_their_base_equal_transformers(
    tmp_path: Path, layout: str, gated: bool
) -> None:
    release = Release(gated=gated)
    if layout == "transformers":
        base = write_encoder(tmp_path / "model.safetensors", release.base)
    else:
        base = write_encoder(tmp_path / "dinov3.pth", of_meta(release.base, gated=gated))
    ours = segmenter.load(release.write(tmp_path), base=base)
    assert_equal(ours, release.whole)
    assert ours.spec.encoder.mlp == ("swiglu" if gated else "gelu")


def test_a_lightning_checkpoint_holds_its_encoder_whole(
    tmp_path: Path, release: Release, base: Path
) -> None:
    named = release.whole.state_dict().items()
    tensors = {renamed(name, _OF_TUE_MPS): each for name, each in named if "rope" not in name}
    tensors["network.encoder.pixel_mean"] = torch.tensor([0.5, 0.4, 0.3])[None, :, None, None]
    tensors["network.encoder.pixel_std"] = torch.full((1, 3, 1, 1), 0.25)
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": tensors, "epoch": 30}, path)
    ours = segmenter.load(path)
    assert_equal(ours, release.whole)
    assert ours.spec.normalization.mean == pytest.approx((127.5, 102, 76.5))
    assert ours.spec.license.startswith("DINOv3 License")
    with pytest.raises(UserError, match="holds a whole model; omit --base"):
        segmenter.load(path, base=base)


def test_the_model_states_licence_base_and_windows(
    tmp_path: Path, release: Release, base: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "model.safetensors"
    assert run("convert", str(release.write(tmp_path)), str(out), "--base", str(base)) == 0
    said = capsys.readouterr().out
    assert "not a .pth that Meta publishes" in said
    assert "windows of 640 pixels" in said
    spec = segmenter.load(out).spec
    assert spec.license.startswith("DINOv3 License")
    assert re.search(r"and dinov3_vit.pth \(SHA-256 [0-9a-f]{64}\)$", spec.provenance)
    assert spec.protocol.window == 640
    assert_equal(segmenter.load(out), release.whole)


def test_a_window_replaces_the_one_that_is_assumed(
    tmp_path: Path, release: Release, base: Path, capsys: pytest.CaptureFixture
) -> None:
    file, out = str(release.write(tmp_path)), tmp_path / "model.safetensors"
    assert run("convert", file, str(out), "--base", str(base), "--window", "1280") == 0
    assert "assumed" not in capsys.readouterr().out
    assert segmenter.load(out).spec.protocol.window == 1280


def test_annealed_masks_may_be_a_difference_to_ones(
    tmp_path: Path, release: Release, base: Path
) -> None:
    masks = {"network.attn_mask_probs": torch.full((2,), -1.0)}
    assert_equal(segmenter.load(release.write(tmp_path, **masks), base=base), release.whole)


def test_heads_of_the_base_are_those_of_the_model(
    tmp_path: Path, release: Release, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(encoder_module._HEAD_DIMS, 128, 128)  # as 7B's, of 4096 channels
    ours = segmenter.load(release.write(tmp_path), base=base)
    assert ours.spec.encoder.head_dim == 128


def test_without_a_base_the_command_to_use_is_named(
    tmp_path: Path, release: Release, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(UserError, match=r"differences to Meta's weights .* --base FILE"):
        segmenter.load(release.write(tmp_path))
    assert run("predict", "photo.jpg", "--model", str(tmp_path / "pytorch_model.bin")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_base_of_another_size_is_refused(tmp_path: Path, release: Release) -> None:
    for width, depth, problem in ((64, 4, "4 blocks of 64 channels"), (128, 5, "5 blocks of 128")):
        other = write_encoder(tmp_path / "other.safetensors", random_dinov3(width, depth))
        with pytest.raises(UserError, match=problem):
            segmenter.load(release.write(tmp_path), base=other)


def test_known_files_are_recognised_by_their_digest(
    tmp_path: Path, release: Release, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = encoder_module.read_dino_encoder(base).sha256
    known = encoder_module._KNOWN
    monkeypatch.setitem(known, digest[:8], ("ViT-L/16", "LVD-1689M"))
    assert encoder_module.read_dino_encoder(base).identify() == ()
    monkeypatch.setitem(known, digest[:8], ("ViT-L/16", "SAT-493M"))
    with pytest.raises(UserError, match="of satellite images"):
        segmenter.load(release.write(tmp_path), base=base)


def test_what_is_no_such_encoder_is_refused(tmp_path: Path, release: Release) -> None:
    file = release.write(tmp_path)
    for tensors in ({"weight": torch.ones(2)}, {"cls_token": torch.ones(1, 1, 128)}):
        path = write_encoder(tmp_path / "other.safetensors", tensors)
        with pytest.raises(UserError, match="not an encoder of DINOv2 or DINOv3"):
            segmenter.load(file, base=path)
    with pytest.raises(UserError, match=r"no model 'gone\.pth'"):
        segmenter.load(file, base="gone.pth")


def test_a_whole_model_takes_no_base(base: Path) -> None:
    with pytest.raises(UserError, match="holds a whole model; omit"):
        segmenter.load(GOLDEN_EOMT / "pytorch_model.bin", base=base)
    with pytest.raises(UserError, match="holds a whole model; omit"):
        segmenter.load("street-tiny", base=base)
