"""Fields of a recipe that are `auto` until the data are read."""

import pytest
import yaml

from segmenter.errors import UserError
from segmenter.recipe import Recipe, read_recipe
from segmenter.training.model_spec import choose_decoder
from tests.helpers.models import make_classes, make_spec


def test_finetune_leaves_its_sizes_to_the_data_and_its_decoder_to_the_start() -> None:
    recipe = read_recipe("finetune")
    assert set(recipe.auto) == {
        "model.decoder",
        "augment.crop_size",
        "augment.scale_base",
        "protocol.short_side",
        "protocol.window",
        "protocol.stride",
    }


def test_what_the_user_sets_is_no_longer_auto() -> None:
    recipe = read_recipe("finetune", {"augment": {"crop_size": 308}, "model": {"decoder": "mask"}})
    assert "model.decoder" not in recipe.auto
    assert recipe.model.decoder.kind == "mask"
    assert "augment.crop_size" not in recipe.auto
    assert "protocol.short_side" in recipe.auto
    assert recipe.augment.crop_size == 308


def test_the_list_of_known_keys_names_only_fields_to_set() -> None:
    with pytest.raises(UserError, match="known here: accumulate, augment, batch_size, data"):
        read_recipe("finetune", {"no_field": 1})


@pytest.mark.parametrize("field", ["window", "stride"])
def test_a_window_or_a_stride_may_be_given_alone(field: str) -> None:
    recipe = read_recipe("finetune", {"protocol": {field: 448}})
    assert (recipe.protocol.window, recipe.protocol.stride) == (448, 448)
    assert f"protocol.{field}" not in recipe.auto


def test_auto_is_written_out_and_read_back_as_it_was_given() -> None:
    recipe = read_recipe("finetune", {"protocol": {"short_side": 700}})
    content = yaml.safe_load(recipe.to_yaml())
    assert content["augment"]["crop_size"] == content["model"]["decoder"] == "auto"
    assert content["protocol"]["short_side"] == 700
    assert "auto" not in content
    assert Recipe.model_validate(content) == recipe


def test_settings_beside_auto_are_those_of_the_decoder_that_is_chosen() -> None:
    recipe = read_recipe("finetune", {"model": {"decoder": {"masking": False}}})
    assert Recipe.model_validate(yaml.safe_load(recipe.to_yaml())) == recipe
    start = make_spec(decoder="eomt")
    chosen = choose_decoder(recipe, start.classes, start)
    assert chosen.model.decoder == start.decoder.model_copy(update={"masking": False})
    assert "augment.crop_size" in chosen.auto


def test_a_setting_beside_auto_that_the_chosen_decoder_lacks_is_refused() -> None:
    recipe = read_recipe("finetune", {"model": {"decoder": {"masking": False}}})
    answer = (
        r"auto, here linear \(--model\.decoder KIND .*\): unknown key 'model\.decoder\.masking'"
    )
    with pytest.raises(UserError, match=answer):
        choose_decoder(recipe, make_classes(3), None)


@pytest.mark.parametrize("given", [1, ["augment.crop_size"], None])
def test_the_list_of_what_is_auto_cannot_be_given(given: object) -> None:
    with pytest.raises(UserError, match=r"auto is not a field to set; .*--augment.crop_size auto"):
        read_recipe("finetune", {"auto": given})


def test_only_sizes_can_be_auto() -> None:
    with pytest.raises(UserError, match=r"batch_size: must be a whole number.*got 'auto'"):
        read_recipe("finetune", {"batch_size": "auto"})


def test_only_a_decoder_takes_settings_beside_auto() -> None:
    with pytest.raises(UserError, match=r"augment\.crop_size: must be a whole number"):
        read_recipe("finetune", {"augment": {"crop_size": {"kind": "auto", "blocks": 2}}})
