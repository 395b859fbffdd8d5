"""Lists of images: what is clear is read, the rest is refused with its line; nothing is skipped."""

import codecs
from pathlib import Path

import pytest

from segmenter.data.folder import find_splits, open_folder
from segmenter.errors import UserError
from tests.helpers.data_sets import write_pair


def read(root: Path, text: str | bytes, name: str = "train.txt") -> list[tuple[str, str]]:
    """The image and the mask of each line, by their paths inside the data set."""
    content = text if isinstance(text, bytes) else text.encode()
    (root / name).write_bytes(content)
    (items,) = find_splits(root).values()
    return [
        (
            item.image.relative_to(root).as_posix(),
            item.mask.relative_to(root).as_posix() if item.mask else "",
        )
        for item in items
    ]


A, B = ("images/a.png", "masks/a.png"), ("images/b.png", "masks/b.png")
PLAIN = "images/b.png masks/b.png\nimages/a.png masks/a.png\n"
FORMS: dict[str, str | bytes] = {
    "names": "b\na\n",
    "names-with-suffix": "b.png\na.png\n",
    "images-alone": "images/b.png\nimages/a.png\n",
    "both-names": "b b\na a\n",
    "without-suffix": "images/b masks/b\nimages/a masks/a\n",
    "dots": "./images/b.png ./masks/b.png\n./images/a.png ./masks/a.png\n",
    "slashes": "/images/b.png /masks/b.png\n/images/a.png /masks/a.png\n",
    "backslashes": "images\\b.png masks\\b.png\r\n.\\images\\a.png .\\masks\\a.png\r\n",
    "old-mac": PLAIN.replace("\n", "\r"),
    "quotes": "\"images/b.png\" \"masks/b.png\"\n'images/a.png' 'masks/a.png'\n",
    "quoted-table": '"images/b.png","masks/b.png"\n"images/a.png","masks/a.png"\n',
    "comma": PLAIN.replace(" ", ","),
    "semicolon": PLAIN.replace(" ", "; "),
    "tab": PLAIN.replace(" ", "\t"),
    "comments": f"# which\n{PLAIN}# images/c.png masks/c.png\n",
    "comment-behind": PLAIN.replace("\n", "  # clear\n"),
    "header": f"image mask\n{PLAIN}",
    "comma-header": "image,mask\n" + PLAIN.replace(" ", ","),
    "path-header": "image_path;label_path\n" + PLAIN.replace(" ", ";"),
    "columns": "id,Mask,imagePath\n0,masks/b.png,images/b.png\n1,masks/a.png,images/a.png\n",
    "pandas": ",image,mask,width\n0,images/b.png,masks/b.png,50\n1,images/a.png,masks/a.png,50\n",
    "two-names": "id,filename,mask\n0,b.png,b.png\n1,a.png,a.png\n",
    "name-header": "filename\nb\na\n",
    "bom": codecs.BOM_UTF8 + PLAIN.encode(),
    "utf-16": PLAIN.encode("utf-16"),
    "utf-16-be": codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be"),
    "utf-16-without-bom": PLAIN.encode("utf-16-le"),
    "utf-32": PLAIN.encode("utf-32"),
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_lists_of_all_forms_are_read_in_their_order(text, make_folder) -> None:
    assert read(make_folder("a", "b", "c"), text) == [B, A]


@pytest.mark.parametrize(
    "line", ["images/my a.png masks/my a.png", "my a", "my a.png", "images/my a.png"]
)
def test_names_may_hold_blanks(line, make_folder) -> None:
    assert read(make_folder("my a", "a"), line) == [("images/my a.png", "masks/my a.png")]


@pytest.mark.parametrize("name", ["a,b", "a;b", "#a", "a'b", "p0.v2"])
def test_names_may_hold_marks(name, make_folder) -> None:
    both = (f"images/{name}.png", f"masks/{name}.png")
    assert read(make_folder(name), name) == [both]
    assert read(make_folder(name), " ".join(both)) == [both]


def test_names_with_accents_are_found_in_either_form(make_folder) -> None:
    decomposed = "u\u0308ber"
    (found,) = read(make_folder(decomposed), "\u00fcber\n")
    assert found[0] == f"images/{decomposed}.png"


def test_an_absolute_path_is_read(make_folder) -> None:
    root = make_folder("a")
    assert read(root, f"{root}/images/a.png {root}/masks/a.png") == [A]


@pytest.mark.parametrize(
    ("list_name", "split"),
    [
        ("train.txt", "train"),
        ("train_list.txt", "train"),
        ("val.csv", "val"),
        ("Train.tsv", "Train"),
        ("splits/test.txt", "test"),
        ("ImageSets/Segmentation/trainval.txt", "trainval"),
        ("fold0.txt", "fold0"),
    ],
)
def test_a_list_is_found_by_its_name_or_by_what_it_names(list_name, split, make_folder) -> None:
    root = make_folder("a", "b")
    (root / list_name).parent.mkdir(parents=True, exist_ok=True)
    (root / list_name).write_text("b\n")
    splits = find_splits(root)
    assert {name: [item.name for item in items] for name, items in splits.items()} == {split: ["b"]}
    assert find_splits(root / list_name) == splits


@pytest.mark.parametrize(
    "name", ["labels.txt", "README.txt", "_classes.csv", "meta.csv", "._train.txt"]
)
def test_other_texts_are_no_lists(name, make_folder) -> None:
    root = make_folder("a")
    (root / name).write_text("filename,label\na,tree\n" if name == "meta.csv" else "ground\ntree\n")
    assert list(find_splits(root)) == ["all"]


def test_a_name_in_split_folders_is_that_of_the_lists_split(make_folder) -> None:
    root = make_folder("train/a", "val/a")
    assert read(root, "a\n", "val.txt") == [("images/val/a.png", "masks/val/a.png")]


def test_a_column_of_splits_makes_splits(make_folder) -> None:
    root = make_folder("a", "b", "c")
    (root / "data.csv").write_text("image,split\na,train\nb,val\nc,train\n")
    splits = find_splits(root)
    assert {name: [item.name for item in items] for name, items in splits.items()} == {
        "train": ["a", "c"],
        "val": ["b"],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nnowhere\n", r"train\.txt, line 2: no such file: .*nowhere; a line is an image and"),
        ("this is no list\n", "line 1: 4 fields, expected an image and its mask"),
        ("", "names no image"),
        ("# nothing\n", "names no image"),
        ("image,mask\n", "names no image"),
        ("image,mask\n,masks/a.png\n", "line 2: no image is named"),
        (b"images/\xe4.png\n", "not text in UTF-8 or UTF-16"),
        ("x" * 9000, "line 1: 9000 characters"),
        ("images/a.png masks/a.png\nimages/a.png masks/b.png\n", "is listed with .* keep one"),
    ],
)
def test_what_a_split_list_cannot_mean_is_refused(text, message, make_folder) -> None:
    root = make_folder("a", "b")
    with pytest.raises(UserError, match=message):
        read(root, text)


def test_a_name_of_two_images_is_refused_with_both(make_folder) -> None:
    root = make_folder("one/a", "two/a")
    with pytest.raises(UserError, match=r"'a' may be .*one/a\.png or .*two/a\.png"):
        read(root, "a\n")


def test_two_lists_of_one_split_are_refused(make_folder) -> None:
    root = make_folder("a", "b")
    (root / "train.csv").write_text("a\n")
    with pytest.raises(UserError, match=r"train\.csv and .*train\.txt are lists of one split"):
        read(root, "b\n")


def test_a_listed_image_without_mask_is_told_what_is_expected(make_folder) -> None:
    root = make_folder("a")
    write_pair(root / "images" / "b.png", None)
    with pytest.raises(UserError, match=r"images/b\.png has no mask; expected .*masks/b\.png"):
        read(root, "a\nb\n")


def test_images_of_a_val_list_are_not_trained_on(make_folder) -> None:
    root = make_folder("a", "b", "c")
    (root / "train.txt").write_text("a\nb\n")
    (root / "val.txt").write_text("c\n")
    folder = open_folder(root)
    assert [item.name for item in folder.items("train")] == ["a", "b"]
    assert [item.name for item in folder.items("val")] == ["c"]
