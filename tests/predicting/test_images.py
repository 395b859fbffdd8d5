"""Files in, files out: names, order, failures, and the summary."""

import errno
import os
import threading
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from segmenter.classes import Classes
from segmenter.data.decoding.decode import decode_image
from segmenter.data.decoding.image_formats import describe_passed_over
from segmenter.data.pairing.find_images import find_images
from segmenter.drawing import class_shares
from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.inference import Predictor
from segmenter.label_files.image_outputs import (
    ImageOutputs,
    PredictedImage,
    encode_labels,
    source_ids,
)
from segmenter.model import Segmenter
from segmenter.predicting.class_shares import Summary
from segmenter.predicting.images import label_images, predict_files
from segmenter.predicting.printing import print_shown_size
from segmenter.predicting.profiling import StageClock, num_cpus
from tests.helpers.models import make_classes, make_spec


@pytest.fixture
def image_folder(tmp_path: Path, image: np.ndarray) -> Path:
    """A folder with `a.jpg`, `b.PNG`, `deep/er/c.png`, and what is to be skipped."""
    root = tmp_path / "photos"
    (root / "deep" / "er").mkdir(parents=True)
    (root / ".hidden").mkdir()
    picture = Image.fromarray(image)
    for name in ("b.PNG", "deep/er/c.png", ".hidden/d.png", ".e.png"):
        picture.save(root / name, "PNG")
    (root / "a.jpg").write_bytes(simplejpeg.encode_jpeg(image))
    (root / "notes.txt").write_text("no image")
    return root


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(Segmenter(make_spec(depth=1)))


def names(inputs: list[str]) -> list[str]:
    return [name for _, name in find_images(inputs)]


@pytest.mark.parametrize(("num_images", "said"), [(31, ""), (40, "(20 looked at)")])
def test_the_size_says_how_many_of_many_images_were_looked_at(
    num_images: int, said: str, image_folder, predictor, capsys: pytest.CaptureFixture
) -> None:
    print_shown_size(predictor, [image_folder / "a.jpg"] * num_images)
    shown = capsys.readouterr().out
    assert said in shown
    assert ("looked at" in shown) == bool(said)


def test_a_folder_is_searched_to_any_depth(image_folder) -> None:
    assert find_images([str(image_folder)]) == [
        (image_folder / "a.jpg", "a"),
        (image_folder / "b.PNG", "b"),
        (image_folder / "deep" / "er" / "c.png", "deep/er/c"),
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a"]),
        ("*", ["a", "b"]),
        ("**/*.png", ["deep/er/c"]),
        ("d*/*/c.*", ["deep/er/c"]),
        ("[ab].*", ["a", "b"]),
    ],
)
def test_a_pattern_finds_images_and_names_them_after_its_first_wildcard(
    image_folder, pattern, expected
) -> None:
    assert names([f"{image_folder}/{pattern}"]) == expected


