"""Model cards: what the file carries, harmless, and readable for the hub."""

import pytest
import yaml

from segmenter.extras.sharing.card import measured, write_card
from segmenter.image_spec import ImageType, choose_bands
from segmenter.model import ModelSpec
from tests.helpers.models import make_band_spec, make_classes, make_spec

SCORES = {
    "miou": 0.5,
    "mean_accuracy": 0.625,
    "pixel_accuracy": 0.75,
    "classes": {"class-0": {"iou": 0.25}, "class-1": {"iou": 0.75}, "class-2": {"iou": None}},
    "absent": ["class-2"],
}


def spec_with(**fields: object) -> ModelSpec:
    return make_spec().model_copy(update=fields)


def card_of(spec: ModelSpec) -> tuple[dict, str]:
    """The header and the text of a card."""
    card = write_card(spec, 12_345_678, "tiny", "hf:me/tiny")
    begin, header, text = card.split("---\n", 2)
    assert begin == ""
    return yaml.safe_load(header), text


def test_a_card_says_what_was_measured_and_on_what() -> None:
    header, text = card_of(spec_with(scores={"val": SCORES}))
    (result,) = header["model-index"][0]["results"]
    assert result["dataset"]["name"] == "val"
    assert {each["type"]: each["value"] for each in result["metrics"]} == {
        "mean_iou": 0.5,
        "accuracy": 0.75,
    }
    for line in (
        "| mIoU | mean accuracy | pixel accuracy |",
        "| 50.00 % | 62.50 % | 75.00 % |",
        "| class-0 | 25.00 % |",
        "| class-2 | - |",
        "12.3 million parameters",
    ):
        assert line in text


def test_a_card_makes_nothing_up() -> None:
    header, text = card_of(make_spec())
    assert "model-index" not in header
    assert "license" not in header
    assert "carries no scores" in text
    assert "terms of use | not stated" in text
    assert "recipe" not in text


def test_a_card_says_which_images_the_model_takes() -> None:
    assert "image)  # uint8 (height, width, 3), RGB -> the class" in card_of(make_spec())[1]
    image = choose_bands((4, 2), ImageType(4, "uint16"))
    text = card_of(make_band_spec(image))[1]
    said = "uint16 (height, width, 2), bands 4, 2 of images with 4 bands of uint16 -> the class"
    assert f"predictor(image)  # {said}" in text
    assert "predict image.tif" in text


def test_the_hub_reads_the_header() -> None:
    repocard = pytest.importorskip("huggingface_hub.repocard")
    spec = spec_with(scores={"val": SCORES}, license="CC-BY-4.0")
    data = repocard.ModelCard(write_card(spec, 1, "tiny", "hf:me/tiny")).data
    assert data.license == "cc-by-4.0"
    assert data.pipeline_tag == "image-segmentation"
    assert [each.metric_value for each in data.eval_results] == [0.5, 0.75]


def test_terms_that_the_hub_has_no_name_for_stand_in_the_text() -> None:
    header, text = card_of(spec_with(license="Ask my aunt."))
    assert header["license"] == "other"
    assert "terms of use | Ask my aunt." in text


@pytest.mark.parametrize(
    "scores",
    [
        {"val": 0.5},
        {"val": [1]},
        {"val": {"miou": "high", "classes": [1], "num_images": "many"}},
        {"val": {"miou": 10**400, "kappa": True, "iou": {"a": "b"}, "classes": {"a": 1}}},
    ],
)
def test_scores_of_a_form_we_do_not_know_are_left_out(scores: dict) -> None:
    assert all(not each.overall for each in measured(spec_with(scores=scores)))
    card_of(spec_with(scores=scores))


def test_texts_of_a_strangers_file_do_not_become_markup() -> None:
    evil = "<script>x</script> | `a` [b](http://evil)\n---\n# heading ```"
    classes = make_classes(3).model_dump()
    classes["classes"][0]["name"] = "<b>|[x](y)"
    spec = spec_with(
        provenance=evil,
        license=evil,
        recipe={"name": evil},
        scores={evil: SCORES},
        classes=type(make_classes(3)).model_validate(classes),
    )
    header, text = card_of(spec)
    assert header["license"] == "other"
    before, recipe = text.split("````yaml\n")
    assert "<script>" not in before
    assert "[x](y)" not in before
    assert "\n# heading" not in before
    assert yaml.safe_load(recipe.removesuffix("````\n"))["name"] == evil
