"""Linear heads of DINOv2 and DINOv3 give the outputs of their code, written anew."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

import segmenter
from segmenter import UserError
from segmenter.inference import Predictor
from tests.helpers.command_line import run
from tests.helpers.dino import of_meta, random_dinov2, random_dinov3, write_encoder

WIDTH, CLASSES = 128, 9
NORM, LAYER = "decode_head.bn", "decode_head.conv_seg"
pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers


def random_head(blocks: int = 1, norm: str = NORM, layer: str = LAYER) -> dict[str, Tensor]:
    torch.manual_seed(4)
    channels = blocks * WIDTH
    return {
        f"{norm}.weight": torch.rand(channels) + 0.5,
        f"{norm}.bias": torch.randn(channels),
        f"{norm}.running_mean": torch.randn(channels),
        f"{norm}.running_var": torch.rand(channels) + 0.5,
        f"{norm}.num_batches_tracked": torch.tensor(7),
        f"{layer}.weight": torch.randn(CLASSES, channels, 1, 1),
        f"{layer}.bias": torch.randn(CLASSES),
    }


def write(folder: Path, tensors: dict[str, Any], key: str = "state_dict") -> Path:
    path = folder / "head.pth"
    torch.save({key: tensors, "meta": {}}, path)
    return path


def positions(weights: dict[str, Tensor], grid: tuple[int, ...]) -> Tensor:
    """`interpolate_pos_encoding` of DINOv2 as its hub builds it."""
    of_class, table = weights["pos_embed"].split([1, 16], dim=1)
    if grid == (4, 4):
        return weights["pos_embed"]
    table = table.transpose(1, 2).unflatten(2, (4, 4))
    if "register_tokens" in weights:
        table = F.interpolate(table, grid, mode="bicubic", antialias=True)
    else:
        factors = [(side + 0.1) / 4 for side in grid]
        table = F.interpolate(table, scale_factor=factors, mode="bicubic")
    return torch.cat([of_class, table.flatten(2).transpose(1, 2)], dim=1)


def dinov2_features(weights: dict[str, Tensor], images: Tensor, last: int) -> list[Tensor]:
    """`get_intermediate_layers(n=last, reshape=True, norm=True)` of DINOv2."""

    def linear(name: str, tokens: Tensor) -> Tensor:
        return F.linear(tokens, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, tokens: Tensor) -> Tensor:
        return F.layer_norm(
            tokens, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6
        )

    patches = F.conv2d(
        images, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=14
    )
    grid = patches.shape[2:]
    tokens = patches.flatten(2).transpose(1, 2)
    first = weights["cls_token"].expand(len(images), -1, -1)
    tokens = torch.cat([first, tokens], dim=1) + positions(weights, grid)
    num_prefix = 1
    if "register_tokens" in weights:
        registers = weights["register_tokens"].expand(len(images), -1, -1)
        tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], dim=1)
        num_prefix += registers.shape[1]
    outputs = []
    depth = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
    for block in range(depth):
        start = f"blocks.{block}."
        qkv = linear(f"{start}attn.qkv", norm(f"{start}norm1", tokens))
        query, key, value = qkv.unflatten(2, (3, -1, 64)).permute(2, 0, 3, 1, 4)
        attended = (query @ key.transpose(-2, -1) / math.sqrt(64)).softmax(dim=-1) @ value
        attended = linear(f"{start}attn.proj", attended.transpose(1, 2).flatten(2))
        tokens = tokens + attended * weights[f"{start}ls1.gamma"]
        hidden = F.gelu(linear(f"{start}mlp.fc1", norm(f"{start}norm2", tokens)))
        tokens = tokens + linear(f"{start}mlp.fc2", hidden) * weights[f"{start}ls2.gamma"]
        outputs.append(norm("norm", tokens)[:, num_prefix:].transpose(1, 2).unflatten(2, grid))
    return outputs[-last:]


def head_logits(head: dict[str, Tensor], features: list[Tensor], size: tuple[int, int]) -> Tensor:
    """`BNHead.forward`, and the resize of mmseg's `encode_decode`."""
    found = F.batch_norm(
        torch.cat(features, dim=1),
        head[f"{NORM}.running_mean"],
        head[f"{NORM}.running_var"],
        head[f"{NORM}.weight"],
        head[f"{NORM}.bias"],
    )
    logits = F.conv2d(found, head[f"{LAYER}.weight"], head[f"{LAYER}.bias"])
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)


