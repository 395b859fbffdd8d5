"""Explanations: the numbers are the model's own, and the page holds a picture of every head."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segmenter.checkpoints import save
from segmenter.commands import main
from segmenter.errors import UserError
from segmenter.extras.explaining.embeddings import class_map, class_similarity, token_colors
from segmenter.extras.explaining.explain_page import Origin, attention_picture, write_explanation
from segmenter.extras.explaining.maps import attention, confidence, describe, seen_as_a_whole
from segmenter.files.outputs import OutputFolder
from segmenter.inference.predictor import Predictor
from segmenter.model import Segmenter
from segmenter.model.attention_maps import all_attention_maps, attention_maps
from tests.helpers.models import make_spec


@pytest.fixture(
    params=["linear", "mask", "multi-linear", "atm", "joined-class-tokens", "eomt", "pmt"]
)
def predictor(request: pytest.FixtureRequest) -> Predictor:
    return Predictor(Segmenter(make_spec(4, decoder=request.param)))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)


def test_attention_is_the_row_of_the_patch_that_was_pointed_at(
    predictor: Predictor, image: np.ndarray
) -> None:
    found = attention(predictor, image, 1, (0.5, 0.99), None)
    assert found["grid"] == [3, 5]
    assert found["patch"] == (1, 4)
    assert found["covered"] == pytest.approx([48 / 45, 80 / 70])
    pixels = seen_as_a_whole(predictor, image)
    expected = attention_maps(predictor.model, pixels, 1).of_patch(1, 4)[0]
    torch.testing.assert_close(torch.tensor(found["heads"]), expected.flatten(1), atol=1e-6, rtol=0)


def test_confidence_is_the_probability_of_the_label(
    predictor: Predictor, image: np.ndarray
) -> None:
    probabilities = predictor.probabilities(image).max(axis=0)
    np.testing.assert_allclose(confidence(predictor, image) / 255, probabilities, atol=0.5 / 255)


@pytest.mark.parametrize("layer", [-1, 99])
def test_a_layer_that_is_not_there_is_refused(
    predictor: Predictor, image: np.ndarray, layer: int
) -> None:
    with pytest.raises(UserError, match=r"no layer|it has no attention"):
        attention(predictor, image, layer, (0.5, 0.5), None)


def test_layers_are_those_of_encoder_and_decoder(predictor: Predictor) -> None:
    parts = [layer["part"] for layer in describe(predictor, "x")["layers"]]
    model = predictor.model
    assert parts.count("encoder") == len(model.encoder.blocks)
    assert parts.count("decoder") == model.decoder.num_attention_blocks


def test_similarity_is_the_cosine_and_the_map_keeps_the_two_strongest_directions(
    predictor: Predictor,
) -> None:
    similarity = class_similarity(predictor.model)
    torch.testing.assert_close(similarity.diagonal(), torch.ones(4))
    torch.testing.assert_close(similarity, similarity.T)
    places = class_map(predictor.model)
    assert places.shape == (4, 2)
    torch.testing.assert_close(places.abs().amax(dim=0), torch.ones(2))
    assert abs(float(places[:, 0] @ places[:, 1])) < 1e-5


def test_tokens_that_are_equal_get_one_colour(predictor: Predictor, image: np.ndarray) -> None:
    pixels = seen_as_a_whole(predictor, image)
    colors = token_colors(predictor.model, pixels)
    assert colors.shape == (3, 5, 3)
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) > 3


@pytest.mark.parametrize("origin", [Origin(None), Origin((2, 4)), Origin(None, "class-1")])
def test_the_page_shows_every_head(
    predictor: Predictor, image: np.ndarray, tmp_path: Path, origin: Origin
) -> None:
    folder = OutputFolder(tmp_path / "out")
    write_explanation(predictor, image, "<b>.jpg", origin, folder)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "&lt;b&gt;.jpg" in page
    model = predictor.model
    heads = len(model.encoder.blocks)  # one a block
    if predictor.spec.decoder.kind == "mask" or (
        predictor.spec.decoder.kind == "atm" and origin.class_name is not None
    ):
        heads += len(model.decoder.blocks)
    pictures = list((tmp_path / "out").glob("*-head-*.png"))
    assert len(pictures) == heads
    assert all(picture.name in page for picture in pictures)
    means = list((tmp_path / "out").glob("*-mean.png"))
    assert (
        page.count("-mean.png") == len(means) == len({p.name.split("-head")[0] for p in pictures})
    )


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--patch", "3,0"], "3 rows"),
        (["--patch", "x"], "ROW,COLUMN"),
        (["--class", "nothing"], "class-0"),
        (["--class", "class-0", "--patch", "0,0"], "not both"),
    ],
)
def test_a_wrong_argument_is_one_line(
    tmp_path: Path,
    image: np.ndarray,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    word: str,
) -> None:

    save(Segmenter(make_spec(4)), tmp_path / "m.safetensors")
    Image.fromarray(image).save(tmp_path / "p.png")
    arguments = ["explain", str(tmp_path / "p.png"), "--model", str(tmp_path / "m.safetensors")]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--out", str(tmp_path / "out"), *flags])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert word in error
    assert error.count("\n") == 1


def test_a_thin_image_has_no_more_patches_than_others() -> None:
    predictor = Predictor(Segmenter(make_spec(3)))
    for shape in ((1, 65535, 3), (65535, 3, 3)):
        seen = seen_as_a_whole(predictor, np.zeros(shape, np.uint8))
        assert max(seen.shape) <= 2048 * 16


def test_all_attention_maps_in_one_run_equal_those_of_each_block(
    predictor: Predictor, image: np.ndarray
) -> None:
    pixels = seen_as_a_whole(predictor, image)
    found = list(all_attention_maps(predictor.model, pixels))
    depth = len(predictor.model.encoder.blocks) + predictor.model.decoder.num_attention_blocks
    assert len(found) == depth
    for part, number, maps in found:
        expected = attention_maps(predictor.model, pixels, number, part)
        assert (maps.grid, maps.num_classes) == (expected.grid, expected.num_classes)
        torch.testing.assert_close(maps.weights, expected.weights)


def test_a_class_that_is_not_in_the_image_is_said(image: np.ndarray, tmp_path: Path) -> None:
    predictor = Predictor(Segmenter(make_spec(40)))
    present = set(predictor.classes.present(predictor(image)))
    absent = next(index for index in range(40) if index not in present)
    folder = OutputFolder(tmp_path / "out")
    remark = write_explanation(predictor, image, "a", Origin(None, f"class-{absent}"), folder)
    assert remark is not None
    assert f"no pixel of this image is labelled class-{absent}" in remark
    assert remark[1:] in (tmp_path / "out/index.html").read_text()
    there = Origin(None, f"class-{min(present)}")
    folder = OutputFolder(tmp_path / "there")
    assert write_explanation(predictor, image, "a", there, folder) is None


def test_one_outlier_does_not_darken_the_other_patches() -> None:
    predictor = Predictor(Segmenter(make_spec(4)))
    pixels = seen_as_a_whole(predictor, np.zeros((160, 160, 3), np.uint8))
    weights = np.full((10, 10), 0.5)
    weights[0, 0] = 1000
    dark = np.zeros((160, 160, 3), np.uint8)
    drawn = attention_picture(dark, weights, predictor, pixels)
    brightest, other = (drawn[at].astype(int).sum() for at in ((8, 8), (80, 80)))
    assert other == pytest.approx(brightest, rel=0.1)
