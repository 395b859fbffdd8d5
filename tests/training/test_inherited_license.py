"""A run inherits the licence of what it starts from, says its terms, and stores it."""

from pathlib import Path

import pytest
from safetensors.torch import save_file

import segmenter
from segmenter.checkpoints import save
from segmenter.checkpoints.bundled import BUNDLED_ENCODERS
from segmenter.model import Segmenter
from segmenter.recipe import Recipe, read_recipe
from segmenter.training.inherited_license import (
    inherited_licenses,
    inherited_terms,
    with_inherited_license,
)
from segmenter.training.model_spec import build_spec
from segmenter.training.prepare import run_identity, starting_license, starting_model
from tests.helpers.command_line import run
from tests.helpers.models import make_classes, make_spec
from tests.helpers.runs import make_recipe

TERMS = "Ask my aunt."
CLEAN = {"weights": "dinov2-small"}


def model_with(path: Path, license: str) -> str:
    save(Segmenter(make_spec().model_copy(update={"license": license})), path)
    return str(path)


def licenses_of(recipe: Recipe) -> dict[str, str]:
    start = starting_model(recipe.model)
    return inherited_licenses(recipe, starting_license(recipe.model, start))


def license_of_model(recipe: Recipe) -> str:
    return with_inherited_license(recipe, licenses_of(recipe)).license


def terms_of_model(recipe: Recipe) -> str | None:
    return inherited_terms(recipe, licenses_of(recipe))


@pytest.fixture
def aunts(tmp_path: Path) -> str:
    """A model whose owner has to be asked."""
    return model_with(tmp_path / "aunts.safetensors", TERMS)


def test_the_packaged_recipe_starts_from_the_encoder_that_may_be_used_for_anything() -> None:
    recipe = read_recipe("finetune")
    assert recipe.model.weights == "dinov2-small"
    assert terms_of_model(recipe) is None
    assert license_of_model(recipe) == "Apache-2.0 AND MIT"


def test_a_run_from_the_encoder_has_its_architecture_and_origin() -> None:
    spec = build_spec(read_recipe("finetune"), make_classes(3))
    assert spec.encoder.architecture == BUNDLED_ENCODERS["dinov2-small"].architecture
    assert spec.provenance == BUNDLED_ENCODERS["dinov2-small"].provenance


def test_a_run_from_a_model_names_it_before_what_it_says_of_its_origin(tmp_path: Path) -> None:
    start = make_spec().model_copy(update={"provenance": "Trained on fields."})
    recipe = make_recipe(tmp_path, model={"weights": "models/fields.safetensors"})
    spec = build_spec(recipe, make_classes(3), start)
    assert spec.provenance == "Started from fields.safetensors: Trained on fields."


def test_a_run_from_a_model_with_terms_says_them_in_one_line(tmp_path: Path, aunts: str) -> None:
    assert terms_of_model(make_recipe(tmp_path, model={"weights": aunts})) == (
        f"licence: this run starts from {aunts!r}, so its model is under these terms: {TERMS}"
    )


def test_a_student_is_under_the_terms_of_its_teacher(tmp_path: Path, aunts: str) -> None:
    recipe = make_recipe(tmp_path, model=CLEAN, loss={"teacher": {"model": aunts}})
    assert terms_of_model(recipe) == (
        f"licence: this run learns from {aunts!r}, so its model is under these terms: {TERMS}"
    )
    assert license_of_model(recipe) == TERMS


def test_the_licence_of_a_start_that_was_read_is_not_looked_up_again(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path, model={"weights": "hf:nobody/nothing"})
    assert inherited_licenses(recipe, TERMS) == {"hf:nobody/nothing": TERMS}


def test_the_file_of_an_encoder_is_not_read_again_for_its_licence(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    save_file(Segmenter(make_spec()).encoder.state_dict(), path)
    given = make_recipe(tmp_path, model={"weights": str(path)}).model
    start = starting_model(given)
    path.unlink()
    assert (start, starting_license(given, start)) == (None, "")


def test_a_recipe_cannot_remove_inherited_terms(tmp_path: Path, aunts: str) -> None:
    recipe = make_recipe(tmp_path, model={"weights": aunts}, license="MIT")
    assert license_of_model(recipe) == TERMS


def test_a_recipe_adds_a_licence_of_its_own(tmp_path: Path) -> None:
    recipe = make_recipe(tmp_path, model=CLEAN, license="Not on Sundays.")
    assert license_of_model(recipe) == "Not on Sundays."
    assert terms_of_model(recipe) is None


def test_the_stages_of_street_state_their_terms_once(tmp_path: Path) -> None:
    first = read_recipe("street-linear")
    assert license_of_model(first) == first.license
    start = model_with(tmp_path / "first.safetensors", first.license)
    second = read_recipe("street-class-tokens", {"model": {"weights": start}})
    assert license_of_model(second) == first.license


def test_a_licence_that_is_filled_in_later_does_not_hinder_a_resume(tmp_path: Path) -> None:
    before, after = make_recipe(tmp_path), make_recipe(tmp_path, license=TERMS)
    assert run_identity(before, make_classes(3), ()) == run_identity(after, make_classes(3), ())


def test_train_says_the_terms_and_stores_them_in_recipe_and_model(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    (here / "data/start.safetensors").unlink()
    model_with(here / "data/start.safetensors", TERMS)
    assert run("train", "tiny.yaml", "--schedule.steps", "1") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().err.splitlines()]
    assert any(line.startswith("licence: this run starts from") for line in lines)
    assert f"license: {TERMS}" in (here / "runs/tiny/recipe.yaml").read_text()
    spec = segmenter.load("runs/tiny/last.safetensors").spec
    assert spec.license == TERMS
    assert spec.recipe is not None
    assert spec.recipe["license"] == TERMS


def test_train_is_silent_about_a_start_that_may_be_used_for_anything(
    here: Path, capsys: pytest.CaptureFixture
) -> None:
    (here / "data/start.safetensors").unlink()
    model_with(here / "data/start.safetensors", "Apache-2.0 AND MIT")
    assert run("train", "tiny.yaml", "--schedule.steps", "1") == 0
    assert "licence:" not in capsys.readouterr().err
    assert segmenter.load("runs/tiny/last.safetensors").spec.license == "Apache-2.0 AND MIT"