def test_a_relative_pattern_is_taken_from_the_current_folder(
    image_folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(image_folder)
    assert find_images(["*.jpg", "deep"]) == [
        (Path("a.jpg"), "a"),
        (Path("deep/er/c.png"), "er/c"),
    ]


def test_a_named_file_is_taken_whatever_its_name(image_folder) -> None:
    for name in ("notes.txt", ".e.png", "odd[1]*.jpg"):
        (image_folder / name).touch()
        assert find_images([str(image_folder / name)]) == [(image_folder / name, Path(name).stem)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("none.jpg", "no such file or folder: .*none.jpg"),
        ("none/*.jpg", "pattern .* holds no image"),
        ("*.txt", "pattern .* holds no image"),
        ("**b", "pattern .*: .*"),
        ("empty", r"folder .*empty holds no image; files with \.avif, \.bmp, "),
    ],
)
def test_an_input_without_a_image_is_named(image_folder, given, message) -> None:
    (image_folder / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        find_images([str(image_folder / "a.jpg"), str(image_folder / given)])


def test_loops_of_links_do_not_hang_and_linked_folders_are_searched(
    image_folder, tmp_path: Path
) -> None:
    (image_folder / "loop").symlink_to(image_folder)
    (image_folder / "deep" / "loop").symlink_to(image_folder / "deep")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f.png").touch()
    (image_folder / "linked").symlink_to(tmp_path / "elsewhere")
    assert names([str(image_folder)]) == ["a", "b", "deep/er/c", "linked/f"]
    assert names([f"{image_folder}/**/*.png"])[0] == "deep/er/c"


def test_one_image_given_twice_is_labelled_once(
    image_folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(image_folder)
    assert names([str(image_folder), "a.jpg", "./deep/../a.jpg", "*.jpg"]) == [
        "a",
        "b",
        "deep/er/c",
    ]


def test_two_images_of_one_name_are_refused(image_folder) -> None:
    (image_folder / "a.png").touch()
    with pytest.raises(UserError, match=r"a\.jpg and .*a\.png would both be written as 'a'"):
        find_images([str(image_folder)])


def test_an_overlay_and_a_label_map_are_written_for_each_image(
    image_folder, tmp_path: Path, predictor
) -> None:
    folder = OutputFolder(tmp_path / "out")
    results = list(predict_files(predictor, find_images([str(image_folder)]), folder))
    assert [result.path.name for result in results] == ["a.jpg", "b.PNG", "c.png"]
    assert results[2].outputs == tuple(
        tmp_path / "out" / "deep" / "er" / f"c_{ending}" for ending in ("overlay.jpg", "label.png")
    )
    assert all(result.problem is None and result.seconds > 0 for result in results)


def test_the_files_hold_the_label_map_of_the_image(
    image_folder, image, tmp_path: Path, predictor
) -> None:
    images = [(image_folder / "b.PNG", "b")]
    (result,) = predict_files(predictor, images, OutputFolder(tmp_path / "out"))
    labels = predictor(image)
    overlay, label = (np.array(Image.open(path)) for path in result.outputs)
    np.testing.assert_array_equal(label, labels)
    assert overlay.shape[0] > 60
    np.testing.assert_allclose(result.shares, [(labels == index).mean() for index in range(3)])


def test_an_unreadable_image_does_not_stop_the_others(
    image_folder, tmp_path: Path, predictor
) -> None:
    (image_folder / "b.PNG").write_bytes((image_folder / "b.PNG").read_bytes()[:100])
    images = [*find_images([str(image_folder)]), (image_folder / "gone.jpg", "gone")]
    results = list(predict_files(predictor, images, OutputFolder(tmp_path / "out")))
    assert [result.problem is None for result in results] == [True, False, True, False]
    assert "b.PNG is cut, damaged or not an image" in str(results[1].problem)
    assert results[1].outputs == ()
    assert not list((tmp_path / "out").glob("b_*"))


def test_a_image_too_large_for_the_memory_does_not_stop_the_others(
    image_folder, tmp_path: Path, predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(predictor.model, "patch_logits", fail)
    images = [(image_folder / "b.PNG", "b")]
    (result,) = predict_files(predictor, images, OutputFolder(tmp_path / "out"))
    assert "does not fit into memory" in str(result.problem)


def test_files_in_the_way_are_refused_before_the_model_runs(
    image_folder, tmp_path: Path, predictor
) -> None:
    (tmp_path / "b_label.png").write_bytes(b"mine")
    predictor.model.patch_logits = None
    with pytest.raises(UserError, match=r"b_label\.png exists"):
        predict_files(predictor, find_images([str(image_folder)]), OutputFolder(tmp_path))


def test_a_second_run_gives_the_same_files_and_passes_over_the_first_ones(
    image_folder, predictor
) -> None:
    out = image_folder / "out"
    runs = []
    for _ in range(2):
        results = list(
            predict_files(predictor, find_images([str(image_folder)]), OutputFolder(out))
        )
        runs.append({path: path.read_bytes() for result in results for path in result.outputs})
    assert runs[0] == runs[1]
    assert len(runs[0]) == 6
    assert names([f"{image_folder}/**/*.png"]) == ["deep/er/c"]


def test_an_option_that_cannot_be_is_refused(image_folder, tmp_path: Path, predictor) -> None:
    folder = OutputFolder(tmp_path / "out")
    with pytest.raises(UserError, match=r"opacity must be from 0 .* got 1\.5"):
        ImageOutputs(predictor.classes, tmp_path, opacity=1.5)
    five_bands = Predictor(Segmenter(make_spec(depth=1, in_channels=5)))
    with pytest.raises(UserError, match="this model takes 5"):
        predict_files(five_bands, find_images([str(image_folder)]), folder)


def test_source_ids_reach_the_label_file(image_folder, image, tmp_path: Path) -> None:
    model = Segmenter(make_spec(depth=1))
    classes = make_value_classes([[7], [400, 3], [9]])
    model.spec = model.spec.model_copy(update={"classes": classes})
    predictor = Predictor(model)
    images = [(image_folder / "b.PNG", "b")]
    outputs = ImageOutputs(classes, tmp_path / "out", ids="source")
    (result,) = predict_files(predictor, images, OutputFolder(tmp_path / "out"), outputs)
    values = np.array(Image.open(result.outputs[-1]))
    np.testing.assert_array_equal(values, np.array([7, 400, 9])[predictor(image)])


def make_value_classes(values: list[list[object]]) -> Classes:
    return Classes.model_validate(
        {
            "classes": [
                {"name": f"c{i}", "color": [i, 0, 0], "values": own} for i, own in enumerate(values)
            ]
        }
    )


@pytest.mark.parametrize(
    ("values", "expected", "dtype"),
    [
        ([[7], [3, 4]], [[7, 3]], np.uint8),
        ([[256], [3]], [[256, 3]], np.uint16),
        ([[[300 - 255, 0, 1]], [[1, 2, 3]]], [[[45, 0, 1], [1, 2, 3]]], np.uint8),
    ],
)
def test_source_ids_are_the_first_mask_value_of_each_class(values, expected, dtype) -> None:
    ids = source_ids(np.array([[0, 1]], dtype=np.uint8), make_value_classes(values))
    assert ids.dtype == dtype
    np.testing.assert_array_equal(ids, expected)


def test_mask_values_are_the_pixels_and_the_colours_of_their_classes_are_seen() -> None:
    labels = np.array([[0, 1, 2]], dtype=np.uint8)
    classes = make_value_classes([[7], [255], [3, 4]])
    image = Image.open(BytesIO(encode_labels(labels, classes, "source")))
    np.testing.assert_array_equal(np.array(image), [[7, 255, 3]])
    np.testing.assert_array_equal(np.array(image.convert("RGB")), classes.colors[None])
    deep = make_value_classes([[7], [400], [3]])
    image = Image.open(BytesIO(encode_labels(labels, deep, "source")))
    np.testing.assert_array_equal(np.array(image), [[7, 400, 3]])


def test_the_summary_lists_classes_that_occur_by_their_mean_share() -> None:
    summary = Summary(make_classes(3))
    summary.add(Path("a"), np.array([0.5, 0.0, 0.5]))
    summary.add(Path("b"), np.array([0.0, 0.0, 1.0]))
    table = summary.table()
    assert table.names == ("class-2", "class-0")
    assert table.images == (Path("a"), Path("b"))
    np.testing.assert_array_equal(table.shares, [[0.5, 0.5], [1.0, 0.0]])
    np.testing.assert_array_equal(table.overall, [0.75, 0.25])


def test_the_summary_of_many_images_has_few_rows_and_the_mean_of_all() -> None:
    summary = Summary(make_classes(2))
    for number in range(100):
        summary.add(Path(f"{number}"), np.eye(2)[number % 2])
    table = summary.table()
    assert (len(table.images), table.num_images) == (40, 100)
    np.testing.assert_array_equal(table.overall, [0.5, 0.5])


def test_the_summary_of_no_image_is_empty() -> None:
    table = Summary(make_classes(3)).table()
    assert (table.names, table.images, table.shares.shape) == ((), (), (0, 0))


@pytest.fixture
def many(tmp_path: Path) -> list[tuple[Path, str]]:
    """Twelve images of many sizes, one of them broken."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(12):
        path = tmp_path / f"many-{number:02}.png"
        size = (int(rng.integers(1, 200)), int(rng.integers(1, 200)), 3)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)
        images.append((path, path.stem))
    images[5][0].write_bytes(b"no image")
    return images


def test_files_are_those_of_one_image_after_the_other(many, tmp_path: Path, predictor) -> None:
    outputs = ImageOutputs(predictor.classes, tmp_path)
    results = list(predict_files(predictor, many, OutputFolder(tmp_path / "out")))
    assert [result.path for result in results] == [path for path, _ in many]
    for result in results:
        if result.name == "many-05":
            assert (result.outputs, result.problem is None) == ((), False)
            continue
        image = decode_image(result.path)
        labels = predictor(image)
        shares = class_shares(labels, 3)
        predicted = PredictedImage(result.path, result.name, image, found={"labels": labels})
        predicted.shares = shares
        files = outputs.draw(predicted).items()
        for path, (name, encode) in zip(result.outputs, files, strict=True):
            assert path == tmp_path / "out" / name
            assert path.read_bytes() == encode()


def test_few_images_are_taken_at_a_time(many, tmp_path: Path, predictor) -> None:
    asked = []
    image_folder = (asked.append(name) or (path, name) for path, name in many)
    outputs = ImageOutputs(predictor.classes, tmp_path / "out")
    folder = OutputFolder(tmp_path / "out")
    labelled = label_images(predictor, image_folder, folder, outputs)
    assert asked == []
    for number, _ in enumerate(labelled, start=1):
        assert len(asked) <= number + 2 * num_cpus() + 2
    assert len(asked) == 12


def test_an_error_of_a_writer_ends_the_run_and_leaves_nothing_half_written(
    many, tmp_path: Path, predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    labelled = predict_files(predictor, many, OutputFolder(tmp_path / "out"))
    next(labelled)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"cannot be written: No space left"):
        list(labelled)
    assert not list((tmp_path / "out").glob(".*.tmp*"))


def test_an_interrupt_leaves_whole_files_and_no_thread(
    many, tmp_path: Path, predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled = predict_files(predictor, many, OutputFolder(tmp_path / "out"))
    next(labelled)

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predictor.model, "patch_logits", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(labelled)
    assert not list((tmp_path / "out").glob(".*.tmp*"))
    for path in (tmp_path / "out").glob("*.png"):
        Image.open(path).load()
    assert not [each for each in threading.enumerate() if each.name.startswith(("read", "write"))]


def test_the_shares_of_the_stages_make_up_the_whole(many, tmp_path: Path, predictor) -> None:
    clock = StageClock()
    list(predict_files(predictor, many, OutputFolder(tmp_path / "out"), clock=clock))
    used = clock.usage()
    assert set(used.shares) == {"decode", "model", "labels", "draw", "write"}
    assert min(used.shares.values()) > 0
    assert sum(used.shares.values()) == pytest.approx(1)
    assert 0 < used.num_busy <= num_cpus() + 0.1


def test_files_of_formats_that_are_not_read_are_counted_by_suffix(image_folder) -> None:
    for name in ("a.heic", "deep/b.HEIC", "c.jxl", "clip.mp4", ".hidden.heic", "notes.txt"):
        (image_folder / name).parent.mkdir(exist_ok=True)
        (image_folder / name).write_bytes(b"x")
    counts = Counter()
    find_images([str(image_folder)], counts)
    assert counts == {".heic": 2, ".jxl": 1, ".mp4": 1}
    assert describe_passed_over(counts) == (
        "3 files skipped, in formats that are not read (2 .heic, 1 .jxl): convert them to "
        "JPEG or PNG; 1 file skipped, videos (1 .mp4): give each video by its name"
    )
    of_pattern = Counter()
    find_images([f"{image_folder}/*"], of_pattern)
    assert of_pattern == {".heic": 1, ".jxl": 1, ".mp4": 1}


@pytest.mark.parametrize("given", ["", "/*"])
def test_a_folder_of_videos_alone_is_answered_with_how_to_name_them(given, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(UserError, match=r"holds no image; 1 file skipped, videos \(1 \.mp4\)"):
        find_images([f"{tmp_path}{given}"])
