"""PMT of tue-mps gives the outputs of its forward pass, written anew from `image/models`."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

import segmenter
from segmenter import UserError
from segmenter.inference import Predictor
from segmenter.model.decoders.plain_mask_decoder import PlainMaskDecoder
from tests.helpers.command_line import run
from tests.helpers.dino import of_meta, random_dinov2, random_dinov3, write_encoder
from tests.helpers.eomt import mis_shaped

WIDTH, DEPTH, QUERIES, CLASSES, BLOCKS = 128, 4, 7, 11, 2
LEVELS = (1, 3)
pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers


def random_decoder() -> dict[str, Tensor]:
    torch.manual_seed(2)
    shapes: dict[str, tuple[int, ...]] = {"q.weight": (QUERIES, WIDTH)}
    for level in range(len(LEVELS)):
        shapes |= linear(f"lateral_projections.{level}.0", WIDTH, WIDTH // 2)
        shapes |= linear(f"lateral_projections.{level}.2", WIDTH // 2, WIDTH)
        shapes[f"scalers.{level}"] = (WIDTH,)
    for block in range(BLOCKS):
        for name in ("q_proj", "v_proj", "o_proj"):
            shapes |= linear(f"blocks.{block}.attention.{name}", WIDTH, WIDTH)
        shapes[f"blocks.{block}.attention.k_proj.weight"] = (WIDTH, WIDTH)
        shapes |= linear(f"blocks.{block}.mlp.up_proj", WIDTH, WIDTH)
        shapes |= linear(f"blocks.{block}.mlp.down_proj", WIDTH, WIDTH)
        for name in ("norm1", "norm2"):
            shapes |= {f"blocks.{block}.{name}.{kind}": (WIDTH,) for kind in ("weight", "bias")}
        shapes |= {f"blocks.{block}.layer_scale{i}.lambda1": (WIDTH,) for i in (1, 2)}
    shapes |= {f"decoder_norm.{kind}": (WIDTH,) for kind in ("weight", "bias")}
    for index in (0, 2, 4):
        shapes |= linear(f"mask_head.{index}", WIDTH, WIDTH)
    for index in (0, 1):
        shapes[f"upscale.{index}.conv1.weight"] = (WIDTH, WIDTH, 2, 2)
        shapes[f"upscale.{index}.conv1.bias"] = (WIDTH,)
        shapes[f"upscale.{index}.conv2.weight"] = (WIDTH, 1, 3, 3)
        shapes |= {f"upscale.{index}.norm.{kind}": (WIDTH,) for kind in ("weight", "bias")}
    shapes |= linear("class_head", WIDTH, CLASSES + 1)
    tensors = {
        f"network.decoder.{name}": torch.randn(shape)
        * 0.7
        * (shape[-1] if len(shape) == 2 else 4) ** -0.5
        for name, shape in shapes.items()
    }
    tensors["network.decoder.q.weight"] *= WIDTH**0.5
    tensors["network.decoder.class_head.weight"] *= 4
    for index in (0, 2, 4):  # masks that differ between queries
        tensors[f"network.decoder.mask_head.{index}.bias"].zero_()
        tensors[f"network.decoder.mask_head.{index}.weight"] *= 2
    tensors["network.decoder.attn_mask_probs"] = torch.zeros(BLOCKS)
    for level in range(len(LEVELS)):
        tensors |= {
            f"network.bn.{level}.weight": torch.rand(WIDTH) + 0.5,
            f"network.bn.{level}.bias": torch.randn(WIDTH) * 0.1,
            f"network.bn.{level}.running_mean": torch.randn(WIDTH) * 0.3,
            f"network.bn.{level}.running_var": torch.rand(WIDTH) + 0.5,
            f"network.bn.{level}.num_batches_tracked": torch.tensor(9),
        }
    return tensors


def linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


class Reference:
    """`PMT.forward`; at the end of training there is no masked attention."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    def linear(self, name: str, tokens: Tensor) -> Tensor:
        start = f"network.decoder.{name}."
        return F.linear(tokens, self.tensors[f"{start}weight"], self.tensors.get(f"{start}bias"))

    def norm(self, name: str, tokens: Tensor, eps: float = 1e-5) -> Tensor:
        weight, bias = (self.tensors[f"network.decoder.{name}.{k}"] for k in ("weight", "bias"))
        return F.layer_norm(tokens, (WIDTH,), weight, bias, eps)

    def lateral(self, level: int, feature: Tensor) -> Tensor:
        mean, variance, gain, offset = (
            self.tensors[f"network.bn.{level}.{kind}"]
            for kind in ("running_mean", "running_var", "weight", "bias")
        )
        feature = F.batch_norm(feature.transpose(1, 2), mean, variance, gain, offset)
        feature = feature.transpose(1, 2)
        hidden = F.gelu(self.linear(f"lateral_projections.{level}.0", feature))
        feature = feature + self.linear(f"lateral_projections.{level}.2", hidden)
        return feature * self.tensors[f"network.decoder.scalers.{level}"]

    def block(
        self,
        index: int,
        tokens: Tensor,
        rope: tuple[Tensor, Tensor],
        visible: Tensor | None = None,
    ) -> Tensor:
        start = f"blocks.{index}."
        normed = self.norm(f"{start}norm1", tokens)
        query, key, value = (
            self.linear(f"{start}attention.{kind}_proj", normed)
            .unflatten(2, (-1, 64))
            .transpose(1, 2)
            for kind in "qkv"
        )
        attended = F.scaled_dot_product_attention(
            turned(query, rope), turned(key, rope), value, attn_mask=visible
        )
        attended = self.linear(f"{start}attention.o_proj", attended.transpose(1, 2).flatten(2))
        tokens = tokens + attended * self.tensors[f"network.decoder.{start}layer_scale1.lambda1"]
        hidden = F.gelu(self.linear(f"{start}mlp.up_proj", self.norm(f"{start}norm2", tokens)))
        mlp = self.linear(f"{start}mlp.down_proj", hidden)
        return tokens + mlp * self.tensors[f"network.decoder.{start}layer_scale2.lambda1"]

    def __call__(
        self, outputs: list[Tensor], side: int, is_masked: list[Tensor] | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """The prediction before each block, where queries are masked, and the last."""
        tokens = torch.stack([self.lateral(*each) for each in enumerate(outputs)]).sum(dim=0)
        queries = self.tensors["network.decoder.q.weight"].expand(len(tokens), -1, -1)
        tokens = torch.cat([queries, tokens], dim=1)
        rope, visible, found = positions(side), None, []
        for index in range(BLOCKS):
            if is_masked is not None:
                found.append(self.predict(tokens, side))
                visible = seen(found[-1][1], is_masked[index], tokens.shape[1], side)
            tokens = self.block(index, tokens, rope, visible)
        return [*found, self.predict(tokens, side)]

    def predict(self, tokens: Tensor, side: int) -> tuple[Tensor, Tensor]:
        tokens = self.norm("decoder_norm", tokens)
        queries, patches = tokens[:, :QUERIES], tokens[:, -side * side :]
        patches = patches.transpose(1, 2).unflatten(2, (side, side))
        for index in (0, 1):
            weights = [
                self.tensors[f"network.decoder.upscale.{index}.{k}"]
                for k in ("conv1.weight", "conv1.bias", "conv2.weight")
            ]
            patches = F.gelu(F.conv_transpose2d(patches, weights[0], weights[1], stride=2))
            patches = F.conv2d(patches, weights[2], padding=1, groups=WIDTH)
            patches = self.norm(f"upscale.{index}.norm", patches.movedim(1, -1), 1e-6).movedim(
                -1, 1
            )
        embedded = queries
        for index in (0, 2, 4):
            embedded = self.linear(f"mask_head.{index}", embedded)
            embedded = embedded if index == 4 else F.gelu(embedded)
        masks = torch.einsum("bqc,bchw->bqhw", embedded, patches)
        return self.linear("class_head", queries), masks


def seen(masks: Tensor, is_masked: Tensor, num_tokens: int, side: int) -> Tensor:
    """The tokens that each token attends to."""
    visible = torch.ones(len(masks), num_tokens, num_tokens, dtype=torch.bool)
    within = F.interpolate(masks, (side, side), mode="bilinear").flatten(2) > 0
    visible[:, :QUERIES, -side * side :] = within | ~is_masked[:, :, None]
    return visible[:, None]


def positions(side: int) -> tuple[Tensor, Tensor]:
    frequencies = 1 / 100.0 ** torch.arange(0, 1, 4 / 64)
    centres = torch.arange(0.5, side) / side
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="ij"), dim=-1).flatten(0, 1)
    angles = 2 * math.pi * (2 * grid - 1)[:, :, None] * frequencies
    angles = angles.flatten(1, 2).tile(2)
    return angles.cos(), angles.sin()


