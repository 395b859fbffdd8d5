"""Configs of PaddleSeg and the paper's code become recipes, and nothing is lost in silence."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from segmenter.recipe import Recipe, read_recipe
from tests.helpers.command_line import refused, run
from tests.helpers.paths import GOLDEN

# PaddleSeg's published configs, as its table of training settings has them.
BASE = """
batch_size: 4
iters: 80000
train_dataset:
  type: ADE20K
  dataset_root: data/ADEChallengeData2016/
  mode: train
  transforms:
    - {type: ResizeStepScaling, min_scale_factor: 0.5, max_scale_factor: 2.0, scale_step_size: 0.25}
    - {type: RandomPaddingCrop, crop_size: [512, 512]}
    - {type: RandomHorizontalFlip}
    - {type: RandomDistort, brightness_range: 0.4, contrast_range: 0.4, saturation_range: 0.4}
    - {type: Normalize}
val_dataset:
  type: ADE20K
  dataset_root: data/ADEChallengeData2016/
  transforms: [{type: Normalize}]
  mode: val
optimizer: {type: SGD, momentum: 0.9, weight_decay: 4.0e-5}
lr_scheduler: {type: PolynomialDecay, learning_rate: 0.01, end_lr: 0, power: 0.9}
loss: {types: [{type: CrossEntropyLoss}], coef: [1]}
"""
LINEAR = """
_base_: ../_base_/ade20k.yml
batch_size: 2
iters: 160000
model:
  type: LinearSegmenter
  backbone:
    {type: VisionTransformer, img_size: 512, patch_size: 16, embed_dim: WIDTH, depth: 12,
     num_heads: HEADS, mlp_ratio: 4, qkv_bias: True, drop_rate: 0.0, drop_path_rate: 0.1,
     final_norm: True, pretrained: "https://example.org/vit_SIZE_patch16_384_augreg.tar.gz"}
val_dataset:
  transforms: [{type: ResizeByShort, short_size: 512}, {type: Normalize}]
optimizer: {weight_decay: 0.0}
lr_scheduler: {learning_rate: 0.001, end_lr: 1.0e-05}
test_config: {is_slide: True, crop_size: [512, 512], stride: [512, 512]}
"""
MASK = """
_base_: [linear.yml]
model:
  {type: MaskSegmenter, h_embed_dim: WIDTH, h_depth: 2, h_num_heads: HEADS, h_mlp_ratio: 4,
   h_drop_rate: 0.0, h_drop_path_rate: 0.1}
"""
SIZES = {"s": ("small", "384", "6"), "b": ("base", "768", "12")}
FREE = {"name", "provenance", "license", "workers", "log_every", "evaluate_every", "save_every"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with PaddleSeg's ViT-B configs in `segmenter/`."""
    monkeypatch.chdir(tmp_path)
    write_configs("b")
    return tmp_path


def write_configs(size: str) -> None:
    name, width, heads = SIZES[size]
    texts = {"_base_/ade20k.yml": BASE, "segmenter/linear.yml": LINEAR, "segmenter/mask.yml": MASK}
    for path, text in texts.items():
        Path(path).parent.mkdir(exist_ok=True)
        text = text.replace("SIZE", name).replace("WIDTH", width).replace("HEADS", heads)
        Path(path).write_text(text)


def change(path: str, **changes: Any) -> None:
    """Set keys of a config; `a__b` is a key in a section."""
    content = yaml.safe_load(Path(path).read_text())
    for name, value in changes.items():
        *sections, key = name.split("__")
        section = content
        for each in sections:
            section = section.setdefault(each, {})
        section[key] = value
    Path(path).write_text(yaml.safe_dump(content))


