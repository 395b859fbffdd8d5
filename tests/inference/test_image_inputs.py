"""A predictor takes arrays, files, PIL images and tensors, and gives each the same labels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segmenter.data.decoding.decode import decode_image
from segmenter.errors import UserError
from segmenter.inference import Predictor
from segmenter.inference.image_inputs import read_input
from segmenter.model import Segmenter
from tests.helpers.models import decided, make_spec


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(decided(Segmenter(make_spec(depth=1))))


def png(folder: Path, image: np.ndarray) -> Path:
    Image.fromarray(image).save(folder / "a.png")
    return folder / "a.png"


def test_all_forms_of_an_image_get_the_same_labels(
    predictor: Predictor, image: np.ndarray, tmp_path: Path
) -> None:
    path = png(tmp_path, image)
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())
    forms = [path, str(path), Image.open(path), Image.fromarray(image), tensor, tensor / 255]
    expected = predictor(image)
    assert len(np.unique(expected)) > 1
    for labels in (*map(predictor, forms), *predictor(forms)):
        np.testing.assert_array_equal(labels, expected)


def test_a_list_of_mixed_forms_and_sizes_keeps_its_order(
    predictor: Predictor, image: np.ndarray, tmp_path: Path
) -> None:
    small = np.ascontiguousarray(image[:40, :50])
    found = predictor([png(tmp_path, image), small, Image.fromarray(small), image])
    assert isinstance(found, list)
    for labels, given in zip(found, (image, small, small, image), strict=True):
        np.testing.assert_array_equal(labels, predictor(given))


def test_every_method_takes_a_path(predictor: Predictor, image: np.ndarray, tmp_path: Path) -> None:
    path = png(tmp_path, image)
    np.testing.assert_array_equal(predictor.probabilities(path), predictor.probabilities(image))
    np.testing.assert_array_equal(predictor.confidence(path), predictor.confidence(image))
    for method in (predictor.labels_and_margins, predictor.labels_and_probabilities):
        for from_path, from_array in zip(method(path), method(image), strict=True):
            np.testing.assert_array_equal(from_path, from_array)
    rows = [labels for _, labels in predictor.label_rows(path)]
    np.testing.assert_array_equal(np.concatenate(rows), predictor(image))


def test_every_method_gives_a_list_for_a_list(predictor: Predictor, image: np.ndarray) -> None:
    small = np.ascontiguousarray(image[:40, :50])
    for method in (
        *(predictor.probabilities, predictor.confidence, predictor.segment, predictor),
        *(predictor.labels_and_margins, predictor.labels_and_probabilities),
    ):
        assert method([]) == []
        assert isinstance(method([image, small]), list)
    for found, given in zip(predictor.probabilities([image, small]), (image, small), strict=True):
        np.testing.assert_array_equal(found, predictor.probabilities(given))


def test_files_of_a_list_are_read_as_they_are_needed(
    predictor: Predictor, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = most = 0
    batches = Predictor._batches
    read = read_input

    def count(*arguments: object) -> np.ndarray:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        return read(*arguments)

    def count_down(self: Predictor, images: object) -> object:
        nonlocal waiting
        for batch in batches(self, images):
            yield batch
            waiting -= len(batch)

    monkeypatch.setattr("segmenter.inference.predictor.read_input", count)
    monkeypatch.setattr("segmenter.inference.predictor.batch_size", lambda _: 2)
    monkeypatch.setattr(Predictor, "_batches", count_down)
    assert len(predictor([png(tmp_path, image)] * 9)) == 9
    assert most <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_a_pil_image_is_turned_as_its_file_is(
    image: np.ndarray, tmp_path: Path, ending: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    Image.fromarray(image).save(path, exif=exif)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(read_input(opened, 3), decode_image(path))
        loaded = opened.copy()
    np.testing.assert_array_equal(read_input(loaded, 3), decode_image(path))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_a_pil_image_of_any_mode_of_8_bits_is_taken(image: np.ndarray, mode: str) -> None:
    converted = Image.fromarray(image).convert("RGBA" if mode == "LA" else mode).convert(mode)
    before = converted.tobytes()
    expected = np.array(converted.convert("RGB"))
    np.testing.assert_array_equal(read_input(converted, 3), expected)
    assert converted.tobytes() == before
    assert converted.mode == mode


def test_a_pil_image_with_a_transparent_colour_is_taken_as_its_file_is(
    image: np.ndarray, tmp_path: Path
) -> None:
    palette = Image.fromarray(image).convert("P")
    palette.save(tmp_path / "a.png", transparency=0)
    opened = Image.open(tmp_path / "a.png")
    np.testing.assert_array_equal(read_input(opened, 3), decode_image(tmp_path / "a.png"))
    assert "transparency" in opened.info


def test_more_than_8_bits_are_read_from_a_file_and_refused_as_a_pil_image(
    tmp_path: Path, predictor: Predictor
) -> None:
    Image.fromarray(np.full((20, 30), 40_000, np.uint16)).save(tmp_path / "a.png")
    assert predictor(tmp_path / "a.png").shape == (20, 30)
    with (
        Image.open(tmp_path / "a.png") as opened,
        pytest.raises(UserError, match=r"mode I;16 .* give the path of its file"),
    ):
        predictor(opened)


def test_a_damaged_pil_image_is_refused(image: np.ndarray, tmp_path: Path) -> None:
    content = png(tmp_path, image).read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with (
        Image.open(tmp_path / "a.png") as opened,
        pytest.raises(UserError, match="the PIL image cannot be read"),
    ):
        read_input(opened, 3)


def test_a_missing_file_is_named(predictor: Predictor) -> None:
    with pytest.raises(UserError, match=r"^no such file: nowhere\.jpg$"):
        predictor("nowhere.jpg")


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"as a list: list\(images\)"),
        (torch.zeros(8, 8, dtype=torch.uint8), "uint8 of shape"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"image\.permute\(2, 0, 1\)"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "got int64 of shape"),
        (torch.zeros(3, 8, 8, dtype=torch.bfloat16), "got bfloat16 of shape"),
        (torch.full((3, 8, 8), 1.5), "got floats from 1.5 to 1.5; .*not normalised"),
        (torch.full((3, 8, 8), -0.5), "not normalised"),
        (torch.full((3, 8, 8), float("nan")), "got floats from nan"),
        (torch.zeros(4, 8, 8, dtype=torch.uint8), r"\(height, width, 3\), got uint8"),
    ],
)
def test_a_tensor_of_another_form_is_refused(tensor: torch.Tensor, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        read_input(tensor, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_floats_of_a_tensor_give_back_each_of_256_values(dtype: torch.dtype) -> None:
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    scaled = (values.double() / 255).to(dtype)
    np.testing.assert_array_equal(read_input(scaled, 3)[:, :, 1], values[0].numpy())


def test_a_tensor_that_needs_gradients_is_taken() -> None:
    assert read_input(torch.zeros(3, 4, 5, requires_grad=True), 3).shape == (4, 5, 3)


def test_a_closed_pil_image_is_refused_in_one_line(
    predictor: Predictor, image: np.ndarray, tmp_path: Path
) -> None:
    with Image.open(png(tmp_path, image)) as opened:
        pass
    with pytest.raises(UserError, match="file is closed; use it before"):
        predictor(opened)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda image: image / 255, "scale it to 0 to 255"),
        (lambda image: image.transpose(2, 0, 1), "put the channels last"),
        (
            lambda image: np.dstack([image, image[:, :, 0]]),
            r"omit channels: image\[:, :, :3\]",
        ),
        (lambda image: image[None], r"give several images as a list: list\(images\)"),
        (lambda image: iter([image]), r"give several images as a list: list\(images\)"),
        (lambda image: image.tobytes(), "PIL.Image.open"),
    ],
)
def test_what_is_nearly_an_image_is_told_how_to_become_one(
    image: np.ndarray, change: Callable, advice: str
) -> None:
    with pytest.raises(UserError, match=advice):
        read_input(change(image), 3)


def test_one_channel_behind_two_axes_is_grey(predictor: Predictor, image: np.ndarray) -> None:
    grey = image[:, :, 0]
    np.testing.assert_array_equal(predictor(grey[:, :, None]), predictor(grey))
