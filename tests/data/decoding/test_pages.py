"""Files of several pages or frames."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segmenter.checkpoints import save
from segmenter.data.decoding.decode import decode_mask, read_header, read_image
from segmenter.data.folder import LabelledFolder
from segmenter.data.masks.draft import draft_classes
from segmenter.data.pairing.items import Item
from segmenter.errors import UserError
from segmenter.extras.checking.before_training import read_training_data
from segmenter.options import Compute, ImageOutput, PredictOptions
from segmenter.predicting.run_prediction import run_prediction
from tests.helpers.models import make_classes

PAGES = [Image.fromarray(np.full((16, 24), value, np.uint8)) for value in (0, 1, 2)]
SUFFIXES = ["tif", "gif", "png", "webp", "avif"]


def write_pages(path: Path, pages: list[Image.Image] = PAGES, **options: object) -> Path:
    first, *others = [
        page.copy().convert("L" if path.suffix == ".tif" else "RGB") for page in pages
    ]
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=others, **lossless, **options)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mask_of_several_pages_is_refused_with_their_number(suffix, tmp_path: Path) -> None:
    path = write_pages(tmp_path / f"mask.{suffix}")
    with pytest.raises(UserError, match="3 pages" if suffix == "tif" else "several frames"):
        decode_mask(path)
    decode_mask(write_pages(tmp_path / f"one.{suffix}", PAGES[:1]))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_image_says_that_it_has_pages(suffix, tmp_path: Path) -> None:
    path = write_pages(tmp_path / f"image.{suffix}")
    assert read_image(path).num_pages == read_header(path).num_pages
    assert read_image(path).num_pages == (2 if suffix == "gif" else 3)


def test_pages_of_a_big_tiff_are_counted(tmp_path: Path) -> None:
    path = write_pages(tmp_path / "mask.tif", big_tiff=True)
    with pytest.raises(UserError, match="3 pages"):
        decode_mask(path)


@pytest.mark.parametrize("kind", [1, 4])
def test_previews_and_masks_inside_a_tiff_are_no_pages(kind, tmp_path: Path) -> None:
    path = write_pages(tmp_path / "mask.tif", PAGES[::-1][:2], tiffinfo={254: 0})
    data = bytearray(path.read_bytes())
    entry = struct.pack("<HHI", 254, 4, 1)
    second = data.rindex(entry) + len(entry)
    data[second] = kind
    path.write_bytes(data)
    with Image.open(path) as opened:
        assert opened.n_frames == 2
    assert (decode_mask(path) == 2).all()


def test_pages_that_point_at_each_other_end() -> None:
    data = bytearray(tiff_bytes())
    first = int.from_bytes(data[4:8], "little")
    place = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[place : place + 4] = first.to_bytes(4, "little")
    assert read_image(bytes(data)).num_pages == 1


def tiff_bytes() -> bytes:
    file = io.BytesIO()
    PAGES[0].save(file, "TIFF")
    return file.getvalue()


def test_training_refuses_masks_with_pages_and_warns_of_such_images(tmp_path: Path) -> None:
    image = write_pages(tmp_path / "image.tif")
    mask = tmp_path / "mask.png"
    PAGES[1].save(mask)
    item = Item("a", image, mask)
    problems = read_training_data(folder_of(item, tmp_path), [item], []).problems
    assert "several-pages" in {problem.kind for problem in problems}
    several = write_pages(tmp_path / "mask.tif")
    item = Item("a", mask, several)
    with pytest.raises(UserError, match="3 pages"):
        read_training_data(folder_of(item, tmp_path), [item], [])
    with pytest.raises(UserError, match="3 pages"):
        draft_classes([item])


def folder_of(item: Item, root: Path) -> LabelledFolder:
    return LabelledFolder(root, make_classes(3), {"train": (item,)})


def test_predict_says_that_the_first_page_is_labelled(
    tmp_path: Path, tiny_model, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.tif", "b.gif"):
        write_pages(tmp_path / name)
    save(tiny_model, tmp_path / "model.safetensors")
    run_prediction(
        [str(tmp_path)],
        str(tmp_path / "model.safetensors"),
        PredictOptions(
            output=ImageOutput(out=tmp_path / "out", overwrite=True),
            compute=Compute(runtime="torch", precision="float32"),
        ),
    )
    said = capsys.readouterr().out
    assert "2 images" in said
    assert "several pages or frames: the first is labelled" in said
