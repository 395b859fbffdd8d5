"""One class against all the rest, and two classes: from `classes.yaml` to label files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import segmenter
from segmenter import Predictor, UserError
from segmenter.checkpoints.foreign.family import choose_classes
from segmenter.classes import Classes
from segmenter.commands import app
from segmenter.data.folder import open_folder, read_sample
from segmenter.drawing import overlay_with_legend
from segmenter.evaluation.evaluate import evaluate
from segmenter.model import Segmenter
from segmenter.model.decoders import MaskTransformerSpec
from segmenter.model.spec import ModelSpec
from segmenter.recipe.loss import LossRecipe
from segmenter.training.losses import Loss
from segmenter.training.model_spec import build_spec
from segmenter.training.prepare import build_loss
from tests.helpers.models import make_classes, make_spec
from tests.helpers.runs import make_recipe, run_training

BLUE = {"name": "blue", "color": [0, 0, 255], "values": [2]}
ONE = Classes.model_validate({"classes": [BLUE], "background": [0, 1]})
TWO = Classes.model_validate(
    {"classes": [{"name": "rest", "color": [90, 90, 90], "values": [0, 1]}, BLUE]}
)


def one_class_spec(decoder: str = "linear") -> ModelSpec:
    spec = make_spec(1, decoder=decoder)
    if isinstance(spec.decoder, MaskTransformerSpec):
        scaled = spec.decoder.model_copy(update={"class_norm": "scale"})
        spec = spec.model_copy(update={"decoder": scaled})
    return spec.model_copy(update={"classes": ONE})


@pytest.fixture
def spec_of(data_set: Path):
    """The spec that a recipe, with changes to its model, makes for so many classes."""

    def build(num_classes: int, start: ModelSpec | None = None, **decoder: object) -> ModelSpec:
        classes = ONE if num_classes == 1 else make_classes(num_classes)
        recipe = make_recipe(data_set, model={"decoder": {"kind": "mask", **decoder}})
        return build_spec(recipe, classes, start or make_spec())

    return build


def class_norm(spec: ModelSpec) -> str | None:
    assert isinstance(spec.decoder, MaskTransformerSpec)
    return spec.decoder.class_norm


@pytest.mark.parametrize("classes", [ONE, TWO], ids=["one", "two"])
def test_overfitting_a_scaled_mask_decoder_reaches_the_right_labels(
    data_set: Path, classes: Classes
) -> None:
    (data_set / "classes.yaml").write_text(classes.to_yaml())
    recipe = make_recipe(
        data_set,
        model={"decoder": "mask", "drop_path": 0.0},
        data={"val": None},
        augment={"flip": 0.0},
        optimizer={"decoder_lr_factor": 3.0, "clip_grad_norm": 1.0},
        schedule={"steps": 20, "warmup_steps": 5, "power": 0.3},
        save_every=1000,
    )
    run_training(recipe, data_set / "run", "cpu", resume=False)
    model = segmenter.load(data_set / "run" / "last.safetensors")
    assert class_norm(model.spec) == "scale"
    items = open_folder(data_set).items("train")
    found = evaluate(Predictor(model), items, classes).scores
    blue = found.classes[1]
    assert blue.name == "blue"
    assert blue.iou is not None
    assert blue.iou > 0.95
    if classes is ONE:
        assert found.miou == blue.iou


def test_one_class_has_one_logit_and_its_sigmoid_as_probability(image: np.ndarray) -> None:
    model = Segmenter(one_class_spec()).eval()
    assert model.decoder.project.weight.shape[0] == 1
    predictor = Predictor(model)
    background, blue = predictor.probabilities(image)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    with torch.no_grad():
        logits = model(model.normalize(pixels))[0, 1]
    np.testing.assert_allclose(blue, logits.sigmoid().numpy(), atol=1e-6)
    np.testing.assert_allclose(background + blue, 1, atol=1e-6)
    np.testing.assert_array_equal(predictor(image), (logits > 0).numpy())


def mask_model(decoder: str, *, none: float) -> Segmenter:
    """A random model of one class that classifies masks; `none` is added to "no object"."""
    model = Segmenter(one_class_spec(decoder)).eval()
    with torch.no_grad():
        layer = model.decoder.classify if decoder == "eomt" else model.decoder.head.classify
        layer.bias[-1] += none
    return model


@pytest.mark.parametrize("decoder", ["eomt", "pmt"])
def test_the_probability_of_one_class_is_the_score_of_its_masks(decoder: str) -> None:
    model = mask_model(decoder, none=3)  # most queries have no object, as in a trained model
    tokens, grid = model.encode(torch.randn(2, 3, 32, 32))
    scores = model.decoder.mask_scores(tokens, grid).log_scores().exp().clamp(max=1)
    assert (scores < 1).any()
    found = model.decode(tokens, grid).softmax(dim=1)[:, 1:]
    torch.testing.assert_close(found, scores, atol=0.005, rtol=0)  # scores are bounded


@pytest.mark.parametrize("decoder", ["eomt", "pmt"])
def test_a_full_score_has_a_finite_logit_in_bfloat16(decoder: str) -> None:
    model = mask_model(decoder, none=-9)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.decode(*model.encode(torch.randn(2, 3, 32, 32)))
    assert logits.isfinite().all()


@pytest.mark.parametrize("decoder", ["linear", "mask"])
def test_one_class_is_trained_with_binary_cross_entropy(decoder: str) -> None:
    logits = Segmenter(one_class_spec(decoder))(torch.randn(2, 3, 32, 32))
    labels = torch.randint(0, 2, (2, 32, 32))
    labels[0, :9] = 255
    loss = Loss(LossRecipe(), 255)
    valid = labels != 255
    expected = F.binary_cross_entropy_with_logits(logits[:, 1][valid], labels[valid].float())
    found = loss(logits, labels, loss.num_pixels(labels), 1.0)
    torch.testing.assert_close(found, expected)


def test_a_one_class_model_says_so_in_its_file(tmp_path: Path) -> None:
    segmenter.save(Segmenter(one_class_spec("mask")), tmp_path / "one.safetensors")
    spec = segmenter.load(tmp_path / "one.safetensors").spec
    assert spec.classes == ONE
    assert class_norm(spec) == "scale"


def test_label_files_hold_1_and_0_or_the_data_sets_own_values(data_set: Path) -> None:
    segmenter.save(Segmenter(one_class_spec()), data_set / "one.safetensors")
    image = str(data_set / "images" / "train" / "photo-0.png")
    files = {}
    for ids in ("index", "source"):
        out = data_set / ids
        command = ["predict", image, "--model", str(data_set / "one.safetensors")]
        command += ["--runtime", "torch", "--out", str(out), "--ids", ids]
        app(command, result_action="return_value")
        files[ids] = np.array(Image.open(out / "photo-0_label.png"))
    model = segmenter.load(data_set / "one.safetensors")
    expected = Predictor(model)(np.array(Image.open(image)))
    np.testing.assert_array_equal(files["index"], expected)
    np.testing.assert_array_equal(files["source"], np.where(expected == 1, 2, 0))


def test_the_image_shows_where_the_class_is_not_and_the_legend_lists_the_class_alone() -> None:
    image = np.full((60, 90, 3), 100, dtype=np.uint8)
    labels = np.zeros((60, 90), dtype=np.uint8)
    labels[:, 60:] = 1
    drawn = overlay_with_legend(image, labels, ONE)
    assert (drawn[:60, :58] == 100).all()
    assert (drawn[:60, 62:90] == [50, 50, 178]).all()
    nothing = overlay_with_legend(image, np.zeros_like(labels), ONE)
    np.testing.assert_array_equal(nothing, image)


def test_a_split_is_scored_and_reported_with_the_background_in_no_mean(
    data_set: Path, capsys: pytest.CaptureFixture
) -> None:
    (data_set / "classes.yaml").write_text(ONE.to_yaml())
    segmenter.save(Segmenter(one_class_spec()), data_set / "one.safetensors")
    outputs = ["--json", str(data_set / "scores.json"), "--report", str(data_set / "report")]
    command = ["evaluate", str(data_set / "one.safetensors"), str(data_set), "--split", "val"]
    app([*command, *outputs], result_action="return_value")
    found = json.loads((data_set / "scores.json").read_text())
    assert found["miou"] == found["classes"]["blue"]["iou"]
    assert sum(map(sum, found["confusion"])) == 4 * 64 * 64
    assert "without background" in capsys.readouterr().out
    assert "No class, and so in no mean" in (data_set / "report" / "index.html").read_text()


def test_one_class_without_a_background_is_refused_with_the_line_that_is_missing(
    data_set: Path,
) -> None:
    alone = ONE.model_copy(update={"background": ()})
    with pytest.raises(UserError, match=r'one class, \'blue\', and nothing .* "background: \[0\]"'):
        build_spec(make_recipe(data_set), alone)
    (data_set / "classes.yaml").write_text(alone.to_yaml())
    item = open_folder(data_set).items("train")[0]
    with pytest.raises(UserError, match=r"for all that is not 'blue' \"background: \[[01]\]\""):
        read_sample(item, alone)


@pytest.mark.parametrize(("num_classes", "expected"), [(1, "scale"), (4, "scale"), (5, "layer")])
def test_new_mask_decoders_are_scaled_for_up_to_four_classes(
    spec_of, num_classes: int, expected: str
) -> None:
    assert class_norm(spec_of(num_classes)) == expected


def test_what_the_recipe_says_of_the_class_norm_is_done(spec_of) -> None:
    assert class_norm(spec_of(2, class_norm="layer")) == "layer"
    assert class_norm(spec_of(5, class_norm="scale")) == "scale"
    with pytest.raises(UserError, match="a layer norm over one class is a constant"):
        spec_of(1, class_norm="layer")


def test_a_decoder_that_is_kept_keeps_its_class_norm(spec_of) -> None:
    imported = make_spec(2, decoder="mask")
    assert class_norm(spec_of(2, imported)) == "layer"
    assert class_norm(spec_of(3, imported)) == "scale"


def test_an_imported_model_with_one_logit_takes_one_class_and_its_background() -> None:
    assert choose_classes(1, ONE, None, "file") == (ONE, ())
    with pytest.raises(UserError, match="file has 2 classes, and --classes gives 1"):
        choose_classes(2, ONE, None, "file")


def test_class_weights_name_background_and_class(data_set: Path) -> None:
    recipe = make_recipe(data_set, loss={"class_weights": {"blue": 5}})
    loss = build_loss(recipe, Segmenter(one_class_spec()), np.array([[10, 1]]))
    assert loss.class_weights is not None
    assert loss.class_weights.tolist() == [1, 5]
