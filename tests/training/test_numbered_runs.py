"""Runs without --out get folders of their own, and the newest is resumed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from segmenter import UserError
from segmenter.api.run_recipe import read_run_recipe
from segmenter.options import RunFolder
from segmenter.recipe import read_recipe
from segmenter.training.numbered_runs import claim_folder, newest_run, next_folder

RUNS = Path("runs")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_run(folder: str, name: str) -> None:
    (RUNS / folder).mkdir(parents=True)
    (RUNS / folder / "recipe.yaml").write_text(f"name: {name}\n")


def test_a_second_run_gets_the_number_two_and_the_first_stays() -> None:
    folders = [claim_folder("tiny") for _ in range(3)]
    assert folders == [RUNS / "tiny", RUNS / "tiny-2", RUNS / "tiny-3"]


def test_a_new_number_is_above_those_of_all_runs_also_where_one_was_removed() -> None:
    make_run("tiny-4", "tiny")
    assert next_folder("tiny") == RUNS / "tiny-5"
    assert claim_folder("tiny") == RUNS / "tiny-5"


def test_runs_of_other_names_do_not_count() -> None:
    for name in ("tiny-1", "tiny-02", "tiny-x", "tiny-2-3", "mytiny", "tiny-20261128"):
        make_run(name, name)
    assert claim_folder("tiny") == RUNS / "tiny"
    assert claim_folder("t.ny") == RUNS / "t.ny"


def test_a_folder_that_holds_other_files_is_never_taken() -> None:
    (RUNS / "tiny").mkdir(parents=True)
    (RUNS / "tiny" / "thesis.txt").write_text("precious")
    assert claim_folder("tiny") == RUNS / "tiny-2"


def test_runs_that_start_at_once_get_a_folder_each() -> None:
    with ThreadPoolExecutor(8) as executor:
        folders = list(executor.map(lambda _: claim_folder("tiny"), range(40)))
    assert len(set(folders)) == 40


def test_the_newest_run_of_a_name_is_resumed() -> None:
    for folder in ("tiny", "tiny-2", "tiny-10"):
        make_run(folder, "tiny")
    make_run("tiny-11", "tiny-11")  # a name of its own
    (RUNS / "tiny-12").mkdir()  # claimed, but never begun
    assert newest_run("tiny") == (RUNS / "tiny-10", 3)


def test_without_a_run_the_folder_to_resume_is_the_first() -> None:
    assert newest_run("tiny") == (RUNS / "tiny", 0)


def test_a_file_in_the_place_of_all_runs_is_one_line() -> None:
    RUNS.write_text("no folder")
    with pytest.raises(UserError, match=r"runs/tiny cannot be created: .*; give --out"):
        claim_folder("tiny")


def test_a_run_of_another_name_than_its_recipes_resumes_with_the_recipe_in_its_folder() -> None:
    recipe = read_recipe("street-linear", {"name": "second", "data": {"root": "."}, "seed": 7})
    (RUNS / "second").mkdir(parents=True)
    (RUNS / "second/recipe.yaml").write_text(recipe.to_yaml())
    short, resume = {"data.root": None}, RunFolder(resume=True)
    assert read_run_recipe("street-linear", short, {"name": "second"}, resume) == recipe
