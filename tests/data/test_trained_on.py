"""The images that a model was trained on are known by their content."""

from pathlib import Path

import pytest

from segmenter.data.trained_on import (
    TRAINED_ON,
    count_trained_on,
    read_trained_on,
    trained_on_warning,
    write_own_list,
    write_trained_on,
)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Five files of one size."""
    (tmp_path / "run").mkdir()
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 1000)
    return paths


def test_images_are_found_again_under_other_names(tmp_path: Path, images: list[Path]) -> None:
    write_trained_on(tmp_path / "run", images[:2])
    images[0].rename(tmp_path / "moved.png")
    shown = [tmp_path / "moved.png", *images[2:]]
    assert count_trained_on(tmp_path / "run", shown) == 1
    assert trained_on_warning("it", tmp_path / "run", shown) == (
        "warning: 1 of 4 images were trained on; scores flatter it"
    )


def test_other_images_of_the_same_name_are_not_taken_for_them(
    tmp_path: Path, images: list[Path]
) -> None:
    write_trained_on(tmp_path / "run", images)
    images[0].write_bytes(b"another image")
    assert count_trained_on(tmp_path / "run", images[:1]) == 0
    assert trained_on_warning("it", tmp_path / "run", images[:1]) is None


def test_away_from_its_run_nothing_is_known_of_a_model(tmp_path: Path, images: list[Path]) -> None:
    assert count_trained_on(tmp_path / "run", images) is None
    assert trained_on_warning("it", tmp_path / "run", images) is None


def test_what_the_starting_model_was_trained_on_counts_too(
    tmp_path: Path, images: list[Path]
) -> None:
    (tmp_path / "first").mkdir()
    write_trained_on(tmp_path / "first", images[:2])
    write_trained_on(tmp_path / "run", images[2:3], tmp_path / "first" / "best.safetensors")
    assert count_trained_on(tmp_path / "run", images) == 3


def test_models_of_one_folder_have_lists_of_their_own(tmp_path: Path, images: list[Path]) -> None:
    first, second = (tmp_path / f"{name}.safetensors" for name in ("first", "second"))
    for model in (first, second):
        model.touch()
    write_own_list(first, images[:2])
    write_own_list(second, images[2:3])
    assert count_trained_on(first, images) == 2
    assert count_trained_on(second, images) == 1
    write_own_list(second, images[2:3], first, overwrite=True)
    assert count_trained_on(second, images) == 3


def test_a_run_that_goes_on_with_other_images_keeps_the_first(
    tmp_path: Path, images: list[Path]
) -> None:
    write_trained_on(tmp_path / "run", images[:2])
    write_trained_on(tmp_path / "run", images[1:3])
    assert len(read_trained_on(tmp_path / "run")) == 3


def test_images_that_cannot_be_read_are_left_out(tmp_path: Path, images: list[Path]) -> None:
    write_trained_on(tmp_path / "run", [*images, tmp_path / "absent.png"])
    assert count_trained_on(tmp_path / "run", [*images, tmp_path / "absent.png"]) == 5


def test_a_damaged_list_says_nothing(tmp_path: Path, images: list[Path]) -> None:
    (tmp_path / "run" / TRAINED_ON).write_bytes(b"\xff\xfe\x00")
    assert count_trained_on(tmp_path / "run", images) is None