def turned(heads: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    first, patches = heads[:, :, : -len(rope[0])], heads[:, :, -len(rope[0]) :]
    left, right = patches.chunk(2, dim=-1)
    return torch.cat([first, patches * rope[0] + torch.cat([-right, left], -1) * rope[1]], dim=2)


@pytest.fixture(scope="module")
def decoder() -> dict[str, Tensor]:
    return random_decoder()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "dinov3.pth", of_meta(random_dinov3(WIDTH, DEPTH)))


def write(folder: Path, tensors: dict[str, Any]) -> Path:
    path = folder / "pytorch_model.bin"
    torch.save({"state_dict": tensors}, path)
    return path


def encoder_outputs(images: Tensor) -> list[Tensor]:
    """What the encoder of transformers gives for normalised images."""
    transformers = pytest.importorskip("transformers")
    config = transformers.DINOv3ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=WIDTH // 64,
        intermediate_size=2 * WIDTH,
        num_register_tokens=4,
    )
    encoder = transformers.DINOv3ViTModel(config).eval()
    encoder.load_state_dict(
        {
            f"model.{k}" if k.startswith("layer.") else k: v
            for k, v in random_dinov3(WIDTH, DEPTH).items()
        }
    )
    states = encoder(pixel_values=images, output_hidden_states=True).hidden_states
    return [encoder.norm(states[level + 1]) for level in LEVELS]


