import numpy as np
import pytest
from PIL import Image

from segmenter.data.folder import open_folder, read_labels
from segmenter.data.masks.survey import survey
from segmenter.errors import UserError


@pytest.mark.parametrize("workers", [0, 2])
def test_pixels_of_each_class_are_counted_for_each_item(workers, make_folder):
    folder = open_folder(make_folder("a", "b"))
    items = folder.items("all")
    Image.fromarray(np.full((40, 50), 255, dtype=np.uint8)).save(items[1].mask)
    counts = survey(items, folder.classes, workers).pixel_counts
    labels = read_labels(items[0], folder.classes)
    assert counts.tolist() == [[int((labels == index).sum()) for index in range(3)], [0, 0, 0]]


def test_bad_items_are_counted_and_the_first_is_explained(make_folder):
    folder = open_folder(make_folder("a", "b", "c", "d"))
    items = folder.items("all")
    Image.new("L", (9, 9)).save(items[1].mask)
    Image.fromarray(np.full((40, 50), 77, dtype=np.uint8)).save(items[2].mask)
    items[3].image.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"3 of 4 .*b\.png has 9 x 9") as caught:
        survey(items, folder.classes)
    assert "\n" not in str(caught.value)


def test_what_does_not_stop_training_is_handed_over(make_folder):
    folder = open_folder(make_folder("a", "b"))
    items = folder.items("all")
    Image.fromarray(np.full((40, 50), 255, dtype=np.uint8)).save(items[1].mask)
    (problem,) = survey(items, folder.classes).problems
    assert (problem.kind, problem.paths) == ("all-ignored", (items[1].image, items[1].mask))


def test_no_items_have_no_counts(make_folder):
    assert survey((), open_folder(make_folder("a")).classes).pixel_counts.shape == (0, 3)


def test_rare_classes_of_camvid_are_those_of_its_description(camvid):
    folder = open_folder(camvid)
    counts = survey(folder.items("train")[::6], folder.classes).pixel_counts.sum(axis=0)
    rare = {folder.classes.names[index] for index in np.flatnonzero(counts < 0.02 * counts.sum())}
    assert rare == {"pole", "sign", "fence", "pedestrian", "bicyclist"}
