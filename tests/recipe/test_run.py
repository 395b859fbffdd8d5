"""Recipes are strict, whole, and say what is wrong with them in one line."""

from pathlib import Path

import pytest
import torch
import yaml

from segmenter import UserError
from segmenter.model import Segmenter
from segmenter.recipe import Recipe, packaged_recipes, read_recipe
from segmenter.training.model_spec import build_spec
from segmenter.training.prepare import build_model, starting_model
from segmenter.training.processes import check_division
from tests.helpers.models import make_classes

MINIMAL = """
name: tiny
model: {encoder: vit_tiny_patch16_224}
data: {root: nowhere}
augment: {crop_size: 64}
optimizer: {name: sgd, lr: 0.001}
schedule: {steps: 10}
batch_size: 2
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize("name", sorted(packaged_recipes()))
def test_every_packaged_recipe_parses_builds_and_says_what_it_takes(name: str) -> None:
    text = packaged_recipes()[name].read_text()
    head = [line for line in text.splitlines() if line.startswith("#")]
    for word in ("segmenter train", "Hardware:", "Time:", "mIoU"):
        assert any(word in line for line in head), f"the first lines of {name} do not say {word}"
    recipe = read_recipe(name)
    encoder = recipe.model.encoder or "vit_small_patch14_dinov2"
    named = recipe.model.model_copy(update={"encoder": encoder})
    spec = build_spec(recipe.model_copy(update={"model": named}), make_classes(11))
    with torch.device("meta"):
        assert Segmenter(spec).spec.recipe is not None


@pytest.mark.parametrize("name", sorted(packaged_recipes()))
def test_a_recipe_written_out_reads_back_equal(name: str) -> None:
    recipe = read_recipe(name)
    assert Recipe.model_validate(yaml.safe_load(recipe.to_yaml())) == recipe


def test_every_field_is_documented() -> None:
    for section in (Recipe, *(f.annotation for f in Recipe.model_fields.values())):
        for name, field in getattr(section, "model_fields", {}).items():
            has_own_fields = hasattr(field.annotation, "model_fields")
            assert field.description or has_own_fields or name == "name", f"{section}.{name}"


def test_fields_can_be_changed_one_by_one(path: Path) -> None:
    changed = read_recipe(str(path), {"schedule": {"steps": 20}, "batch-size": 4})
    assert (changed.schedule.steps, changed.batch_size) == (20, 4)
    assert changed.optimizer.lr == 0.001


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimiser": {"lr": 1}}, "unknown key 'optimiser', did you mean 'optimizer'?"),
        ({"optimizer": {"learning": 1}}, "unknown key 'optimizer.learning'"),
        ({"model": {"decoder": "masked"}}, "'masked' is not a choice, did you mean 'mask'?"),
        ({"track": "wandb"}, r"track: must be a list, such as \[wandb\], got 'wandb'"),
        ({"schedule": {"steps": "many"}}, "schedule.steps: must be a whole number"),
        ({"schedule": {"warmup_steps": 10}}, r"warmup_steps \(10\) must be less than steps \(10\)"),
        ({"batch_size": 3, "accumulate": 2}, "must be a multiple of accumulate"),
        ({"protocol": {"window": 64}}, "protocol: window and stride go together"),
        ({"data": {"val": "train"}}, "would be too high"),
        ({"data": {"train": []}}, "data.train: must be a list of at least one value"),
        ({"data": {"val": None}, "stop_after": 3}, "data.val gives nothing to score"),
        ({"track": ["wandbee"]}, "'wandbee' is not a choice, did you mean 'wandb'?"),
        ({"model": {"encoder": None}}, "model.encoder and model.weights are both missing"),
        ({"augment": {"scale": [2, 1]}}, "scale is"),
        ({"loss": {"cross_entropy": 0}}, "one of cross_entropy, dice, lovasz must be > 0"),
        ({"loss": {"class_weights": "invers"}}, "is not a choice, did you mean 'inverse'"),
        ({"loss": {"class_weights": {"road": -1}}}, "class_weights.road: input should be greater"),
        ({"loss": {"class_weights": [1, "x"]}}, "loss.class_weights.1: must be a number"),
        ({"loss": {"class_weights": {"road": 0}}}, "at least one class must weigh more than 0"),
        ({"loss": {"ohem": {}}}, "loss.ohem: give keep or threshold"),
        ({"loss": {"ohem": {"kept": 0.5}}}, "'loss.ohem.kept', did you mean 'keep'"),
        ({"loss": {"ohem": {"keep": 0.5, "threshold": 0.5}}}, "give keep or threshold"),
        ({"model": {"allow_partial_weights": True}}, "model.weights gives nothing to start from"),
    ],
)
def test_what_cannot_be_is_named(path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_recipe(str(path), changes)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_mistake_in_a_changed_field_is_said_before_the_file(path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_recipe(str(path), {"batch_size": 2, "schedule": {"steps": -1}})
    message = str(caught.value)
    assert message.startswith("schedule.steps: ")
    assert message.endswith(f"({path}, with batch_size, schedule.steps changed)")


def test_a_packaged_recipe_is_named_without_the_path_of_its_file() -> None:
    with pytest.raises(UserError) as caught:
        read_recipe("finetune", {"schedule": {"steps": 10}})
    assert str(caught.value) == (
        "schedule: warmup_steps (30) must be less than steps (10); set schedule.warmup_steps as "
        "well, such as to 1 (recipe finetune, with schedule.steps changed)"
    )


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_a_folder_of_images_is_learnt_on_one_two_or_four_gpus(processes: int) -> None:
    recipe = read_recipe("finetune")
    check_division(recipe.batch_size, recipe.accumulate, processes)


def test_an_unknown_encoder_is_answered_with_the_nearest(path: Path) -> None:
    recipe = read_recipe(str(path), {"model": {"encoder": "vit_smal_patch16_384"}})
    with pytest.raises(UserError, match="did you mean 'vit_small_patch16_384'"):
        build_model(recipe, make_classes(2), starting_model(recipe.model), print)


@pytest.mark.parametrize("rules", ["segmenter", "segmenter-miou", "mmseg", "paddleseg"])
def test_the_sizes_a_recipe_gives_win_over_those_a_code_base_fixes(path: Path, rules: str) -> None:
    sizes = {"rules": rules, "short_side": 60, "window": 64, "stride": 40}
    protocol = build_spec(read_recipe(str(path), {"protocol": sizes}), make_classes(2)).protocol
    assert (protocol.short_side, protocol.window, protocol.stride) == (60, 64, 40)


@pytest.mark.parametrize("rules", [None, "mmseg"])
def test_a_recipe_says_how_windows_are_blended(path: Path, rules: str | None) -> None:
    given = {"rules": rules, "window": 64, "stride": 32, "blend": "linear"}
    spec = build_spec(read_recipe(str(path), {"protocol": given}), make_classes(2))
    assert (spec.protocol.blend, spec.protocol.stride) == ("linear", 32)


def test_a_recipe_that_is_not_there_is_named_with_the_packaged_ones() -> None:
    with pytest.raises(UserError, match=r"no recipe 'finetun', did you mean 'finetune'"):
        read_recipe("finetun")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "line 1"),
        ("!!python/object/apply:os.system ['true']", "a tag"),
        ("just text", "is not a recipe"),
        ("\n".join(["a: &x [1]"] + [f"b{i}: *x" for i in range(200)]), "aliases"),
        ("x" * (1 << 20 | 1), "larger than"),
    ],
)
def test_files_that_are_no_recipe_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_recipe(str(path))


def test_a_small_file_that_describes_a_huge_value_is_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join([*lines, "schedule: *a8"]))
    with pytest.raises(UserError, match="unknown key"):
        read_recipe(str(path))


@pytest.mark.parametrize("value", ["2024-13-45", "!!int foo", "!!timestamp foo", "!!bool foo"])
def test_values_that_yaml_cannot_read_are_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(f"name: {value}")
    with pytest.raises(UserError, match=r"bad\.yaml"):
        read_recipe(str(path))


def test_a_key_that_is_given_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(MINIMAL + "batch_size: 4\n")
    with pytest.raises(UserError, match="line 9, column 1: the key 'batch_size' is given twice"):
        read_recipe(str(path))
