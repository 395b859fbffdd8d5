"""What a data check gives beside findings, and that it holds up whatever it reads."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.data.class_weights import weights_by_rule
from segmenter.data.folder import open_folder
from segmenter.data.pairing.pair import Item
from segmenter.extras.checking.check_page import write_page
from segmenter.extras.checking.data_check import Check, check
from segmenter.extras.checking.fingerprint import find_alike, fingerprint
from segmenter.extras.checking.item_inspection import Inspection
from segmenter.extras.checking.reading import inspect_all
from segmenter.extras.checking.split_facts import suggest, summarise
from segmenter.files.outputs import OutputFolder
from tests.helpers.drawn_items import CLASSES_YAML, SIZE, draw_image, draw_mask, write_item
from tests.helpers.planted_faults import check_folder, kinds


class EndsItsReader(Item):
    """An item that ends the process it is sent to, as a crash of a decoder would."""

    def __reduce__(self) -> tuple:
        return os._exit, (9,)


def facts(inspection: Inspection) -> tuple:
    assert inspection.image is not None
    assert inspection.mask is not None
    digest, counts = inspection.image.fingerprint.digest, inspection.mask.pixel_counts
    return digest, counts.tolist(), inspection.problems


def test_pixels_and_bands_are_those_of_the_files(clean: Path) -> None:
    train, val = check_folder(clean).splits
    masks = np.stack([draw_mask(seed) for seed in range(3)])
    images = np.stack([draw_image(seed) for seed in range(3)]).astype(np.float64)
    assert train.pixel_counts.tolist() == [(masks == value).sum() for value in (0, 3, 9)]
    assert (train.num_images, train.num_usable, val.num_images) == (3, 3, 2)
    assert train.mask_counts.tolist() == [3, 3, 3]
    assert train.sizes == ((SIZE, 3),)
    np.testing.assert_allclose(train.mean, images.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(train.std, images.std(axis=(0, 1, 2)))


def test_bands_of_images_of_different_sizes_count_by_their_pixels(clean: Path) -> None:
    large = draw_image(9, (200, 300))
    write_item(clean, "train/f", large, draw_mask(9, (200, 300)))
    train = check_folder(clean).splits[0]
    pixels = np.concatenate([draw_image(seed).reshape(-1, 3) for seed in range(3)])
    pixels = np.concatenate([pixels, large.reshape(-1, 3)]).astype(np.float64)
    np.testing.assert_allclose(train.mean, pixels.mean(axis=0))
    np.testing.assert_allclose(train.std, pixels.std(axis=0))


def test_suggestions_are_from_the_training_split(clean: Path) -> None:
    found = check_folder(clean)
    assert found.suggestions.split == "train"
    assert found.suggestions.crop_sizes == {16: 96, 14: 84}
    for rule, weights in found.suggestions.class_weights.items():
        expected = weights_by_rule(rule, found.splits[0].pixel_counts)
        assert np.array_equal(weights, expected)
    assert set(found.suggestions.class_weights) == {"inverse", "inverse-root", "log"}


def test_nothing_at_all_has_no_suggestions() -> None:
    suggestions = suggest(summarise("train", (), 3))
    assert suggestions.crop_sizes == {}
    assert suggestions.class_weights == {}


def test_images_of_one_colour_are_not_taken_for_each_other(clean: Path) -> None:
    for name, grey in (("train/a", 10), ("val/d", 200)):
        Image.fromarray(np.full((*SIZE, 3), grey, np.uint8)).save(clean / f"images/{name}.png")
    assert kinds(check_folder(clean)) == []


def test_a_image_is_compared_with_its_nearest_in_another_split() -> None:
    images = [draw_image(0), draw_image(1), draw_image(2), draw_image(1)[:, ::-1] // 2]
    prints = [fingerprint(np.ascontiguousarray(image)) for image in images]
    (match,) = find_alike(prints, [0, 0, 1, 1], across=True)
    assert match[:2] == (3, 1)
    assert match.is_mirrored
    assert find_alike(prints, [0, 0, 1, 1], across=False) == []


def test_blocks_of_images_find_what_one_table_would(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [draw_image(seed) // (1 + seed // 4 % 2) for seed in (0, 1, 2, 0, 1, 5, 2, 0)]
    images = [image if place % 3 else image // 2 for place, image in enumerate(images)]
    prints = [fingerprint(image) for image in images]
    splits = [0, 0, 0, 0, 1, 1, 1, 1]
    whole = [find_alike(prints, splits, across=across) for across in (True, False)]
    assert any(whole)
    monkeypatch.setattr("segmenter.extras.checking.fingerprint._BLOCK", 3)
    assert [find_alike(prints, splits, across=across) for across in (True, False)] == whole


@pytest.mark.slow
def test_processes_find_the_same_and_one_that_dies_costs_one_image(clean: Path) -> None:
    data = open_folder(clean)
    items = data.items("train", "val")
    alone = list(inspect_all(items, data.classes, 0))
    victim = items[1]
    cursed = EndsItsReader(victim.name, victim.image, victim.mask)
    found = list(inspect_all((items[0], cursed, *items[2:]), data.classes, 2))
    assert [kind.kind for kind in found[1].problems] == ["unreadable-photo"]
    del alone[1], found[1]
    assert [facts(each) for each in found] == [facts(each) for each in alone]


def test_circles_of_links_and_hostile_names_do_no_harm(clean: Path) -> None:
    (clean / "images/train/again").symlink_to(clean / "images")
    (clean / "masks/train/self").symlink_to(clean / "masks/train/self")
    write_item(clean, "train/<b>;'\n\udcff", draw_image(7), draw_mask(7))
    found = check_folder(clean)
    assert kinds(found) == []
    assert found.splits[0].num_images == 4


def test_a_folder_without_splits_and_a_list_are_checked(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_item(tmp_path, name, draw_image(seed), draw_mask(seed))
    (tmp_path / "classes.yaml").write_text(CLASSES_YAML)
    assert [split.name for split in check_folder(tmp_path).splits] == ["all"]
    (tmp_path / "few.txt").write_text("images/a.png masks/a.png\n")
    assert check_folder(tmp_path / "few.txt").splits[0].num_images == 1


def test_one_class_and_its_background_are_counted_and_drawn(clean: Path, tmp_path: Path) -> None:
    one = "classes: [{name: tree, color: [0, 200, 0], values: [3]}]\nbackground: [0, 9]\n"
    (clean / "classes.yaml").write_text(one)
    data = open_folder(clean, keep_problems=True)
    found = check(data, "set", 0)
    assert found.is_clean
    assert found.classes.names == ("background", "tree")
    page = write_page(found, data, OutputFolder(tmp_path / "report")).read_text()
    assert 'title="background"' in page


def test_each_file_is_read_once(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("train/a", "train/b", "val/d")
    lines = [f"images/{name}.png masks/{name}.png\n" for name in names]
    (clean / "train.txt").write_text("".join(lines[:2]))
    (clean / "val.txt").write_text("".join(lines[1:]))
    read: list[Item] = []
    data = open_folder(clean, keep_problems=True)
    monkeypatch.setattr(
        "segmenter.extras.checking.data_check.inspect_all",
        lambda items, classes, workers: read.extend(items) or inspect_all(items, classes, workers),
    )
    found: Check = check(data, "set", 0)
    assert len(read) == 3
    assert kinds(found) == ["leak"]
