"""A damaged checkpoint is skipped, and what is in the way of saving is found."""

import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from segmenter import UserError
from segmenter.model import Segmenter
from segmenter.recipe import Recipe
from segmenter.recipe.model import ModelRecipe
from segmenter.training import prepare, run_folder
from segmenter.training.prepare import starting_model
from tests.helpers.data_sets import write_data_set
from tests.helpers.runs import make_recipe, run_training

NEWEST = "checkpoints/step-00000004"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """A run of four steps, with checkpoints at the second and the last."""
    root = write_data_set(tmp_path_factory.mktemp("finished") / "data")
    recipe = make_recipe(
        root, data={"val": None}, schedule={"steps": 4}, save_every=2, ema_decay=0.5, batch_size=2
    )
    run_training(recipe, root / "run", "cpu", resume=False)
    return recipe, root / "run"


@pytest.fixture
def run(finished: tuple[Recipe, Path], tmp_path: Path) -> Path:
    return shutil.copytree(finished[1], tmp_path / "run")


Damage = Callable[[Path], None]
DAMAGES: dict[str, Damage] = {}


def damage(action: Damage) -> Damage:
    DAMAGES[action.__name__.replace("_", " ")] = action
    return action


def edited(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a checkpoint's JSON, and make its SHA-256 anew."""
    state = json.loads((path / "state.json").read_bytes())
    del state["sha256"]
    change(state)
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    (path / "state.json").write_text(json.dumps(state | {"sha256": digest}))


def rewritten(path: Path, name: str, data: bytes) -> None:
    """Change a file of a checkpoint, and make its size and SHA-256 anew."""
    (path / name).write_bytes(data)
    described = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edited(path, lambda state: state["files"].update({name: described}))


def with_tensors(path: Path, part: str, change: Callable[[dict], object]) -> None:
    tensors = load((path / f"{part}.safetensors").read_bytes())
    change(tensors)
    rewritten(path, f"{part}.safetensors", save(tensors))


for _text in ("[" * 200_000, '{"a":' * 200_000, "[]", "null", "1", "", "\xff\xfe", "9" * 5000):
    DAMAGES[f"the state is {_text[:6]!r}"] = lambda path, text=_text: (
        path / "state.json"
    ).write_bytes(text.encode("latin-1"))
for _step in (-5, 10**12, "4", 2, 4.0, None, True):
    DAMAGES[f"step {_step!r}"] = lambda path, step=_step: edited(
        path, lambda state: state.update(step=step)
    )
for _facts in (None, {}, [], {"run": None}, {"run": {}, "counters": {}, "scaler": {}}):
    DAMAGES[f"facts {_facts}"] = lambda path, facts=_facts: edited(
        path, lambda state: state.update(facts=facts)
    )
for _name, _value in (
    *(("position", value) for value in (-1, 10**30, "8", 1.5, None)),
    *(("best_miou", value) for value in (float("nan"), float("inf"), "1", 7)),
    ("model", 1),
    ("step", 1),
):
    DAMAGES[f"counter {_name} {_value}"] = lambda path, name=_name, value=_value: edited(
        path, lambda state: state["facts"]["counters"].update({name: value})
    )
for _part in ("model", "average", "optimizer"):
    DAMAGES[f"no {_part}"] = lambda path, part=_part: edited(
        path, lambda state: state["files"].pop(f"{part}.safetensors")
    )
    DAMAGES[f"{_part} of zeros"] = lambda path, part=_part: rewritten(
        path, f"{part}.safetensors", bytes(100)
    )
    DAMAGES[f"{_part} of 40 GB"] = lambda path, part=_part: os.truncate(
        path / f"{part}.safetensors", 40 * 10**9
    )
    DAMAGES[f"{_part} with NaN"] = lambda path, part=_part: with_tensors(
        path, part, lambda tensors: tensors[min(tensors)].fill_(float("nan"))
    )
    DAMAGES[f"{_part} of another shape"] = lambda path, part=_part: with_tensors(
        path, part, lambda tensors: tensors.update({min(tensors): torch.zeros(7, 7)})
    )
    DAMAGES[f"{_part} with one name less"] = lambda path, part=_part: with_tensors(
        path, part, lambda tensors: tensors.pop(min(tensors))
    )
    DAMAGES[f"{_part} with one name more"] = lambda path, part=_part: with_tensors(
        path, part, lambda tensors: tensors.update(odd=torch.zeros(1))
    )


@damage
def a_state_of_40_gb(path: Path) -> None:
    os.truncate(path / "state.json", 40 * 10**9)


@damage
def a_part_that_is_told_to_have_40_gb(path: Path) -> None:
    os.truncate(path / "model.safetensors", 40 * 10**9)
    edited(path, lambda state: state["files"]["model.safetensors"].update(size=40 * 10**9))


@damage
def a_part_outside(path: Path) -> None:
    described = {"size": 4, "sha256": hashlib.sha256(b"outs").hexdigest()}
    (path.parent / "outside.safetensors").write_bytes(b"outs")
    edited(path, lambda state: state["files"].update({"../outside.safetensors": described}))


@damage
def a_part_that_is_described_as_null(path: Path) -> None:
    edited(path, lambda state: state["files"].update({"model.safetensors": None}))


@damage
def a_file_in_its_place(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("nothing")


@damage
def a_link_in_its_place(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


@damage
def a_link_that_leads_nowhere(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to("nowhere")


@damage
def a_pipe_as_state(path: Path) -> None:
    (path / "state.json").unlink()
    os.mkfifo(path / "state.json")


@damage
def a_folder_as_part(path: Path) -> None:
    (path / "model.safetensors").unlink()
    (path / "model.safetensors").mkdir()


@damage
def a_linked_part(path: Path) -> None:
    (path / "model.safetensors").rename(path.parent / "model")
    (path / "model.safetensors").symlink_to(path.parent / "model")


FAST = {
    "the state is '[[[[[['",
    "step '4'",
    "step 2",
    "facts None",
    "facts {}",
    "counter position 1000000000000000000000000000000",
    "no optimizer",
    "optimizer of zeros",
    "optimizer with one name less",
    "model of 40 GB",
    "model with NaN",
    "model of another shape",
    "a part outside",
    "a file in its place",
    "a link in its place",
    "a pipe as state",
}
assert DAMAGES.keys() >= FAST


@pytest.mark.parametrize(
    "name",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in DAMAGES],
)
def test_the_one_before_is_taken_and_ends_with_the_same_bits(
    name: str, finished: tuple[Recipe, Path], run: Path, capsys: pytest.CaptureFixture
) -> None:
    recipe, whole = finished
    DAMAGES[name](run / NEWEST)
    (run / "last.safetensors").unlink()
    run_training(recipe, run, "cpu", resume=True)
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "skipped" in line and NEWEST in line]
    assert len([line for line in told if line.startswith("warning")]) == 1
    assert "going on from step 2 of 4" in told
    assert (run / "last.safetensors").read_bytes() == (whole / "last.safetensors").read_bytes()
    written = max(run.glob(f"{NEWEST}*/model.safetensors"))
    assert written.read_bytes() == (whole / NEWEST / written.name).read_bytes()


def test_a_newline_or_other_digits_make_no_checkpoint(
    finished: tuple[Recipe, Path], run: Path
) -> None:
    for name in ("step-00000009\n", "step-0000000\u0669", "step-9"):
        (run / "checkpoints" / name).mkdir()
    run_training(finished[0], run, "cpu", resume=True)


@pytest.mark.parametrize(
    "origin",
    [
        None,
        {"spec": 1},
        {"license": "", "spec": {"encoder": 2}, "magnitudes": {"a": 1}},
        {"license": "", "spec": None},
        {"license": "", "spec": None, "magnitudes": {}},
    ],
)
def test_a_checkpoint_without_a_usable_origin_has_the_starting_weights_read(
    origin: dict | None,
    finished: tuple[Recipe, Path],
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = []

    def spy(given: ModelRecipe) -> Segmenter | None:
        opened.append(given.weights)
        return starting_model(given)

    monkeypatch.setattr(prepare, "starting_model", spy)
    run_training(finished[0], run, "cpu", resume=True)
    assert not opened
    for path in (run / "checkpoints").iterdir():
        edited(path, lambda state: state["facts"].update(origin=origin))
    run_training(finished[0], run, "cpu", resume=True)
    assert opened == [finished[0].model.weights]


def as_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def as_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def as_link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.parent.parent / "victim")


@pytest.mark.parametrize("put", [as_folder, as_pipe, as_link])
@pytest.mark.parametrize("name", [*run_folder._REPLACED, *run_folder._OPENED])
def test_what_stands_where_a_file_must_go_is_refused_or_replaced_and_never_followed(
    name: str, put: Damage, finished: tuple[Recipe, Path], run: Path
) -> None:
    victim = run.parent / "victim"
    victim.write_text("precious")
    put(run / name)
    if put is as_link and name in run_folder._REPLACED:
        run_training(finished[0], run, "cpu", resume=True)
    else:
        with pytest.raises(UserError, match="not a regular file"):
            run_training(finished[0], run, "cpu", resume=True)
    assert victim.read_text() == "precious"


def test_a_file_or_a_dangling_link_for_the_checkpoints_is_named(
    finished: tuple[Recipe, Path], run: Path
) -> None:
    shutil.rmtree(run / "checkpoints")
    for put in (as_link, Path.touch):
        put(run / "checkpoints")
        with pytest.raises(UserError, match="checkpoints is not a folder"):
            run_training(finished[0], run, "cpu", resume=True)
        (run / "checkpoints").unlink()


def test_a_run_folder_of_an_odd_kind_is_one_line(
    finished: tuple[Recipe, Path], tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    os.mkfifo(tmp_path / "pipe")
    for name in ("loop", "nowhere", "pipe", "n" * 300, "pipe/run"):
        with pytest.raises(UserError) as caught:
            run_training(finished[0], tmp_path / name, "cpu", resume=False)
        assert "\n" not in str(caught.value)


def test_a_limit_or_a_disk_too_small_for_a_checkpoint_is_found_before_the_first_step(
    finished: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segmenter.training.loop.train_step", lambda *_: pytest.fail("a step"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"no checkpoint can be saved.*MiB: make room"):
            run_training(finished[0], tmp_path / "new", "cpu", resume=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_log_that_is_too_deep_or_too_large_stops_nothing(
    finished: tuple[Recipe, Path], run: Path
) -> None:
    (run / "unreadable.jsonl").write_text("[" * 200_000)
    for write in (
        lambda path: path.write_text("[" * 200_000 + '\n{"step": 1, "odd": [], "val/miou": "x"}\n'),
        lambda path: os.truncate(path, 40 * 10**9),
    ):
        write(run / "log.jsonl")
        run_training(finished[0], run, "cpu", resume=True)
