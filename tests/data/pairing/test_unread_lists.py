"""A file that says which images are of which split is read or refused, never skipped."""

from pathlib import Path

import pytest

from segmenter.data.folder import find_splits
from segmenter.errors import UserError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("val.json", '["b"]'),
        ("val", "b\n"),
        ("val.list", "b\n"),
        ("val_ids.yaml", "- b\n"),
        ("splits.json", '{"train": ["a"], "val": ["b"]}'),
        ("images/val.txt", "b\n"),
        ("ImageSets/Main/val.txt", "b\n"),
        ("val/list.txt", "b\n"),
        ("meta.csv", "id,usage\na,train\nb,val\n"),
        ("meta.csv", "a.png,train\nb.png,val\n"),
        ("meta.csv", "name,is_valid\na.png,False\nb.png,True\n"),
        (
            "data.csv",
            "image,mask,is_valid\nimages/a.png,masks/a.png,0\nimages/b.png,masks/b.png,1\n",
        ),
    ],
)
def test_splits_that_are_not_read_are_refused(name: str, text: str, make_folder) -> None:
    root: Path = make_folder("a", "b")
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    with pytest.raises(UserError, match="not read: a list is"):
        find_splits(root)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train.json", '{"images": [], "annotations": []}'),
        ("training.log", "step 1\n"),
        ("notes.txt", "we train a model\n"),
    ],
)
def test_other_files_are_in_nobodys_way(name: str, text: str, make_folder) -> None:
    root: Path = make_folder("a", "b")
    (root / name).write_text(text)
    assert list(find_splits(root)) == ["all"]


def test_a_list_that_names_masks_first_is_read_in_its_order(make_folder) -> None:
    root: Path = make_folder("a", "b")
    (root / "train.txt").write_text("masks/a.png images/a.png\nmasks/b.png,images/b.png\n")
    (items,) = find_splits(root).values()
    assert [item.image.parent.name for item in items] == ["images", "images"]
    assert [item.mask.parent.name for item in items if item.mask] == ["masks", "masks"]


def test_a_mask_that_is_listed_as_an_image_is_refused(make_folder) -> None:
    root: Path = make_folder("a")
    (root / "train.txt").write_text("masks/a.png\n")
    with pytest.raises(UserError, match="lies in the folder of masks"):
        find_splits(root)


def test_a_list_in_a_windows_code_page_is_refused(make_folder) -> None:
    root: Path = make_folder("a", "b")
    text = "images/a.png masks/a.png\nimages/b.png masks/b.png\nstra\u00dfe\n"
    (root / "liste.txt").write_bytes(text.encode("cp1252"))
    with pytest.raises(UserError, match="save it as UTF-8"):
        find_splits(root)