@torch.inference_mode()
def test_outputs_equal_those_of_its_forward_pass(
    tmp_path: Path, decoder: dict[str, Tensor], base: Path
) -> None:
    ours = segmenter.load(write(tmp_path, decoder), base=base)
    images = F.interpolate(3 * torch.randn(2, 3, 3, 3), (96, 96))
    ((expected_classes, expected_masks),) = Reference(decoder)(encoder_outputs(images), 6)
    assert isinstance(ours.decoder, PlainMaskDecoder)
    classes, masks = ours.decoder.classified_masks(*ours.encode(images))
    assert (classes - expected_classes).abs().max() < 1e-4
    assert (masks - expected_masks).abs().max() < 1e-4
    shares = expected_classes.softmax(dim=-1)[..., :-1]
    whole = F.interpolate(expected_masks, (96, 96), mode="bilinear").sigmoid()
    labels = torch.einsum("bqc,bqhw->bchw", shares, whole).argmax(dim=1)
    assert (ours(images).argmax(dim=1) == labels).float().mean() >= 0.9999
    assert len(labels.unique()) > 1


@torch.inference_mode()
@pytest.mark.parametrize("registers", [False, True])
def test_on_a_dinov2_outputs_equal_those_with_the_encoder_that_timm_resamples(
    tmp_path: Path, decoder: dict[str, Tensor], *, registers: bool
) -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model(
        f"vit_small_patch14_{'reg4_' if registers else ''}dinov2",
        img_size=96,
        patch_size=16,
        num_classes=0,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=WIDTH // 64,
    ).eval()
    weights = random_dinov2(WIDTH, DEPTH, registers=registers)
    theirs.load_state_dict(
        timm.models.vision_transformer.checkpoint_filter_fn(dict(weights), theirs)
    )
    base = write_encoder(tmp_path / "dinov2.pth", weights)
    ours = segmenter.load(write(tmp_path, decoder), base=base)
    assert ours.spec.encoder.patch_size == ours.spec.decoder.logits_per_patch_side == 16
    images = F.interpolate(3 * torch.randn(2, 3, 3, 3), (96, 96))
    tokens = theirs._pos_embed(theirs.patch_embed(images))
    features = []
    for index, block in enumerate(theirs.blocks):
        tokens = block(tokens)
        if index in LEVELS:
            features.append(theirs.norm(tokens))
    ((expected_classes, expected_masks),) = Reference(decoder)(features, 6)
    assert isinstance(ours.decoder, PlainMaskDecoder)
    classes, masks = ours.decoder.classified_masks(*ours.encode(images))
    assert (classes - expected_classes).abs().max() < 1e-4
    assert (masks - expected_masks).abs().max() < 1e-4


def test_a_decoder_for_patches_of_another_size_is_refused(
    tmp_path: Path, decoder: dict[str, Tensor], base: Path
) -> None:
    once = {name: each for name, each in decoder.items() if ".upscale.1." not in name}
    with pytest.raises(UserError, match=r"patches of 16 pixels, .* 2 times, .* doubles them 1 t"):
        segmenter.load(write(tmp_path, once), base=base)
    dinov2 = write_encoder(tmp_path / "dinov2.pth", random_dinov2(WIDTH, DEPTH))
    assert segmenter.load(write(tmp_path, once), base=dinov2).spec.encoder.patch_size == 14


@torch.no_grad()
def test_predictions_in_training_equal_those_of_its_forward_pass(
    tmp_path: Path, decoder: dict[str, Tensor], base: Path
) -> None:
    ours = segmenter.load(write(tmp_path, decoder), base=base)
    assert isinstance(ours.decoder, PlainMaskDecoder)
    draws = torch.rand(2, BLOCKS * QUERIES)
    ours.decoder.before_step(0.25)
    ours.decoder.before_pass(lambda count: draws[:, :count])
    assert ours.decoder.annealing is not None
    shares = ours.decoder.annealing.probabilities
    assert 0 < shares[0] < shares[1] == 1
    is_masked = [drawn < share for drawn, share in zip(draws.chunk(BLOCKS, 1), shares, strict=True)]
    images = F.interpolate(3 * torch.randn(2, 3, 3, 3), (96, 96))
    expected = Reference(decoder)(encoder_outputs(images), 6, is_masked)
    _, found = ours.predictions(images)
    assert len(found) == BLOCKS + 1
    for prediction, pair in zip(found, expected, strict=True):
        assert (prediction.classes - pair[0]).abs().max() < 1e-4
        assert (prediction.masks - pair[1]).abs().max() < 1e-4