def what_matters(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(exclude=FREE)


@pytest.mark.parametrize("decoder", ["linear", "mask"])
@pytest.mark.parametrize("size", ["s", "b"])
def test_paddlesegs_published_configs_become_the_packaged_recipes(
    size: str,
    decoder: str,
    here: Path,  # noqa: ARG001
    capsys: pytest.CaptureFixture,
) -> None:
    write_configs(size)
    assert run("convert", f"segmenter/{decoder}.yml", "mine.yaml", "--gpus", "4") == 0
    packaged = read_recipe(f"ade20k-paddleseg-{size}-{decoder}")
    assert what_matters(read_recipe("mine.yaml")) == what_matters(packaged)
    said = capsys.readouterr().out
    assert "batch_size: 2 -> batch_size, times 4 (GPUs)" in said
    assert "optimizer.weight_decay: 0.0 -> optimizer.weight_decay" in said
    assert said.endswith("no counterpart: nothing\nwritten: mine.yaml\n")


VARIANT = """
algorithm_kwargs: {batch_size: 1, eval_freq: 8, num_epochs: 256, start_epoch: 0}
amp: false
dataset_kwargs: {batch_size: 1, crop_size: 480, dataset: pascal_context, image_size: 520,
  normalization: vit, num_workers: 10, split: train}
inference_kwargs: {im_size: 520, window_size: 480, window_stride: 320}
log_dir: seg_large
net_kwargs:
  backbone: vit_large_patch16_384
  d_model: 1024
  decoder: {drop_path_rate: 0.0, dropout: 0.1, n_layers: 2, name: mask_transformer}
  drop_path_rate: 0.1
  dropout: 0.0
  image_size: !!python/tuple [480, 480]
  n_cls: 60
  n_heads: 16
  n_layers: 24
  normalization: vit
  patch_size: 16
optimizer_kwargs: {clip_grad: null, epochs: 256, lr: 0.001, min_lr: 1.0e-05, momentum: 0.9,
  opt: sgd, poly_power: 0.9, poly_step_size: 1, sched: polynomial, weight_decay: 0.0}
resume: true
version: normal
world_batch_size: 16
"""


def test_the_papers_variant_becomes_the_packaged_recipe(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    (here / "variant.yml").write_text(VARIANT)
    assert run("convert", "variant.yml", "mine.yaml") == 0
    recipe, packaged = read_recipe("mine.yaml"), read_recipe("pascal-context-segmenter-l-mask")
    assert what_matters(recipe) == what_matters(packaged)
    assert recipe.evaluate_every == packaged.evaluate_every
    said = capsys.readouterr().out
    assert "net_kwargs.image_size: [480, 480] -> model.position_grid" in said
    assert "no counterpart\n  algorithm_kwargs.batch_size: 1\n" in said
    assert "  log_dir: seg_large\n" in said
    linear = VARIANT.replace("name: mask_transformer", "name: linear")
    distilled = linear.replace("vit_large_patch16_384", "deit_base_distilled_patch16_384")
    distilled = distilled.replace("1024", "768").replace(
        "normalization: vit", "normalization: deit"
    )
    (here / "deit.yml").write_text(distilled)
    assert run("convert", "deit.yml", "deit.yaml") == 0
    model = read_recipe("deit.yaml").model
    assert model.weights == "timm:deit_base_distilled_patch16_384.fb_in1k"
    assert (model.normalization, model.decoder.kind) == ("imagenet-rounded", "linear")
    assert model.encoder_depth is None


@pytest.mark.usefixtures("here")
def test_what_has_no_counterpart_is_named_with_its_value_and_kept_in_the_recipe(
    capsys: pytest.CaptureFixture,
) -> None:
    change(
        "segmenter/linear.yml",
        model__backbone__qkv_bias=False,
        optimizer__backbone_lr_mult=0.1,
        lr_scheduler__warmup_iters=1500,
        lr_scheduler__warmup_start_lr=1e-6,
        test_config__stride=[341, 341],
        to_static_training=True,
    )
    assert run("convert", "segmenter/linear.yml", "mine.yaml") == 0
    said = capsys.readouterr().out
    expected = (
        "  model.backbone.qkv_bias: false (here: true)",
        "  lr_scheduler.warmup_start_lr: 1.0e-06 (here: 0)",
        "  optimizer.backbone_lr_mult: 0.1",
        "  to_static_training: true",
    )
    for line in expected:
        assert line + "\n" in said.partition("no counterpart\n")[2]
        assert f"# {line}\n" in Path("mine.yaml").read_text()
    assert "note: batch_size is that of one GPU; give their number with --gpus N" in said
    recipe = read_recipe("mine.yaml")
    assert (recipe.batch_size, recipe.schedule.warmup_steps, recipe.protocol.stride) == (
        2,
        1500,
        341,
    )


@pytest.mark.usefixtures("here")
def test_paddlesegs_defaults_count_where_a_key_is_missing(capsys: pytest.CaptureFixture) -> None:
    crops = {"type": "RandomPaddingCrop", "crop_size": [256, 256]}
    distort = {"type": "RandomDistort", "hue_range": 10}
    change("segmenter/linear.yml", model__backbone={"type": "VisionTransformer"})
    mirror = {"type": "RandomVerticalFlip"}
    change("segmenter/linear.yml", train_dataset={"transforms": [crops, mirror, distort]})
    change("segmenter/linear.yml", model__type="LinearSegmenter")
    assert run("convert", "segmenter/linear.yml", "mine.yaml") == 0
    model, augment = read_recipe("mine.yaml").model, read_recipe("mine.yaml").augment
    assert (model.encoder, model.weights, model.drop_path) == ("vit_base_patch16_384", None, 0.0)
    assert (augment.scale, augment.flip, augment.color) == ((1.0, 1.0), 0.0, "paddleseg")
    assert augment.flip_vertical == 0.1
    said = capsys.readouterr().out
    for line in (
        "model.backbone.qkv_bias: false, by default (here: true)",
        "train_dataset.transforms.RandomDistort.brightness_range: 0.5, by default (here: 0.4)",
        "train_dataset.transforms.RandomDistort.hue_range: 10 (here: 18)",
    ):
        assert f"  {line}\n" in said


@pytest.mark.usefixtures("here")
def test_a_key_wins_over_its_base_and_a_section_that_does_not_inherit_drops_it() -> None:
    Path("segmenter/more.yml").write_text("iters: 7\nbatch_size: 9\nmodel: {other: 1}\n")
    change("segmenter/mask.yml", _base_=["linear.yml", "more.yml"])
    schedule = {"_inherited_": False, "type": "PolynomialDecay", "learning_rate": 0.5}
    change("segmenter/mask.yml", lr_scheduler=schedule)
    assert run("convert", "segmenter/mask.yml", "mine.yaml") == 0
    recipe = read_recipe("mine.yaml")
    assert (recipe.schedule.steps, recipe.batch_size) == (160_000, 2), "the first base wins"
    assert (recipe.optimizer.lr, recipe.schedule.final_lr) == (0.5, 0.0)


@pytest.mark.usefixtures("here")
def test_a_folder_with_lists_of_files_is_named_by_its_lists() -> None:
    lists = {"type": "Dataset", "dataset_root": "my/data", "num_classes": 4}
    train = lists | {"train_path": "my/data/train_list.txt"}
    change("_base_/ade20k.yml", **{f"train_dataset__{key}": value for key, value in train.items()})
    val = lists | {"val_path": "my/data/val_list.txt"}
    change("_base_/ade20k.yml", **{f"val_dataset__{key}": value for key, value in val.items()})
    assert run("convert", "segmenter/mask.yml", "mine.yaml") == 0
    data = read_recipe("mine.yaml").data
    assert (data.root, data.train, data.val) == ("my/data", ("train_list",), "val_list")


def bomb() -> str:
    lines = ["a0: &a0 {x: 1, y: 2, z: 3}"]
    lines += [
        f"a{i}: &a{i} {{{', '.join(f'k{j}: *a{i - 1}' for j in range(9))}}}" for i in range(1, 10)
    ]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "line 1"),
        ("- 1", "is not a config: it holds no `key: value` lines"),
        ("model: 3", "is neither a config of PaddleSeg (with model and train_dataset) nor a"),
        ("x" * (1 << 20 | 1), "larger than"),
        ("\n".join(["a: &x [1]"] + [f"b{i}: *x" for i in range(200)]), "aliases"),
        (bomb(), "more than 10000 values"),
        ("a: &a [*a]", "more than 10000 values"),
        ("a: !!python/object/apply:os.system ['true']", "a tag (!...) that is not read"),
        ("a: !!python/name:os.system", "a tag (!...) that is not read"),
        ("_base_: absent.yml", "_base_ 'absent.yml' is missing: no such file"),
        ("_base_: bad.yml", "_base_ leads back to the file itself: bad.yml -> bad.yml"),
        ("_base_: /etc/passwd", "_base_ '/etc/passwd' is refused: it must be a path relative"),
        ("_base_: /etc/x.yml", "is refused"),
        ("_base_: ../../secret.txt", "is refused"),
        ('_base_: "a\\0b.yml"', "is missing"),
        (f"_base_: {'a' * 5000}.yml", "is missing"),
        ("_base_: [{a: 1}]", "_base_ is a file name or a list of them"),
        ("_base_: 3", "_base_ is a file name or a list of them"),
        ("_base_: [segmenter/linear.yml]\nmodel: {type: BiSeNetV2}", "model.type is BiSeNetV2"),
        ("_base_: [segmenter/linear.yml]\nmodel: {type: [1]}", "known: LinearSegmenter, MaskS"),
        ("_base_: [segmenter/linear.yml]\niters: many", "iters must be a whole number"),
        ("_base_: [segmenter/linear.yml]\niters: true", "iters must be a whole number"),
        ("_base_: [segmenter/linear.yml]\noptimizer: {type: Lamb}", "known: sgd, SGD, adamw"),
        (
            "_base_: [segmenter/linear.yml]\noptimizer: {momentum: fast}",
            "optimizer.momentum: must be a number",
        ),
        (
            "_base_: [segmenter/linear.yml]\nmodel: {backbone: {embed_dim: 100}}",
            "model.backbone is 100 wide and 12 blocks deep with patches of 16",
        ),
        ("_base_: [segmenter/linear.yml]\ntrain_dataset: {transforms: []}", "no RandomPaddingCrop"),
        (
            "_base_: [segmenter/linear.yml]\ntest_config: {crop_size: [1024, 512]}",
            "test_config.crop_size must be two equal sides",
        ),
        ("_base_: variant.yml\nnet_kwargs: {backbone: resnet}", "net_kwargs.backbone is resnet"),
        ("_base_: variant.yml\nnet_kwargs: {image_size: 1}", "must be two equal whole numbers"),
    ],
)
def test_a_config_that_cannot_be_read_is_answered_in_one_line_and_nothing_is_written(
    text: str, message: str, here: Path, capsys: pytest.CaptureFixture
) -> None:
    (here / "variant.yml").write_text(VARIANT)
    (here / "bad.yml").write_text(text)
    for name in ("linear.yml", "mask.yml"):
        change(f"segmenter/{name}")
    assert message in refused(capsys, "convert", "bad.yml", "mine.yaml")
    assert not (here / "mine.yaml").exists()


