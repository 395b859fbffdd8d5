"""Images of more than 8 bits a sample: where white lies."""

import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from segmenter.checkpoints import load, save
from segmenter.classes import Classes, read_classes
from segmenter.data.decoding.decode import decode_image, decode_mask, read_image
from segmenter.data.folder import open_folder
from segmenter.data.pairing.items import Item
from segmenter.data.video.image_sequence import find_sequence
from segmenter.errors import UserError
from segmenter.extras.checking.before_training import read_training_data
from segmenter.options import Compute, ImageOutput, PredictOptions
from segmenter.predicting.run_prediction import run_prediction
from tests.helpers.models import make_classes
from tests.helpers.runs import make_recipe, run_training

RAMP = np.linspace(0, 1, 2400).reshape(40, 60)


def deep(bits: int, channels: int = 1) -> np.ndarray:
    """Samples over the whole range of so many bits."""
    grey = np.round(RAMP * ((1 << bits) - 1)).astype(np.uint16)
    return grey if channels == 1 else np.stack([grey, grey[::-1], grey[:, ::-1]], 2)


def encode(samples: np.ndarray, kind: str = "png") -> bytes:
    swapped = samples if samples.ndim == 2 else samples[:, :, ::-1]
    done, data = cv2.imencode(f".{kind}", swapped)
    assert done
    return data.tobytes()


def rgb(samples: np.ndarray) -> np.ndarray:
    return samples if samples.ndim == 3 else np.repeat(samples[:, :, None], 3, axis=2)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_largest_sample_says_where_white_is(bits, kind, channels) -> None:
    samples = deep(bits, channels)
    found = read_image(encode(samples, kind))
    assert np.array_equal(found.pixels, rgb(samples >> (bits - 8)))
    assert found.bits == bits


def test_what_the_user_says_counts_for_a_dark_image() -> None:
    dark = deep(10)
    assert np.array_equal(decode_image(encode(dark), image_bits=12), rgb(dark >> 4))


def test_a_few_samples_above_white_are_white_and_many_are_refused() -> None:
    samples = deep(12)
    samples[0, :3] = 65535
    decoded = decode_image(encode(samples), image_bits=12)
    assert (decoded[0, :3] == 255).all()
    assert np.array_equal(decoded[1:], rgb(samples[1:] >> 4))
    with pytest.raises(UserError, match=r"above 4095.*--image-bits"):
        decode_image(encode(deep(16)), image_bits=12)


def test_the_significant_bits_of_a_png_count() -> None:
    dark = deep(9)
    data = encode(dark)
    chunk = b"sBIT" + bytes([12])
    chunk = struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert np.array_equal(decode_image(data[:33] + chunk + data[33:]), rgb(dark >> 4))


def test_a_tiff_of_12_bits_fixes_its_white() -> None:
    # Two samples of 12 bits in three bytes: 256 and 4080.
    tags = [(256, 3, 1, 2), (257, 3, 1, 1), (258, 3, 1, 12), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 1, 3)]
    rows = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    data = b"II*\0" + struct.pack("<I", 12) + bytes([0x10, 0x0F, 0xF0, 0])
    data += struct.pack("<H", len(tags)) + rows + bytes(4)
    assert decode_image(data, image_bits=10)[0, :, 0].tolist() == [16, 255]


def test_the_greatest_value_of_a_pgm_is_its_white() -> None:
    data = b"P5 60 40 1023\n" + deep(9).astype(">u2").tobytes()
    assert np.abs(decode_image(data, image_bits=8).astype(int) - rgb(deep(9) >> 2)).max() <= 1
    raw = b"P5 60 40 65535\n" + deep(12).astype(">u2").tobytes()
    assert np.array_equal(decode_image(raw), rgb(deep(12) >> 4))


def test_alpha_of_16_bits_is_no_light() -> None:
    samples = np.dstack([deep(12, 3), np.full((40, 60), 65535, np.uint16)])
    done, data = cv2.imencode(".png", samples[:, :, [2, 1, 0, 3]])
    assert done
    assert np.array_equal(decode_image(data.tobytes()), samples[:, :, :3] >> 4)


def test_a_tiff_with_white_at_0_is_turned_round() -> None:
    file = io.BytesIO()
    Image.fromarray(deep(12)).save(file, "TIFF", tiffinfo={262: 0})
    assert np.array_equal(decode_image(file.getvalue()), 255 - rgb(deep(12) >> 4))