@torch.inference_mode()
@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("registers", [False, True])
@pytest.mark.parametrize("size", [(56, 56), (50, 53), (56, 83), (140, 30)])
def test_logits_equal_those_of_dinov2(
    tmp_path: Path, blocks: int, registers: bool, size: tuple[int, int]
) -> None:
    weights, head = random_dinov2(registers=registers), random_head(blocks)
    base = write_encoder(tmp_path / "dinov2.pth", weights)
    model = segmenter.load(write(tmp_path, head), base=base)
    images = torch.randn(2, 3, *size)
    down, right = (-side % 14 for side in size)  # its CenterPadding
    padded = F.pad(images, (right // 2, right - right // 2, down // 2, down - down // 2))
    expected = head_logits(head, dinov2_features(weights, padded, blocks), size)
    logits = model(images)
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (logits.argmax(dim=1) == expected.argmax(dim=1)).float().mean() >= 0.9999
    assert model.spec.license == "Apache-2.0"


def of_dinov3(head: dict[str, Tensor], start: str = "") -> dict[str, Tensor]:
    """The tensors of a head by the names of DINOv3's code."""
    return {
        name.replace(NORM, f"{start}batchnorm_layer").replace(LAYER, f"{start}conv"): each
        for name, each in head.items()
    }


@torch.inference_mode()
@pytest.mark.parametrize("start", ["", "segmentation_model.1."])
def test_logits_equal_those_of_dinov3(tmp_path: Path, start: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.DINOv3ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=2 * WIDTH,
        num_register_tokens=4,
    )
    encoder = transformers.DINOv3ViTModel(config).eval()
    state = random_dinov3(WIDTH, 3)
    encoder.load_state_dict(
        {
            f"model.{name}" if name.startswith("layer.") else name: each
            for name, each in state.items()
        }
    )
    head = random_head()
    base = write_encoder(tmp_path / "dinov3.pth", of_meta(state))
    model = segmenter.load(write(tmp_path, of_dinov3(head, start), "model"), base=base)
    images = F.interpolate(2 * torch.randn(1, 3, 4, 6), (64, 96))
    features = encoder(pixel_values=images).last_hidden_state[:, 5:]
    features = features.transpose(1, 2).unflatten(2, (4, 6))
    expected = head_logits(head, [features], (64, 96))
    assert (model(images) - expected).abs().max() < 1e-4 * expected.abs().max()
    assert model.spec.license.startswith("DINOv3 License")


@torch.inference_mode()
@pytest.mark.parametrize("blocks", [1, 2])
def test_labels_equal_those_of_the_windows_of_dinov3(tmp_path: Path, blocks: int) -> None:
    base = write_encoder(tmp_path / "dinov3.pth", of_meta(random_dinov3(WIDTH, 3)))
    head = write(tmp_path, of_dinov3(random_head(blocks), "segmentation_model.1."), "model")
    model = segmenter.load(head, base=base)
    protocol = model.spec.protocol
    assert (protocol.short_side, protocol.window, protocol.stride) == (512, 512, 341)
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 256, (160, 250, 3), dtype=np.uint8))
    resized = np.asarray(image.resize((100, 64), Image.Resampling.BILINEAR))  # `FixedSideResize`
    images = model.normalize(torch.from_numpy(resized.copy()).permute(2, 0, 1)[None])
    sums, counts = torch.zeros(1, CLASSES, 64, 100), torch.zeros(100)
    for start in (0, 36):  # `slide_inference`, the second moved back from 42
        sums[..., start : start + 64] += model(images[..., start : start + 64])
        counts[start : start + 64] += 1
    expected = F.interpolate(sums / counts, (160, 250), mode="bilinear").argmax(dim=1)[0]
    small = protocol.model_copy(update={"short_side": 64, "window": 64, "stride": 42})
    labels = Predictor(model, protocol=small)(np.asarray(image))
    assert (torch.from_numpy(labels) == expected).float().mean() >= 0.9999


