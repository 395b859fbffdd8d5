"""The packaged recipes say what their authors published; the tables here are the authors'."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from segmenter.data.published import SETS
from segmenter.data.published.open_data import split_name
from segmenter.model import ModelSpec, Segmenter
from segmenter.model.architectures import HALF, IMAGENET, IMAGENET_ROUNDED
from segmenter.model.decoders import EoMTSpec, PlainMaskDecoderSpec
from segmenter.model.protocol import published_protocol
from segmenter.recipe import Recipe, make_recipe, packaged_recipes, read_recipe
from segmenter.recipe.loss import QueryLossRecipe
from segmenter.training.model_spec import build_spec
from segmenter.training.optimizer import learning_rate, make_optimizer
from tests.helpers.command_line import refused, run
from tests.helpers.paths import REPOSITORY
from tests.helpers.published_trees import write_tree
from tests.helpers.skips import NOT_HERE

DOCS = REPOSITORY / "docs"


class Published(NamedTuple):
    """What sets one published system apart."""

    encoder: str
    decoder: str
    mious: tuple[str, str]
    """Slide, and slide with flip (PaddleSeg); single and multi-scale (the paper)."""
    millions: int | None = None
    """Parameters, where they are published; with the classifier of ImageNet."""
    data_set: str = "ade20k"
    crop: int = 512


PADDLESEG = {
    "ade20k-paddleseg-s-linear": Published("small_patch16_384", "linear", ("45.48", "45.69")),
    "ade20k-paddleseg-s-mask": Published("small_patch16_384", "mask", ("45.15", "45.41")),
    "ade20k-paddleseg-b-linear": Published("base_patch16_384", "linear", ("48.13", "48.31")),
    "ade20k-paddleseg-b-mask": Published("base_patch16_384", "mask", ("48.49", "48.61")),
}
LARGE = "large_patch16_384"
PAPER = {
    "ade20k-segmenter-ti-mask": Published("tiny_patch16_384", "mask", ("38.1", "38.8"), 7),
    "ade20k-segmenter-s-mask": Published("small_patch16_384", "mask", ("45.3", "46.9"), 27),
    "ade20k-segmenter-b-mask": Published("base_patch16_384", "mask", ("48.5", "50.0"), 106),
    "ade20k-segmenter-b8-linear": Published("base_patch8_224", "linear", ("49.5", "50.5"), 89),
    "ade20k-segmenter-l-mask": Published(LARGE, "mask", ("51.8", "53.6"), 334, crop=640),
    "pascal-context-segmenter-l-mask": Published(
        LARGE, "mask", ("58.1", "59.0"), 334, "pascal_context", crop=480
    ),
    "cityscapes-segmenter-l-mask": Published(
        LARGE, "mask", ("79.1", "81.3"), 322, "cityscapes", crop=768
    ),
}
DISTILLED = {
    "ade20k-segmenter-deit-b-linear": Published("", "linear", ("47.1", "48.1"), 87),
    "ade20k-segmenter-deit-b-mask": Published("", "mask", ("48.7", "50.1"), 106),
}
DASH = "\N{EN DASH}"
TUE_MPS = {
    "ade20k-eomt-l": Published("large_patch14_reg4_dinov2", "eomt", ("58.4", DASH)),
    "ade20k-eomt-l-dinov3": Published("large_patch16_dinov3", "eomt", ("59.5", DASH)),
    "cityscapes-eomt-l": Published(
        "large_patch14_reg4_dinov2", "eomt", ("84.2", DASH), None, "cityscapes", 1024
    ),
}


def by_lightly_train(size: str, miou: str, data_set: str = "ade20k", crop: int = 512) -> Published:
    return Published(f"{size}_patch16_dinov3", "eomt", (miou, DASH), None, data_set, crop)


LIGHTLY_TRAIN = {
    "ade20k-eomt-s-dinov3": by_lightly_train("small", "46.6"),
    "ade20k-eomt-s-dinov3-taught": by_lightly_train("small", "53.3"),
    "ade20k-eomt-b-dinov3": by_lightly_train("base", "54.4"),
    "cityscapes-eomt-s-dinov3": by_lightly_train("small", "78.6", "cityscapes", 1024),
    "cityscapes-eomt-b-dinov3": by_lightly_train("base", "81.0", "cityscapes", 1024),
    "cityscapes-eomt-l-dinov3": by_lightly_train("large", "84.4", "cityscapes", 1024),
    "coco-stuff-eomt-s-dinov3": by_lightly_train("small", "45.0", "coco_stuff"),
    "coco-stuff-eomt-b-dinov3": by_lightly_train("base", "50.1", "coco_stuff"),
    "coco-stuff-eomt-l-dinov3": by_lightly_train("large", "52.5", "coco_stuff"),
    "coco-stuff-eomt-s-dinov3-patch32": by_lightly_train("small", "42.4", "coco_stuff"),
    "coco-stuff-eomt-b-dinov3-patch32": by_lightly_train("base", "48.3", "coco_stuff"),
    "coco-stuff-eomt-l-dinov3-patch32": by_lightly_train("large", "51.2", "coco_stuff"),
}
EOMT = TUE_MPS | LIGHTLY_TRAIN
PMT = {"ade20k-pmt-l-dinov3": Published("large_patch16_dinov3", "pmt", ("58.5", DASH))}
ALL = PADDLESEG | PAPER | DISTILLED
OF_THE_PAPER = sorted(PAPER | DISTILLED)

EPOCHS = {"ade20k": 64, "pascal_context": 256, "cityscapes": 216}
BATCH = {"ade20k": 8, "pascal_context": 16, "cityscapes": 8}
LR = {"ade20k": 1e-3, "pascal_context": 1e-3, "cityscapes": 1e-2}
SHORT_SIDE_AND_RATIO = {"ade20k": (512, 4), "pascal_context": (520, 8), "cityscapes": (1024, 2)}
STRIDE = {"ade20k": None, "pascal_context": 320, "cityscapes": 512}
ROOTS = {
    "ade20k": "ade20k:data/ADEChallengeData2016",
    "pascal_context": "pascal_context:data/VOCdevkit/VOC2010",
    "cityscapes": "cityscapes:data/cityscapes",
}


@cache
def recipe_of(name: str) -> Recipe:
    return read_recipe(name)


@cache
def spec_of(name: str) -> ModelSpec:
    recipe = recipe_of(name)
    named = split_name(recipe.data.root)
    assert named is not None
    return build_spec(recipe, named[0].classes())


def test_every_published_system_has_a_recipe() -> None:
    of_the_bundled = {"street", "street-class-tokens", "street-linear", "street-tiny"}
    ours = {"finetune", "finetune-unlabelled"} | of_the_bundled
    assert set(packaged_recipes()) == set(ALL | EOMT | PMT) | ours


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_first_lines_hold_the_command_and_the_published_scores(name: str) -> None:
    lines = packaged_recipes()[name].read_text().splitlines()
    head = " ".join(line for line in lines if line.startswith("#"))
    assert lines[0].startswith(f"# segmenter train {name} ")
    first, second = ALL[name].mious
    ways = ("slide", "slide and flip")
    if name in OF_THE_PAPER:
        ways = ("single scale", "multi-scale and flip")
    said = f"Published mIoU: {first} ({ways[0]}), {second} ({ways[1]}). Not measured here."
    assert said in head
    assert recipe_of(name).name == name


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_model_is_the_published_one(name: str) -> None:
    recipe, published = recipe_of(name), ALL[name]
    spec = spec_of(name)
    is_deit = name in DISTILLED
    expected = "deit_base_distilled_patch16_384" if is_deit else f"vit_{published.encoder}"
    assert spec.encoder.architecture == expected
    assert spec.decoder.kind == published.decoder
    grid = published.crop // spec.encoder.patch_size
    assert spec.encoder.table_grid == (grid, grid)
    assert (spec.encoder.layer_norm_eps, spec.encoder.drop_path) == (1e-5, 0.1)
    assert spec.normalization == (IMAGENET_ROUNDED if is_deit else HALF)
    tag = "fb_in1k" if is_deit else "augreg_in21k_ft_in1k"
    assert recipe.model.weights == f"timm:{expected}.{tag}"
    is_paddleseg = name in PADDLESEG
    assert spec.size_policy == ("stretch" if is_paddleseg else "pad-crop")
    assert spec.encoder.table_resize == ("bicubic" if is_paddleseg else "bilinear")
    if spec.decoder.kind == "mask":
        decoder = spec.decoder
        assert (decoder.dim, decoder.layer_norm_eps) == (spec.encoder.embed_dim, 1e-5)
        assert decoder.depth == (1 if published.data_set == "cityscapes" else 2)
        details = (decoder.qkv_bias, decoder.drop_path, decoder.dropout, decoder.projection_init)
        assert details == (
            (False, 0.1, 0.0, "truncated-normal")
            if is_paddleseg
            else (True, 0.0, 0.1, "scaled-normal")
        )


@pytest.mark.parametrize("name", EOMT | PMT)
def test_an_eomt_or_pmt_has_the_published_settings(name: str) -> None:
    recipe, spec, published = recipe_of(name), spec_of(name), (EOMT | PMT)[name]
    head = [line for line in packaged_recipes()[name].read_text().splitlines() if line[0] == "#"]
    assert head[0] == f"# segmenter train {name} --device cuda"
    assert f"# Published mIoU: {published.mious[0]} (single scale). Not measured here." in head
    assert any(line.startswith("# Hardware: ") for line in head)
    assert spec.encoder.architecture == f"vit_{published.encoder}"
    patch = 32 if name.endswith("patch32") else 16
    assert (spec.encoder.patch_size, spec.encoder.num_prefix_tokens) == (patch, 5)
    grid = published.crop // 16
    assert spec.encoder.table_grid == (None if "dinov3" in name else (grid, grid))
    is_of_lightly = name in LIGHTLY_TRAIN
    queries = 200 if is_of_lightly and published.data_set != "ade20k" else 100
    blocks = 4 if "-l" in name else 3
    if name in PMT:
        expected = PlainMaskDecoderSpec(queries=100, blocks=6, features=4, doublings=2, cells=16)
        assert (spec.decoder, recipe.optimizer.frozen_blocks) == (expected, "all")
    else:
        assert spec.decoder == EoMTSpec(queries=queries, blocks=blocks, doublings=2, cells=patch)
    assert spec.normalization == IMAGENET
    assert recipe.loss.queries == QueryLossRecipe(ignored_pixels="negative")
    assert recipe.schedule.steps == steps_of_eomt(name, published.data_set)
    assert recipe.batch_size == 16
    assert (recipe.optimizer.weight_decay, recipe.optimizer.clip_grad_norm) == (0.05, 0.01)
    expected = published_protocol("eomt", window=published.crop, short_side=published.crop)
    assert spec.protocol == expected.model_copy(update={"max_ratio": spec.protocol.max_ratio})


def steps_of_eomt(name: str, data_set: str) -> int:
    """The steps that the source gives, or those of its epochs."""
    if name in LIGHTLY_TRAIN and data_set == "ade20k":
        return 40_000
    epochs = {"ade20k": 16 if "dinov3" in name else 31, "cityscapes": 107, "coco_stuff": 12}
    return SETS[data_set].counts["train"] // 16 * epochs[data_set]


def test_the_taught_eomt_learns_the_labels_of_a_larger_one() -> None:
    taught, plain = (recipe_of(f"ade20k-eomt-s-dinov3{end}") for end in ("-taught", ""))
    teacher = taught.loss.teacher
    assert teacher is not None
    assert (teacher.targets, teacher.is_average) == ("labels", False)
    assert teacher.unlabelled
    without = taught.loss.model_copy(update={"teacher": None})
    assert without == plain.loss
    assert taught.model == plain.model


@pytest.mark.parametrize("name", [name for name in OF_THE_PAPER if ALL[name].millions])
def test_the_number_of_parameters_is_the_published_one(name: str) -> None:
    spec = spec_of(name)
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in Segmenter(spec).parameters())
    with_classifier = count + 1000 * (spec.encoder.embed_dim + 1)
    # Tight enough for the blocks of the mask transformer: one is 3.8 % of Seg-L.
    assert with_classifier / 1e6 == pytest.approx(ALL[name].millions, rel=0.03)


@pytest.mark.parametrize("name", sorted(ALL | EOMT | PMT))
def test_timm_has_the_weights(name: str) -> None:
    timm = pytest.importorskip("timm")
    weights = recipe_of(name).model.weights or ""
    assert timm.get_pretrained_cfg(weights.removeprefix("timm:")).hf_hub_id


@pytest.mark.parametrize("name", sorted(ALL))
def test_optimiser_and_schedule_are_the_published_ones(name: str) -> None:
    recipe, data_set = recipe_of(name), ALL[name].data_set
    spec = spec_of(name)
    with torch.device("meta"):
        optimizer = make_optimizer(Segmenter(spec), recipe.optimizer)
    assert isinstance(optimizer, torch.optim.SGD)
    is_paddleseg = name in PADDLESEG
    for group in optimizer.param_groups:
        used = (group["momentum"], group["nesterov"], group["weight_decay"], group["lr_factor"])
        assert used == (0.9, not is_paddleseg, 0.0, 1.0)
    assert recipe.optimizer.clip_grad_norm is None
    images = SETS[data_set].counts["train"]
    steps = -(-images // BATCH[data_set]) * EPOCHS[data_set]
    if is_paddleseg:
        steps = 160_000
    lr, batch = LR[data_set], BATCH[data_set]
    assert (recipe.schedule.steps, recipe.batch_size) == (steps, batch)
    for step in (0, 1, steps // 2, steps - 1):
        rate = (lr - 1e-5) * (1 - step / steps) ** 0.9 + 1e-5
        assert learning_rate(recipe.optimizer.lr, recipe.schedule, step) == pytest.approx(rate)
    assert (recipe.precision, recipe.ema_decay, recipe.loss.average) == (
        "float32",
        0.0,
        "labelled",
    )


@pytest.mark.parametrize("name", sorted(ALL))
def test_crops_are_the_published_ones(name: str) -> None:
    recipe, published = recipe_of(name), ALL[name]
    augment = recipe.augment
    assert recipe.data.root == ROOTS[published.data_set]
    assert (augment.crop_size, augment.scale, augment.flip) == (published.crop, (0.5, 2.0), 0.5)
    assert augment.rare_class_crops == 0
    rest = (augment.scale_draw, augment.max_class_share, augment.color, augment.pad_value)
    if name in PADDLESEG:
        assert rest == ("quarters", 1.0, "paddleseg", "grey")
        assert augment.scale_base is None
    else:
        short_side, ratio = SHORT_SIDE_AND_RATIO[published.data_set]
        assert rest == ("uniform", 0.75, "segmenter", "mean")
        assert augment.scale_base == (640 if published.crop == 640 else short_side)
        assert augment.max_ratio == ratio


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_protocol_is_the_published_one(name: str) -> None:
    published = ALL[name]
    protocol = spec_of(name).protocol
    short_side, ratio = SHORT_SIDE_AND_RATIO[published.data_set]
    stride = STRIDE[published.data_set] or published.crop
    sizes = (protocol.short_side, protocol.window, protocol.stride)
    assert sizes == (short_side, published.crop, stride)
    if name in PADDLESEG:
        assert (protocol.name, protocol.resize_dtype, protocol.average) == (
            "paddleseg",
            "float32",
            "logits",
        )
    else:
        assert (protocol.name, protocol.max_ratio) == ("segmenter", ratio)
        assert (protocol.small_image, protocol.average) == ("enlarge", "probabilities")


@pytest.mark.parametrize("name", ["ade20k-paddleseg-s-mask", "cityscapes-segmenter-l-mask"])
def test_a_published_recipe_trains_on_its_data_set(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data_set = ALL[name].data_set
    write_tree(data_set, Path(ROOTS[data_set].partition(":")[2]), values=[7, 8, 11])
    tiny = "--model.weights null --model.encoder vit_tiny_patch16_224 --model.encoder_depth 1"
    tiny += " --model.decoder.dim 64 --model.position_grid 2 --augment.crop_size 32"
    sizes = "--protocol.short_side 32 --protocol.window 32 --protocol.stride 32"
    few = "--schedule.steps 2 --batch_size 2 --workers 0"
    assert run("train", name, *f"{tiny} {sizes} {few}".split()) == 0
    assert (tmp_path / "runs" / name / "last.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cityscapes-eomt-l", "ade20k-pmt-l-dinov3"])
def test_a_published_eomt_or_pmt_trains_and_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    root = recipe_of(name).data.root
    data_set, _, folder = root.partition(":")
    write_tree(data_set, Path(folder), values=[7, 8, 11])
    tiny = "--model.weights null --model.encoder vit_tiny_patch16_224 --model.encoder_depth 2"
    tiny += " --model.decoder.blocks 1 --model.position_grid 2 --augment.crop_size 32"
    tiny += " --model.decoder.queries 20 --loss.queries.points 50 --precision float32"
    tiny += " --model.decoder.features 2" if "pmt" in name else ""
    sizes = "--protocol.short_side 32 --protocol.window 32 --protocol.stride 32"
    few = "--schedule.steps 6 --schedule.warmup_steps 1 --schedule.encoder_warmup_steps 2"
    few += " --batch_size 2 --workers 0"
    assert run("train", name, *f"{tiny} {sizes} {few}".split()) == 0
    model = f"runs/{name}/last.safetensors"
    assert run("evaluate", model, root) == 0
    images = f"{folder}/leftImg8bit/val" if data_set == "cityscapes" else f"{folder}/images"
    assert run("predict", images, "--model", model, "--out", "out") == 0
    assert run("export", model, "model.onnx") == 0


@pytest.mark.skipif(not DOCS.is_dir(), reason=f"{NOT_HERE}: the repository")
def test_the_page_on_recipes_lists_each_with_its_scores_and_its_example_is_a_recipe() -> None:
    page = (DOCS / "reference/recipes.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    for name, published in (ALL | EOMT).items():
        row = next(row for row in rows if row.startswith(f"| `{name}` |"))
        assert row.endswith(f"| {published.mious[0]} | {published.mious[1]} |")
        recipe = recipe_of(name)
        assert f"| {recipe.schedule.steps:,} x {recipe.batch_size} |" in row
    example = re.search(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    assert example is not None
    assert make_recipe(yaml.safe_load(example[1]), "docs").model.decoder.kind == "mask"


def test_an_unknown_recipe_is_answered_with_all_names(capsys: pytest.CaptureFixture) -> None:
    error = refused(capsys, "train", "ade20k-segmenter-b-maks")
    assert "did you mean 'ade20k-segmenter-b-mask'?" in error
    assert all(name in error for name in ALL)
