"""A run may start from DINOv3 or DINOv2 as Meta and transformers have it."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from segmenter import UserError
from segmenter.checkpoints.encoders.read_encoder import load_encoder_weights
from segmenter.checkpoints.foreign.dino import encoder as encoder_module
from segmenter.checkpoints.foreign.dino.encoder import read_dino_encoder
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


def test_the_start_of_a_run_does_not_digest_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_encoder(tmp_path / "dinov3.pth", of_meta(random_dinov3()))
    monkeypatch.delattr(encoder_module, "_sha256")  # of 27 GB where it is the 7B
    load_encoder_weights(Encoder(small("vit_small_patch16_dinov3_qkvb")), str(path))


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


@torch.inference_mode()
@pytest.mark.parametrize("is_folder", [False, True])
@pytest.mark.parametrize("registers", [0, 4])
def test_a_dinov2_equals_that_of_transformers(
    tmp_path: Path, registers: int, is_folder: bool
) -> None:
    transformers = pytest.importorskip("transformers")
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56}
    config = getattr(transformers, f"{kind}Config")(**sizes, patch_size=14, mlp_ratio=2)
    theirs = randomized(getattr(transformers, f"{kind}Model")(config))
    theirs.save_pretrained(tmp_path)
    name = f"vit_small_patch14_{'reg4_' * bool(registers)}dinov2"
    encoder = Encoder(small(name, depth=2, table_grid=(4, 4))).eval()
    path = tmp_path if is_folder else tmp_path / "model.safetensors"
    said = load_encoder_weights(encoder, str(path))
    assert "fresh" not in said
    for height, width in ((56, 56), (42, 84)):  # the second resizes the positions
        images = torch.randn(1, 3, height, width)
        expected = theirs(pixel_values=images).last_hidden_state[:, 1 + registers :]
        torch.testing.assert_close(encoder(images)[0], expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_heads_of_128_channels_equal_those_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.DINOv3ViTConfig(
        hidden_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
        num_register_tokens=4,
        use_gated_mlp=True,
        hidden_act="silu",
        query_bias=False,
        value_bias=False,
    )
    theirs = randomized(transformers.DINOv3ViTModel(config))
    path = write_encoder(tmp_path / "model.safetensors", theirs.state_dict())
    encoder = Encoder(small("vit_7b_patch16_dinov3", embed_dim=256, depth=2)).eval()
    load_encoder_weights(encoder, str(path))
    images = torch.randn(1, 3, 48, 32)
    expected = theirs(pixel_values=images).last_hidden_state[:, 5:]
    torch.testing.assert_close(encoder(images)[0], expected, atol=1e-4, rtol=1e-4)


def test_a_base_of_the_width_of_7b_has_its_heads(tmp_path: Path) -> None:
    tensors = {
        "cls_token": torch.ones(1, 1, 4096),
        "storage_tokens": torch.ones(1, 4, 4096),
        "patch_embed.proj.weight": torch.ones(4096, 3, 2, 2),
        "patch_embed.proj.bias": torch.ones(4096),
        "norm.weight": torch.ones(4096),
    }
    found = read_dino_encoder(write_encoder(tmp_path / "7b.pth", tensors))
    assert found.fields["head_dim"] == 128


@torch.inference_mode()
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("layout", ["encoder", "with-text", "published", "published-npz"])
def test_a_tipsv2_equals_that_of_transformers(tmp_path: Path, layout: str, gated: bool) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Tipsv2VisionConfig(
        hidden_size=576,
        num_hidden_layers=2,
        num_attention_heads=8,
        mlp_ratio=4,
        image_size=56,
        use_swiglu_ffn=gated,
    )
    theirs = randomized(transformers.Tipsv2VisionModel(config))
    path = write_tipsv2(tmp_path, theirs.state_dict(), layout)
    sizes = {"embed_dim": 576, "depth": 2, "head_dim": 72, "table_grid": (4, 4)}
    ratio = 8 / 3 if gated else 4.0
    size = "giant" if gated else "so400m"
    spec = small(f"vit_{size}_patch14_reg1_tipsv2", mlp_ratio=ratio, **sizes)
    encoder = Encoder(spec).eval()
    said = load_encoder_weights(encoder, str(path))
    assert "fresh" not in said
    for height, width in ((56, 56), (42, 84)):  # the second resizes the positions
        images = torch.rand(1, 3, height, width)
        expected = theirs(pixel_values=images).last_hidden_state[:, 2:]
        torch.testing.assert_close(encoder(images)[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wrapper", ["lingbot", "lingbot-prefixed", "eupe"])
def test_what_lingbot_vision_and_eupe_have_around_a_dinov3_makes_no_difference(
    tmp_path: Path, wrapper: str
) -> None:
    tensors = of_meta(random_dinov3())
    wrapped: dict[str, object] = {
        "lingbot": {"backbone": tensors},
        "lingbot-prefixed": {f"backbone.{name}": each for name, each in tensors.items()},
        "eupe": tensors | {"projectors.0.weight": torch.ones(4, 128)},
    }[wrapper]
    name = f"vit_small_patch16_{'dinov3_qkvb' if wrapper == 'eupe' else 'lingbot'}"
    bare, found = Encoder(small(name)), Encoder(small(name))
    load_encoder_weights(bare, str(write_encoder(tmp_path / "bare.pth", tensors)))
    said = load_encoder_weights(found, str(write_encoder(tmp_path / "wrapped.pt", wrapped)))
    assert "fresh" not in said
    for one, other in zip(bare.state_dict().values(), found.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_tipsv2_is_no_base(tmp_path: Path) -> None:
    weights = random_dinov2(registers=True)
    tipsv2 = weights | {"register_tokens": weights["register_tokens"][:, :1]}
    found = read_dino_encoder(write_encoder(tmp_path / "tipsv2.pth", tipsv2))
    with pytest.raises(UserError, match="is a TIPSv2"):
        found.identify()


def test_a_dinov2_without_positions_is_not_taken_for_a_dinov3(tmp_path: Path) -> None:
    weights = random_dinov2(registers=True)
    del weights["pos_embed"]
    with pytest.raises(UserError, match="without positions"):
        read_dino_encoder(write_encoder(tmp_path / "cut.pth", weights))


def test_a_dinov2_with_registers_of_timm_is_that_of_meta(tmp_path: Path) -> None:
    weights = random_dinov2(registers=True)
    published = read_dino_encoder(write_encoder(tmp_path / "dinov2.pth", weights))
    first, positions = weights.pop("pos_embed").split([1, 16], dim=1)
    weights |= {"cls_token": weights["cls_token"] + first, "pos_embed": positions}
    weights["reg_token"] = weights.pop("register_tokens")
    del weights["mask_token"]
    found = read_dino_encoder(write_encoder(tmp_path / "timm.safetensors", weights))
    assert found.fields == published.fields
    assert found.tensors.keys() == published.tensors.keys()
    assert all(torch.equal(each, published.tensors[name]) for name, each in found.tensors.items())


def test_terms_of_a_file_that_is_not_known_are_stated_with_their_condition(tmp_path: Path) -> None:
    found = read_dino_encoder(write_encoder(tmp_path / "eupe.pth", of_meta(random_dinov3())))
    assert "If eupe.pth is another encoder" in found.license
    assert "If eupe" not in found._replace(sha256="08c60483").license


def randomized(model: torch.nn.Module) -> torch.nn.Module:
    """Give every weight a random value, so that none can be left out unseen."""
    torch.manual_seed(5)
    for parameter in model.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.7 * parameter.shape[-1] ** -0.5)
    return model.eval()


def write_tipsv2(folder: Path, state: dict[str, torch.Tensor], layout: str) -> Path:
    """Write the image encoder of a TIPSv2 as transformers or Google has it."""
    if layout == "encoder":
        return write_encoder(folder / "model.safetensors", state)
    if layout == "with-text":
        tensors = {f"vision_model.{name}": each for name, each in state.items()}
        tensors["text_model.embeddings.token_embedding.weight"] = torch.ones(4, 4)
        return write_encoder(folder / "model.safetensors", tensors)
    tensors = published_tipsv2(state)
    if layout == "published-npz":
        path = folder / "tips_v2_oss_b14_vision.npz"
        np.savez(path, **{name: each.numpy() for name, each in tensors.items()})
        return path
    tensors = {f"vision_encoder.{name}": each for name, each in tensors.items()}
    tensors["text_encoder.ln_final.weight"] = torch.ones(4)
    return write_encoder(folder / "model.safetensors", tensors)


def published_tipsv2(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors by Google's names, which are DINOv2's."""
    names = (
        (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^embeddings\.position_embeddings$", "pos_embed"),
        (r"^embeddings\.", ""),
        (r"^encoder\.layer\.", "blocks."),
        (r"^layernorm\.", "norm."),
        (r"\.attention\.o_proj\.", ".attn.proj."),
        (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
        (r"\.mlp\.down_proj\.", ".mlp.w3."),
    )
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        first = re.match(r"(.*)(q_proj|gate_proj)\.(weight|bias)$", name)
        if first:
            kinds = (
                ("q_proj", "k_proj", "v_proj") if first[2] == "q_proj" else ("gate_proj", "up_proj")
            )
            tensor = torch.cat([state[f"{first[1]}{kind}.{first[3]}"] for kind in kinds])
            whole = "attn.qkv" if first[2] == "q_proj" else "mlp.w12"
            name = re.sub(r"(attention|mlp)\.$", f"{whole}.{first[3]}", first[1])
        elif re.search(r"(k|v|up)_proj\.", name):
            continue
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        tensors[name] = tensor.contiguous()
    return tensors