@pytest.mark.slow
def test_a_converted_head_labels_alike_in_every_runtime(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    base = write_encoder(tmp_path / "dinov2.pth", random_dinov2())
    out = tmp_path / "model.safetensors"
    assert run("convert", str(write(tmp_path, random_head(2))), str(out), "--base", str(base)) == 0
    said = capsys.readouterr().out
    assert "linear head of DINOv2" in said
    assert "windows of 640 pixels, 320 apart, are assumed" in said
    image = torch.randint(0, 256, (60, 75, 3), dtype=torch.uint8).numpy()
    protocol = segmenter.load(out).spec.protocol
    for window in (51, 75):  # the second resizes the positions
        changed = {"short_side": 80, "window": window, "stride": 40}
        protocol = protocol.model_copy(update=changed)
        expected = Predictor(out, runtime="torch", protocol=protocol)(image)
        for runtime in ("openvino", "onnxruntime"):
            found = Predictor(out, runtime=runtime, precision="float32", protocol=protocol)(image)
            assert (found == expected).mean() >= 0.999


@pytest.mark.parametrize(("blocks", "stride"), [(1, 266), (2, 200)])
def test_a_window_replaces_the_one_that_is_assumed(
    tmp_path: Path, capsys: pytest.CaptureFixture, blocks: int, stride: int
) -> None:
    base = write_encoder(tmp_path / "dinov2.pth", random_dinov2())
    head, out = write(tmp_path, random_head(blocks)), tmp_path / "model.safetensors"
    given = ("convert", str(head), str(out), "--base", str(base), "--window", "400")
    assert run(*given) == 0
    assert "assumed" not in capsys.readouterr().out
    protocol = segmenter.load(out).spec.protocol
    assert (protocol.short_side, protocol.window, protocol.stride) == (400, 400, stride)


def test_what_is_not_used_of_a_head_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    base = write_encoder(tmp_path / "dinov2.pth", random_dinov2())
    head = random_head() | {"auxiliary_head.conv_seg.weight": torch.ones(CLASSES, WIDTH, 1, 1)}
    given = ("convert", str(write(tmp_path, head)), str(tmp_path / "model.safetensors"))
    assert run(*given, "--base", str(base)) == 0
    assert (
        "2 dropped: decode_head.bn.num_batches_tracked, auxiliary_head" in capsys.readouterr().out
    )


def test_a_head_without_its_encoder_or_for_another_is_refused(tmp_path: Path) -> None:
    head = write(tmp_path, random_head())
    with pytest.raises(UserError, match=r"holds a linear head, and not its encoder.* --base FILE"):
        segmenter.load(head)
    base = write_encoder(tmp_path / "dinov2.pth", random_dinov2(192))
    with pytest.raises(UserError, match=r"blocks of 192 channels, and the head .* takes 128"):
        segmenter.load(head, base=base)
    whole = random_dinov2() | {"norm.bias": torch.ones(WIDTH, dtype=torch.int8)}
    with pytest.raises(UserError, match=r"encoder\.norm\.bias is of torch\.int8"):
        segmenter.load(head, base=write_encoder(tmp_path / "quantised.pth", whole))
    damaged = random_head() | {f"{NORM}.running_mean": torch.zeros(5)}
    base = write_encoder(tmp_path / "dinov2.pth", random_dinov2())
    with pytest.raises(UserError, match=r"norm\.running_mean has another shape"):
        segmenter.load(write(tmp_path, damaged), base=base)
