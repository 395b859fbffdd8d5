"""A run may start from DINOv3 or DINOv2 as Meta and transformers have it."""

from pathlib import Path

import pytest
import torch

from segmenter import UserError
from segmenter.checkpoints.encoders.read_encoder import load_encoder_weights
from segmenter.model.architectures import ARCHITECTURES
from segmenter.model.encoder import Encoder
from segmenter.model.spec import EncoderSpec
from tests.helpers.dino import of_meta, random_dinov2, random_dinov3, write_encoder

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers


def small(name: str, **changed: object) -> EncoderSpec:
    spec, _ = ARCHITECTURES[name]
    sizes = {"embed_dim": 128, "depth": 3, "mlp_ratio": 2.0}
    return EncoderSpec.model_validate(spec.model_dump() | sizes | changed)


@torch.inference_mode()
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("layout", ["meta.pth", "transformers.safetensors"])
def test_features_equal_those_of_transformers(tmp_path: Path, layout: str, gated: bool) -> None:
    transformers = pytest.importorskip("transformers")
    state = random_dinov3(gated=gated)
    config = transformers.DINOv3ViTConfig(
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=256,
        num_register_tokens=4,
        use_gated_mlp=gated,
        hidden_act="silu" if gated else "gelu",
    )
    theirs = transformers.DINOv3ViTModel(config).eval()
    names = theirs.state_dict().keys()
    theirs.load_state_dict({name: state[name.removeprefix("model.")] for name in names})
    tensors = of_meta(state, gated=gated) if layout == "meta.pth" else state
    size = "small_plus" if gated else "small"
    encoder = Encoder(small(f"vit_{size}_patch16_dinov3_qkvb")).eval()
    said = load_encoder_weights(encoder, str(write_encoder(tmp_path / layout, tensors)))
    assert "fresh" not in said
    images = torch.randn(2, 3, 48, 64)
    features, grid = encoder(images)
    expected = theirs(pixel_values=images).last_hidden_state[:, 5:]
    assert grid == (3, 4)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_biases_of_zeros_fit_an_encoder_without_them_and_others_do_not(tmp_path: Path) -> None:
    state = random_dinov3()
    zeros = {
        n: torch.zeros_like(t) if "_proj.bias" in n and "attention.o" not in n else t
        for n, t in state.items()
    }
    encoder = Encoder(small("vit_small_patch16_dinov3"))
    load_encoder_weights(encoder, str(write_encoder(tmp_path / "zeros.pth", of_meta(zeros))))
    load_encoder_weights(
        Encoder(small("vit_small_patch16_dinov3_qkvb")),
        str(write_encoder(tmp_path / "others.pth", of_meta(state))),
    )
    with pytest.raises(UserError, match="other"):
        load_encoder_weights(
            Encoder(small("vit_base_patch16_dinov3_qkvb", embed_dim=192)),
            str(write_encoder(tmp_path / "others.pth", of_meta(state))),
        )


def test_a_dinov2_with_registers_gets_the_grid_of_the_encoder(tmp_path: Path) -> None:
    weights = random_dinov2(depth=3, registers=True)
    path = write_encoder(tmp_path / "dinov2.pth", weights)
    spec = small("vit_small_patch14_reg4_dinov2", mlp_ratio=4.0, table_grid=(6, 6))
    encoder = Encoder(spec)
    load_encoder_weights(encoder, str(path))
    assert encoder.position_table is not None
    assert encoder.position_table.shape == (1, 128, 6, 6)
    first = weights["cls_token"] + weights["pos_embed"][:, :1]
    torch.testing.assert_close(encoder.prefix_tokens[:, :1], first)