def test_signed_samples_are_read_unless_negative() -> None:
    for least in (0, -1):
        file = io.BytesIO()
        data = deep(12).astype("<i2")
        data[0, 0] = least
        image = Image.frombytes("I;16", (60, 40), data.tobytes())
        image.save(file, "TIFF", tiffinfo={339: 2})
        if least == 0:
            assert np.array_equal(decode_image(file.getvalue()), rgb(deep(12) >> 4))
        else:
            with pytest.raises(UserError, match="int16 values from -1 to 4095"):
                decode_image(file.getvalue())


def test_colours_of_a_16_bit_mask_keep_their_values(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    for colors in (deep(8, 3), deep(8, 3) // 40):
        for values in (colors, colors * np.uint16(257)):
            path.write_bytes(encode(values))
            assert np.array_equal(decode_mask(path), colors)
    path.write_bytes(encode(deep(16, 3)))
    with pytest.raises(UserError, match="colours of 16 bits"):
        decode_mask(path)


def write_deep_set(root: Path, bits: tuple[int, ...]) -> tuple[Item, ...]:
    items = []
    for split in ("train", "val"):
        for folder in ("images", "masks"):
            (root / folder / split).mkdir(parents=True)
        for number, each in enumerate(bits):
            image = root / "images" / split / f"{number}.png"
            mask = root / "masks" / split / f"{number}.png"
            shift = 5 * number + 3 * (split == "val")  # no two are alike
            image.write_bytes(encode(np.roll(deep(each), shift, axis=1)))
            Image.fromarray(np.array(RAMP * 2.99, np.uint8)).save(mask)
            items.append(Item(f"{split}/{number}", image, mask))
    (root / "classes.yaml").write_text(make_classes(3).to_yaml())
    return tuple(items)


def test_one_range_holds_for_a_whole_set_and_is_in_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    write_deep_set(root, (12, 9, 12))
    recipe = make_recipe(root, schedule={"steps": 1}, data={"val": None})
    run_training(recipe, tmp_path / "run", "cpu")
    assert load(tmp_path / "run" / "last.safetensors").spec.classes.image_bits == 12
    assert "3, read as 12 bits" in capsys.readouterr().err


def test_a_set_most_of_which_would_turn_dark_is_warned_of(tmp_path: Path) -> None:
    items = write_deep_set(tmp_path, (12, 12, 16))
    problems = read_training_data(open_folder(tmp_path), items, ()).problems
    (problem,) = [each for each in problems if each.kind == "dark-depth"]
    assert "4 of 6 images" in problem.message
    said = open_folder(tmp_path, make_classes(3).with_image_bits(12))
    with pytest.raises(UserError, match="above 4095"):
        read_training_data(said, items, ())


def test_predict_says_where_white_is(
    tmp_path: Path, tiny_model, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, bits in enumerate((12, 12, 16)):
        (tmp_path / f"{number}.png").write_bytes(encode(deep(bits)))
    save(tiny_model, tmp_path / "model.safetensors")
    options = PredictOptions(
        output=ImageOutput(out=tmp_path / "out", overwrite=True),
        compute=Compute(runtime="torch", precision="float32"),
    )
    given = ([str(tmp_path)], str(tmp_path / "model.safetensors"))
    assert run_prediction(*given, options) == 0
    said = capsys.readouterr().out
    assert "2 images, the first" in said
    assert "read as 12: white is 4095" in said
    assert "read as 16" in said
    assert run_prediction(*given, replace(options, image_bits=12)) == 1
    assert "above 4095" in capsys.readouterr().err


def test_bits_are_in_the_file_of_classes_only_where_they_are_known(tmp_path: Path) -> None:
    classes = make_classes(2)
    assert "image_bits" not in classes.model_dump()
    path = tmp_path / "classes.yaml"
    path.write_text(classes.with_image_bits(12).to_yaml())
    assert read_classes(path).image_bits == 12
    assert Classes.model_validate(read_classes(path).model_dump()).image_bits == 12


def test_frames_of_a_sequence_share_a_range(tmp_path: Path) -> None:
    for number, bits in enumerate((12, 9)):
        (tmp_path / f"{number}.png").write_bytes(encode(deep(bits)))
    frames = find_sequence(str(tmp_path / "%d.png"), 25.0).frames(lambda: False)
    assert [frame.pixels.max() for frame in frames] == [255, 511 >> 4]
