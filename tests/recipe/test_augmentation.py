"""A preset is plain fields as soon as the recipe is read, and fields given beside it win."""

from pathlib import Path

import pytest
import yaml

from segmenter import UserError
from segmenter.data.operations import OPERATIONS
from segmenter.recipe import AugmentRecipe, Recipe, read_recipe
from segmenter.recipe.augmentation import PRESET_FIELDS, PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_its_fields_and_is_gone(name: str) -> None:
    augment = AugmentRecipe.model_validate({"crop_size": 64, "preset": name})
    assert augment.preset is None
    assert "preset" not in augment.model_dump()
    assert {field: getattr(augment, field) for field in PRESETS[name]} == PRESETS[name]
    assert augment != AugmentRecipe(crop_size=64)


def test_fields_beside_a_preset_win_in_a_recipe_and_among_changes(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    content = read_recipe("finetune").model_dump(mode="json")
    content["augment"] = {"crop_size": 64, "preset": "aerial", "flip": 0.25, "noise": 1.0}
    path.write_text(yaml.safe_dump(content))
    augment = read_recipe(str(path)).augment
    assert (augment.flip, augment.noise, augment.rotate_90) == (0.25, 1.0, 0.75)
    changed = read_recipe(str(path), {"augment": {"preset": "documents", "rotate-degrees": 5.0}})
    augment = changed.augment
    assert (augment.flip, augment.rotate_90, augment.rotate_degrees) == (0.0, 0.0, 5.0)
    assert augment.noise == PRESETS["documents"]["noise"]
    assert Recipe.model_validate(yaml.safe_load(changed.to_yaml())) == changed


def test_an_unknown_preset_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"augment\.preset.*did you mean 'aerial'"):
        read_recipe("finetune", {"augment": {"preset": "arial"}})


def test_every_operation_is_off_by_default_and_part_of_the_presets() -> None:
    augment = AugmentRecipe(crop_size=64)
    assert not any(getattr(augment, name) for name in OPERATIONS)
    assert set(OPERATIONS) < set(PRESET_FIELDS)