def test_bases_that_double_at_each_level_are_refused(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    (here / "0.yml").write_text("a: 1")
    for level in range(1, 20):
        (here / f"{level}.yml").write_text(f"_base_: [{level - 1}.yml, {level - 1}.yml]")
    assert "more than 32 files" in refused(capsys, "convert", "19.yml", "mine.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("segmenter/mask.yml segmenter/linear.yml", "segmenter/linear.yml exists"),
        ("absent.yml mine.yaml", "no such checkpoint or config: absent.yml"),
        ("segmenter mine.yaml", "segmenter is a folder without model.safetensors"),
        ("config.py mine.yaml", "is a Python config, whose code would run"),
        ("segmenter/mask.yml mine.yaml --window 512", "is a config: --classes, --variant"),
        ("segmenter/mask.yml mine.yaml --gpus 0", "--gpus is at least 1, got 0"),
        ("variant.yml mine.yaml --gpus 4", "omit --gpus"),
        ("model.pdparams model.safetensors --gpus 4", "--gpus is for configs"),
        ("segmenter/mask.yml nowhere/mine.yaml", "nowhere"),
    ],
)
def test_a_mistake_is_answered_in_one_line(
    arguments: str, message: str, here: Path, capsys: pytest.CaptureFixture
) -> None:
    (here / "variant.yml").write_text(VARIANT)
    (here / "config.py").write_text("")
    (here / "model.pdparams").symlink_to(GOLDEN / "paddleseg_linear" / "model.pdparams")
    assert message in refused(capsys, "convert", *arguments.split())
    assert not (here / "mine.yaml").exists()


@pytest.mark.usefixtures("here")
def test_only_overwrite_replaces_a_recipe() -> None:
    Path("mine.yaml").write_text("mine")
    assert run("convert", "segmenter/mask.yml", "mine.yaml") == 2
    assert Path("mine.yaml").read_text() == "mine"
    assert run("convert", "segmenter/mask.yml", "mine.yaml", "--overwrite") == 0
    assert read_recipe("mine.yaml").name == "mine"
