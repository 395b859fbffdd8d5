"""A folder that is labelled is a data set at any time, and nothing in it is lost."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.classes import read_classes
from segmenter.data.folder import open_folder, read_sample
from segmenter.errors import UserError
from segmenter.extras.labelling.image_record import StaleError
from segmenter.extras.labelling.label_folder import open_label_folder
from segmenter.extras.labelling.layers import NOT_SURE, NOTHING, Acceptance
from segmenter.extras.labelling.mask_files import ForeignMaskError
from tests.helpers.data_sets import write_data_set
from tests.helpers.labelling import (
    make_change,
    make_stroke,
    read_mask,
    with_classes,
    write_images,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_images(tmp_path / "set", "a b", "deep/c")


def test_masks_equal_what_was_painted_and_make_a_data_set(root: Path) -> None:
    with open_label_folder(root) as folder:
        with_classes(folder, "sky", "road")
        folder.change(make_change("a b", 0), make_stroke(1, (0, 0, 10), (5, 2, 56)))
        folder.change(make_change("a b", 1), make_stroke(NOT_SURE, (5, 50, 56)))
        assert folder.states() == {"a b": "work", "deep/c": "new"}
    expected = np.full((40, 56), 255)
    expected[0, :10], expected[5, 2:50] = 1, 1
    np.testing.assert_array_equal(read_mask(root, "a b"), expected)
    data = open_folder(root)
    (item,) = data.items("train")
    np.testing.assert_array_equal(read_sample(item, data.classes).labels, expected)
    assert data.classes.names == ("sky", "road")


def test_lists_name_what_has_masks_in_each_split_until_all_have(tmp_path: Path) -> None:
    root = write_images(tmp_path / "set", "train/a", "train/b", "val/c")
    found = []
    for name in ("train/b", "val/c", "train/a"):
        with open_label_folder(root) as folder:
            with_classes(folder, *({"sky", "road"} if folder.classes is None else ()))
            folder.change(make_change(name, 0), make_stroke(0, (0, 0, 10)))
        splits = open_folder(root).splits
        found.append({split: len(items) for split, items in splits.items()})
    assert found == [{"train": 1}, {"train": 1, "val": 1}, {"train": 2, "val": 1}]


def test_a_list_of_somebody_else_is_left_alone(root: Path) -> None:
    (root / "val.txt").write_text("images/deep/c.png\n")
    with open_label_folder(root) as folder:
        with_classes(folder, "sky", "road")
        folder.change(make_change("a b", 0), make_stroke(0, (0, 0, 10)))
    assert [path.name for path in root.glob("*.txt")] == ["val.txt"]
    assert (root / "val.txt").read_text() == "images/deep/c.png\n"


def test_strokes_and_states_are_there_again_without_a_proper_end(
    root: Path, tmp_path: Path
) -> None:
    with open_label_folder(root) as folder:
        with_classes(folder, "sky", "road")
        folder.change(make_change("deep/c", 0), make_stroke(1, (3, 4, 9)))
        folder.change(make_change("deep/c", 1), make_stroke(0, (3, 0, 9)))
        folder.step(make_change("deep/c", 2), "undo")
        folder.mark(make_change("deep/c", 3), is_done=True)
        _, labels = folder.labels("deep/c")
        killed = Path(shutil.copytree(root, tmp_path / "killed"))  # no mask was written yet
    assert not (killed / "masks").exists()
    with open_label_folder(killed) as folder:
        opened = folder.open("deep/c")
        assert (opened.version, opened.can_redo, opened.state) == (4, True, "done")
        np.testing.assert_array_equal(folder.labels("deep/c")[1], labels)
    np.testing.assert_array_equal(read_mask(killed, "deep/c"), labels)


def test_a_change_to_an_older_version_is_refused_and_a_repeated_one_made_once(root: Path) -> None:
    with open_label_folder(root) as folder:
        with_classes(folder, "sky", "road")
        first = make_change("a b", 0)
        folder.change(first, make_stroke(0, (0, 0, 9)))
        assert folder.change(first, make_stroke(0, (0, 0, 9))).version == 1
        with pytest.raises(StaleError, match="version 0 of this image was changed"):
            folder.change(make_change("a b", 0), make_stroke(1, (0, 0, 9)))
        with pytest.raises(StaleError, match="there are 2 classes by now"):
            folder.add_class(1, "tree", None)
        assert (folder.labels("a b")[1][0, :9] == 0).all()


def test_a_mask_made_elsewhere_is_taken_over_only_when_asked_and_a_copy_is_kept(
    tmp_path: Path,
) -> None:
    root = write_data_set(tmp_path / "set", num_images=1, splits=("train",))
    name, mask = "train/photo-0", root / "masks" / "train" / "photo-0.png"
    before, values = mask.read_bytes(), read_mask(root, "train/photo-0")
    with open_label_folder(root) as folder:
        assert folder.states() == {name: "given"}
        with pytest.raises(ForeignMaskError, match="not replaced unasked"):
            folder.change(make_change(name, 0), make_stroke(0, (0, 0, 9)))
        folder.take_mask(make_change(name, 0), keep_labels=True)
        folder.change(make_change(name, 1), make_stroke(0, (0, 0, 64)))
    values[0] = 0
    np.testing.assert_array_equal(read_mask(root, name), values)
    (copy,) = (root / "strokes" / "before").rglob("*.png")
    assert copy.read_bytes() == before


def test_our_mask_changed_by_somebody_else_is_not_replaced(root: Path) -> None:
    with open_label_folder(root) as folder:
        with_classes(folder, "sky", "road")
        folder.change(make_change("a b", 0), make_stroke(0, (0, 0, 9)))
    theirs = Image.fromarray(np.ones((40, 56), np.uint8))
    theirs.save(root / "masks" / "a b.png")
    with open_label_folder(root) as folder, pytest.raises(ForeignMaskError):
        folder.change(make_change("a b", 1), make_stroke(1, (1, 0, 9)))
    assert (read_mask(root, "a b") == 1).all()


@pytest.mark.parametrize("theirs", [0, 255], ids=["labels", "nothing labelled"])
def test_beginning_with_the_labels_of_a_changed_mask_gives_that_mask(
    root: Path, theirs: int
) -> None:
    with open_label_folder(root) as folder:
        with_classes(folder, "sky", "road")
        rows = [(row, 0, 56) for row in range(40)]
        folder.change(make_change("a b", 0), make_stroke(1, *rows))
    changed = np.full((40, 56), 255, np.uint8)
    changed[:9] = theirs
    Image.fromarray(changed).save(root / "masks" / "a b.png")
    with open_label_folder(root) as folder:
        folder.take_mask(make_change("a b", 1), keep_labels=True)
    np.testing.assert_array_equal(read_mask(root, "a b"), changed)
    with open_label_folder(root) as folder:
        folder.step(make_change("a b", 2), "undo")
    assert (read_mask(root, "a b") == 1).all()


def test_a_mask_is_asked_about_again_where_taking_it_over_could_not_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_data_set(tmp_path / "set", num_images=1, splits=("train",))
    name = "train/photo-0"

    def full(*_: object) -> None:
        raise UserError("No space left on device")

    for target in ("image_record.Journal.append", "mask_files.write_atomically"):
        with monkeypatch.context() as patch, open_label_folder(root) as folder:
            patch.setattr(f"segmenter.extras.labelling.{target}", full)
            with pytest.raises(UserError, match="No space left"):
                folder.take_mask(make_change(name, folder.version(name)), keep_labels=True)
            with pytest.raises(ForeignMaskError):
                folder.open(name)


def test_a_mask_that_was_not_written_is_told_of_and_written_at_the_next_start(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_label_folder(root) as folder:
        with_classes(folder, "sky", "road")
        folder.change(make_change("a b", 0), make_stroke(0, (0, 0, 9)))

    def full(path: Path, _: bytes) -> None:
        raise UserError(f"{path} cannot be written: No space left on device")

    with monkeypatch.context() as patch, open_label_folder(root) as folder:
        patch.setattr("segmenter.extras.labelling.mask_files.write_atomically", full)
        folder.change(make_change("a b", 1), make_stroke(1, (1, 0, 9)))
    assert (
        "a b.png cannot be written: No space left on device; all strokes" in capsys.readouterr().err
    )
    assert read_mask(root, "a b")[1, 0] == 255
    with open_label_folder(root):
        assert read_mask(root, "a b")[1, 0] == 1
    assert not capsys.readouterr().err


def test_a_mask_that_somebody_deleted_or_took_back_is_written_again(root: Path) -> None:
    path = root / "masks" / "a b.png"
    with open_label_folder(root) as folder:
        with_classes(folder, "sky", "road")
        folder.change(make_change("a b", 0), make_stroke(0, (0, 0, 9)))
        folder.write_masks()
        older = path.read_bytes()
        folder.change(make_change("a b", 1), make_stroke(1, (1, 0, 9)))
    newest = path.read_bytes()
    for damage in (path.unlink, lambda: path.write_bytes(older)):
        damage()
        with open_label_folder(root):
            assert path.read_bytes() == newest


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    root = write_data_set(tmp_path / "set", num_images=1, splits=("train",))
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(root / "masks/train/photo-0.png")
    with open_label_folder(root) as folder:
        with pytest.raises(UserError, match=r"9 x 7 .* has 64 x 64"):
            folder.take_mask(make_change("train/photo-0", 0), keep_labels=True)
        assert folder.states() == {"train/photo-0": "given"}


def test_an_image_that_was_changed_or_deleted_is_named_and_its_strokes_are_kept(
    root: Path,
) -> None:
    path = root / "images" / "a b.png"
    with open_label_folder(root) as folder:
        with_classes(folder, "sky", "road")
        folder.change(make_change("a b", 0), make_stroke(0, (0, 0, 9)))
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(UserError, match="is missing; restore it"):
            folder.change(make_change("a b", 1), make_stroke(0, (1, 0, 9)))
        Image.fromarray(np.zeros((40, 56, 3), np.uint8)).save(path)
        with pytest.raises(UserError, match="not the image any more that was painted in"):
            folder.open("a b")
        path.write_bytes(content)
        assert folder.open("a b").version == 1


def test_a_mask_and_strokes_whose_image_is_gone_are_told_of_and_kept(root: Path) -> None:
    with open_label_folder(root) as folder:
        with_classes(folder, "sky", "road")
        folder.change(make_change("a b", 0), make_stroke(0, (0, 0, 9)))
    (root / "images" / "a b.png").unlink()
    lost = [root / "masks" / "a b.png", root / "strokes" / "a b.strokes"]
    with open_label_folder(root) as folder:
        assert folder.without_image() == lost
    assert all(path.is_file() for path in lost)


def test_the_classes_of_a_data_set_grow_and_keep_a_copy_of_a_file_of_somebody_else(
    tmp_path: Path,
) -> None:
    root = write_data_set(tmp_path / "set", num_images=1, splits=("train",))
    before = (root / "classes.yaml").read_bytes()
    with open_label_folder(root) as folder:
        with_classes(folder, "tree")
        with pytest.raises(UserError, match="the class 'tree' exists already"):
            folder.add_class(4, "tree", None)
    classes = read_classes(root / "classes.yaml")
    assert classes.names[3] == "tree"
    assert classes.source_values[3] == 3
    (copy,) = (root / "strokes" / "before").glob("classes-*.yaml")
    assert copy.read_bytes() == before


def write_classes(root: Path, *names: str) -> None:
    """Edit the list by hand; each class keeps its value: that of its first letter."""
    rows = [f"  - {{name: {name}, values: [{ord(name[0])}]}}" for name in names]
    (root / "classes.yaml").write_text("\n".join(["ignore: [255]", "classes:", *rows, ""]))


@pytest.mark.parametrize(
    "edited",
    [
        ("road", "car", "sky"),
        ("tree", "sky", "road", "car"),
        ("road", "sky"),
        ("sky", "rue", "car"),
    ],
    ids=["in another order", "one inserted", "an unused one deleted", "one renamed"],
)
def test_an_edited_class_list_relabels_nothing(root: Path, edited: tuple[str, ...]) -> None:
    write_classes(root, "sky", "road", "car")
    with open_label_folder(root) as folder:
        folder.change(make_change("a b", 0), make_stroke(0, (0, 0, 9)))
        folder.change(make_change("a b", 1), make_stroke(1, (1, 0, 9)))
        whole = np.full((40, 56), NOTHING, np.uint8)
        whole[2] = 1
        folder.change(make_change("a b", 2), Acceptance.of_proposal(whole))
    for names in (edited, edited, (*edited, "zebra")):
        write_classes(root, *names)
        with open_label_folder(root) as folder:
            version = folder.open("a b").version
            folder.change(make_change("a b", version), make_stroke(0, (3, 0, 9)))
        rows = [chr(value) for value in read_mask(root, "a b")[:4, 0]]
        assert rows == ["s", "r", "r", edited[0][0]]


def test_a_class_that_strokes_are_of_may_not_vanish(root: Path) -> None:
    write_classes(root, "sky", "road", "car")
    with open_label_folder(root) as folder:
        folder.change(make_change("a b", 0), make_stroke(0, (0, 0, 9)))
    before = read_mask(root, "a b")
    for names in (("road", "car"), ("road", "tree", "car"), ("zoo", "rue", "car")):
        write_classes(root, *names)
        with (
            pytest.raises(UserError, match=r"not list the class 'sky' any more, and .*put the cl"),
            open_label_folder(root),
        ):
            pass
    np.testing.assert_array_equal(read_mask(root, "a b"), before)


def test_a_class_that_was_added_and_deleted_gives_its_number_to_no_other(root: Path) -> None:
    with open_label_folder(root) as folder:
        with_classes(folder, "sky", "road")
        folder.change(make_change("a b", 0), make_stroke(1, (0, 0, 9)))
    write_classes(root, "road")
    with open_label_folder(root) as folder:
        with_classes(folder, "tree")
        folder.change(make_change("a b", 1), make_stroke(1, (1, 0, 9)))
        assert folder.labels("a b")[1][:2, 0].tolist() == [0, 1]
    with open_label_folder(root) as folder:
        assert folder.labels("a b")[1][:2, 0].tolist() == [0, 1]


def test_records_without_numbers_of_classes_are_taken_as_of_the_list(root: Path) -> None:
    write_classes(root, "sky", "road")
    with open_label_folder(root) as folder:
        folder.change(make_change("a b", 0), make_stroke(1, (0, 0, 9)))
    (root / "strokes" / ".classes").unlink()  # as before there were numbers
    with open_label_folder(root) as folder:
        assert folder.labels("a b")[1][0, 0] == 1
    write_classes(root, "road", "sky")
    with open_label_folder(root) as folder:
        assert folder.labels("a b")[1][0, 0] == 0


def test_a_class_list_edited_meanwhile_is_not_written_over(root: Path) -> None:
    write_classes(root, "sky", "road")
    with open_label_folder(root) as folder:
        write_classes(root, "sky", "road", "car")
        with pytest.raises(StaleError, match="changed meanwhile"):
            folder.add_class(2, "tree", None)
        folder.look()
        folder.add_class(3, "tree", None)
        assert read_classes(root / "classes.yaml").names == ("sky", "road", "car", "tree")
        write_classes(root, "road", "sky", "car", "tree")
        with pytest.raises(UserError, match="stop `label` and start it again"):
            folder.look()


def test_the_first_classes_have_colours_that_show_on_dark_images(root: Path) -> None:
    with open_label_folder(root) as folder:
        with_classes(folder, "sky", "road", "tree", "car", "fence")
        assert folder.classes is not None
        assert all(max(info.color) >= 200 for info in folder.classes.classes)


def test_a_second_process_is_kept_out(root: Path) -> None:
    with (
        open_label_folder(root),
        pytest.raises(UserError, match="is labelled by another process"),
        open_label_folder(root),
    ):
        pass


def test_a_folder_that_cannot_be_written_is_refused_and_left_as_it_is(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    before = sorted(root.rglob("*"))
    monkeypatch.setattr(Path, "mkdir", refuse)  # permissions do not stop root
    with (
        pytest.raises(UserError, match="strokes cannot be written: Permission denied"),
        open_label_folder(root),
    ):
        pass
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "no such folder"),
        (lambda root: root.mkdir(), "has no folder 'images'; put images into"),
        (lambda root: (root / "images").mkdir(parents=True), "holds no image"),
    ],
)
def test_a_folder_without_images_is_refused(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    root = tmp_path / "set"
    make(root)
    with pytest.raises(UserError, match=message), open_label_folder(root):
        pass