@pytest.mark.slow
def test_a_converted_model_labels_alike_in_every_runtime(
    tmp_path: Path, decoder: dict[str, Tensor], base: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "model.safetensors"
    assert run("convert", str(write(tmp_path, decoder)), str(out), "--base", str(base)) == 0
    assert "PMT (tue-mps)" in capsys.readouterr().out
    image = torch.randint(0, 256, (70, 120, 3), dtype=torch.uint8).numpy()
    expected = Predictor(out, runtime="torch", short_side=64, window=64, stride=64)(image)
    for runtime in ("openvino", "onnxruntime"):
        predictor = Predictor(
            out, runtime=runtime, precision="float32", short_side=64, window=64, stride=64
        )
        assert (predictor(image) == expected).mean() >= 0.999


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"network.decoder.attn_mask_probs": torch.ones(BLOCKS)}, "middle of its training"),
        ({"network.decoder.class_head.weight": torch.ones(0, WIDTH)}, "is empty"),
        ({"network.decoder.q.weight": torch.ones(3, 64)}, "for an encoder of 64"),
    ],
)
def test_a_decoder_that_does_not_fit_is_refused(
    tmp_path: Path, decoder: dict[str, Tensor], base: Path, changed: Any, problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        segmenter.load(write(tmp_path, decoder | changed), base=base)


def test_a_window_replaces_the_one_that_is_assumed(
    tmp_path: Path, decoder: dict[str, Tensor], base: Path, capsys: pytest.CaptureFixture
) -> None:
    file, out = str(write(tmp_path, decoder)), tmp_path / "model.safetensors"
    convert = ("convert", file, str(out), "--base", str(base), "--overwrite")
    assert run(*convert) == 0
    assert "windows of 640 pixels, 640 apart, are assumed" in capsys.readouterr().out
    assert run(*convert, "--window", "1280") == 0
    assert "assumed" not in capsys.readouterr().out
    protocol = segmenter.load(out).spec.protocol
    assert (protocol.window, protocol.stride, protocol.short_side) == (1280, 1280, 1280)
    for window, problem in (("0", "window: input should be"), ("8", "less than one patch of 16")):
        assert run(*convert, "--window", window) == 2
        said = capsys.readouterr().err
        assert problem in said
        assert said.count("\n") == 1


@pytest.mark.parametrize("num_prefix", [0, 1])
def test_a_checkpoint_with_its_encoders_positions_has_their_image_size(
    tmp_path: Path, decoder: dict[str, Tensor], capsys: pytest.CaptureFixture, num_prefix: int
) -> None:
    base = write_encoder(tmp_path / "dinov2.pth", random_dinov2(WIDTH, DEPTH))
    whole = decoder | {
        "network.encoder.backbone.pos_embed": torch.zeros(1, 20**2 + num_prefix, WIDTH)
    }
    out = tmp_path / "model.safetensors"
    convert = ("convert", str(write(tmp_path, whole)), str(out), "--base", str(base))
    assert run(*convert) == 0
    assert "assumed" not in capsys.readouterr().out
    assert segmenter.load(out).spec.protocol.window == 20 * 16
    assert run(*convert, "--window", "640", "--overwrite") == 2


@pytest.mark.parametrize("shape", [(), (0,), (3,), (1,) * 5])
def test_a_tensor_of_any_other_shape_is_refused(
    tmp_path: Path, decoder: dict[str, Tensor], shape: tuple[int, ...]
) -> None:
    path, base = tmp_path / "decoder.safetensors", tmp_path / "dinov3.safetensors"
    save_file(of_meta(random_dinov3(WIDTH, DEPTH)), base)
    needed = {name: each for name, each in decoder.items() if "attn_mask_probs" not in name}
    for changed in mis_shaped(needed, shape):
        save_file(changed, path)
        with pytest.raises(UserError):
            segmenter.load(path, base=base)


def test_a_missing_tensor_and_a_missing_base_are_named(
    tmp_path: Path, decoder: dict[str, Tensor], base: Path
) -> None:
    without = {name: each for name, each in decoder.items() if ".bn.1." not in name}
    with pytest.raises(UserError, match=r"laterals\.1\.(gain|offset)"):
        segmenter.load(write(tmp_path, without), base=base)
    with pytest.raises(UserError, match=r"holds a decoder \(PMT\).* --base FILE"):
        segmenter.load(write(tmp_path, decoder))
