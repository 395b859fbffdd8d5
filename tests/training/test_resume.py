"""A run goes on as the run it was; what changed is said, and allowed or not."""

from pathlib import Path

import pytest

from segmenter import UserError
from segmenter.checkpoints.model_file import read_spec
from segmenter.recipe import Recipe, read_recipe
from segmenter.training import loop
from segmenter.training.signals import Stopped
from tests.helpers.runs import (
    EVERYTHING_RANDOM,
    equal,
    make_recipe,
    run_training,
    stop_after,
)


def short(root: Path, **changes: object) -> Recipe:
    return make_recipe(root, **{"data": {"val": None}, "schedule": {"steps": 2}, **changes})


def resume(root: Path, *, allow: bool = False, **changes: object) -> None:
    recipe = short(root, **changes)
    run_training(recipe, root / "run", "cpu", resume=True, allow_config_change=allow)


@pytest.fixture
def finished(data_set: Path) -> Path:
    """A data set with a finished run of two steps in it."""
    run_training(short(data_set), data_set / "run", "cpu", resume=False)
    return data_set


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"schedule": {"steps": 4}}, r"schedule\.steps: 2 -> 4"),
        ({"optimizer": {"lr": 0.5}}, r"optimizer\.lr: 0\.001 -> 0\.5"),
        ({"batch_size": 2}, "batch_size: 4 -> 2"),
    ],
)
def test_a_change_is_refused_with_the_difference_and_made_when_allowed(
    finished: Path, change: dict, difference: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(UserError, match=f"{difference}; .*--allow-config-change"):
        resume(finished, **change)
    change = {"schedule": {"steps": 4}} | change
    resume(finished, allow=True, **change)
    assert "changed at step 2: recipe." in capsys.readouterr().err
    kept = read_recipe(str(finished / "run/recipe-from-step-00000002.yaml"))
    assert kept == short(finished, **change)
    assert read_recipe(str(finished / "run/recipe.yaml")) == short(finished)


def test_an_allowed_change_is_not_asked_for_again_before_a_checkpoint_holds_it(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    longer, longest = ({"schedule": {"steps": steps}} for steps in (4, 5))
    with monkeypatch.context() as patched:
        patched.setattr(loop, "train_step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            resume(finished, allow=True, **longer)
    with pytest.raises(UserError, match=r"schedule\.steps: 2 -> 5"):
        resume(finished, **longest)
    resume(finished, **longer)


def test_whether_the_pairing_is_told_is_no_part_of_what_a_run_is(finished: Path) -> None:
    resume(finished, data={"val": None, "pairing_note": False})


def test_images_that_come_or_go_are_named(finished: Path) -> None:
    for kind in ("images", "masks"):
        folder = finished / kind / "train"
        (folder / "photo-3.png").rename(folder / "other.png")
    expected = r"images: 1 gone \(such as train/photo-3\), 1 new \(such as train/other\)"
    with pytest.raises(UserError, match=expected):
        resume(finished)
    resume(finished, allow=True)


def test_a_class_that_no_longer_has_a_weight_is_a_change(data_set: Path) -> None:
    weights = {"class-0": 2.0, "class-1": 3.0}
    run_training(short(data_set, loss={"class_weights": weights}), data_set / "run", "cpu")
    with pytest.raises(UserError, match=r"class_weights\.class-1: 3\.0 -> None"):
        resume(data_set, loss={"class_weights": {"class-0": 2.0}})


def test_no_flag_allows_other_classes_or_weights_that_do_not_fit(finished: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be resumed: weight .* -> None"):
        resume(finished, allow=True, model={"encoder_depth": 1})
    with pytest.raises(UserError, match=r"cannot be resumed: recipe\.optimizer\.name"):
        resume(finished, allow=True, optimizer={"name": "sgd"})
    classes = finished / "classes.yaml"
    classes.write_text(classes.read_text().replace("class-1", "tree"))
    with pytest.raises(UserError, match=r"cannot be resumed: classes\.classes"):
        resume(finished, allow=True)


def test_a_finished_run_says_so(finished: Path, capsys: pytest.CaptureFixture) -> None:
    before = (finished / "run/last.safetensors").read_bytes()
    (finished / "run/last.safetensors").unlink()
    resume(finished)
    assert "this run is finished: 2 of 2 steps are done" in capsys.readouterr().err
    assert (finished / "run/last.safetensors").read_bytes() == before


def test_allowing_a_change_is_for_a_run_that_goes_on(data_set: Path) -> None:
    with pytest.raises(UserError, match="add --resume"):
        run_training(
            short(data_set), data_set / "run", "cpu", resume=False, allow_config_change=True
        )


def test_a_run_with_relative_rates_does_not_resume_with_another_decoder(data_set: Path) -> None:
    given = {"schedule": {"steps": 1}, "optimizer": {"name": "adamw", "relative_lr": True}}
    run_training(make_recipe(data_set, **given), data_set / "run", "cpu")
    other = make_recipe(data_set, **given, model={"decoder": {"kind": "mask"}})
    with pytest.raises(UserError, match=r"holds another run.*decoder\.kind"):
        run_training(other, data_set / "run", "cpu", resume=True)


def test_a_run_resumes_without_the_weights_that_it_started_from(
    data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer = {"name": "adamw", "lr": 1e-2, "relative_lr": True}
    recipe = make_recipe(
        data_set, **EVERYTHING_RANDOM, optimizer=optimizer, loss={"class_weights": "log"}
    )
    run_training(recipe, data_set / "unbroken", "cpu")
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Stopped):
            run_training(recipe, data_set / "broken", "cpu")
    (data_set / "start.safetensors").unlink()
    run_training(recipe, data_set / "broken", "cpu", resume=True)
    assert equal(data_set / "unbroken", data_set / "broken")
    specs = [read_spec(data_set / run / "last.safetensors") for run in ("unbroken", "broken")]
    assert specs[0] == specs[1]
