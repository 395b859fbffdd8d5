"""The loss of queries equals that of transformers, and does not depend on how a batch is split."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import segmenter
from segmenter.classes import Classes
from segmenter.model.decoders.decoder import QueryPrediction
from segmenter.model.decoders.eomt import EoMT
from segmenter.model.decoders.mask_annealing import MaskAnnealing, mask_probabilities
from segmenter.recipe.loss import QueryLossRecipe
from segmenter.training.parallel import DistributedModel, Outputs
from segmenter.training.query_loss import QueryLoss
from tests.helpers.eomt import GOLDEN_EOMT, of_hugging_face, write_folder
from tests.helpers.models import make_classes
from tests.helpers.runs import make_recipe, run_training

IGNORE = 255
NUM_CLASSES = 11
POINTS = 200


@pytest.fixture
def same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points that depend on their count alone, and not on who draws them."""
    rand = torch.rand

    def drawn(*size: int, **_: Any) -> Tensor:
        shape = size[-2:] if size[-1] == 2 else size
        numbers = rand(shape, generator=torch.Generator().manual_seed(sum(shape)))
        return numbers.expand(size).clone()

    monkeypatch.setattr(torch, "rand", drawn)


def make_labels(count: int = 2, *, ignored: bool = False) -> Tensor:
    """Labels of 64 x 64 pixels in blocks; each image lacks some classes."""
    torch.manual_seed(3)
    coarse = torch.randint(0, 7, (count, 8, 8)) + torch.arange(count)[:, None, None]
    labels = coarse.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    if ignored:
        labels[:, :20, :30] = IGNORE
    return labels


def make_loss(num_queries: int = 12, classes: Classes | None = None, **recipe: Any) -> QueryLoss:
    given = QueryLossRecipe.model_validate({"points": POINTS} | recipe)
    return QueryLoss(given, classes or make_classes(NUM_CLASSES), num_queries, seed=0)


def make_predictions(
    count: int = 2, *, number: int = 1, num_queries: int = 12, num_classes: int = NUM_CLASSES
) -> list[QueryPrediction]:
    torch.manual_seed(1)
    return [
        QueryPrediction(
            torch.randn(count, num_queries, num_classes + 1).requires_grad_(),
            (3 * torch.randn(count, num_queries, 16, 16)).requires_grad_(),
        )
        for _ in range(number)
    ]


def outputs_of(predictions: list[QueryPrediction], **fields: Any) -> Outputs:
    return Outputs(torch.zeros(1, 1, 1), lambda: torch.zeros(()), predictions, **fields)


def value_of(loss: QueryLoss, predictions: list[QueryPrediction], labels: Tensor) -> Tensor:
    positions = torch.arange(len(labels))
    totals = loss.totals(labels)
    return loss.of_part(outputs_of(predictions), labels, positions, totals, 1.0)


def targets_of(labels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Masks and classes of each image, as transformers takes them."""
    classes = [image[image != IGNORE].unique() for image in labels]
    pairs = zip(labels, classes, strict=True)
    return [(image == found[:, None, None]).float() for image, found in pairs], classes


@pytest.mark.usefixtures("same_numbers")
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("num_queries", [12, 4])
def test_the_loss_is_that_of_transformers(num_queries: int, ignored: bool) -> None:
    eomt = pytest.importorskip("transformers.models.eomt.modeling_eomt")
    config = eomt.EomtConfig(num_labels=NUM_CLASSES, train_num_points=POINTS)
    weights = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    labels = make_labels(ignored=ignored)
    prediction = make_predictions(num_queries=num_queries)[0]
    theirs = eomt.EomtLoss(config, weights)(
        prediction.masks, prediction.classes, *targets_of(labels)
    )
    expected = sum(weights[name] * theirs[name] for name in weights)
    found = value_of(make_loss(num_queries, ignored_pixels="negative"), [prediction], labels)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    for part in prediction:
        (gradient,) = torch.autograd.grad(found, part, retain_graph=True)
        (expected_gradient,) = torch.autograd.grad(expected, part, retain_graph=True)
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.usefixtures("same_numbers")
@pytest.mark.parametrize("progress", [0.0, 0.3, 0.45, 1.0])
def test_a_training_step_is_that_of_transformers(tmp_path: Path, progress: float) -> None:
    transformers = pytest.importorskip("transformers")
    weights = torch.load(GOLDEN_EOMT / "pytorch_model.bin", weights_only=True)
    folder = write_folder(tmp_path, of_hugging_face(weights), train_num_points=POINTS)
    theirs = transformers.EomtForUniversalSegmentation.from_pretrained(folder).train()
    theirs.criterion.empty_weight[-1] = 0.1  # the golden file has 1
    ours = segmenter.load(folder).requires_grad_().train()
    assert isinstance(ours.decoder, EoMT)
    ours.decoder.before_step(progress)
    theirs.attn_mask_probs.copy_(torch.tensor(ours.decoder.annealing.probabilities))
    draws = torch.rand(2, 12)  # as transformers draws them, in each block anew
    ours.decoder.before_pass(lambda count: draws.repeat(1, count // 12))

    images = torch.from_numpy(np.load(GOLDEN_EOMT / "golden.npz")["image"])
    labels = make_labels()
    masks, classes = targets_of(labels)
    expected = theirs(ours.normalize(images), mask_labels=masks, class_labels=classes).loss
    outputs = DistributedModel(ours)(images, torch.float32)
    loss = make_loss()
    found = loss.of_part(outputs, labels, torch.arange(2), loss.totals(labels), 1.0)
    assert len(outputs.queries) == 3
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    found.backward()
    expected.backward()
    pairs = (
        (ours.decoder.queries.grad, theirs.query.weight.grad[None]),
        (ours.decoder.classify.weight.grad, theirs.class_predictor.weight.grad),
        (
            ours.encoder.patch_embed.weight.grad,
            theirs.embeddings.patch_embeddings.projection.weight.grad,
        ),
    )
    for gradient, expected_gradient in pairs:
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("ignored_pixels", ["excluded", "negative"])
def test_the_parts_of_a_batch_add_up_to_its_loss(ignored_pixels: str) -> None:
    loss = make_loss(ignored_pixels=ignored_pixels)
    labels = make_labels(4, ignored=True)
    labels[1] = IGNORE
    predictions = make_predictions(4, number=2)
    totals = loss.totals(labels)
    parts = [
        loss.of_part(
            outputs_of([QueryPrediction(*(each[rows] for each in one)) for one in predictions]),
            labels[rows],
            torch.arange(4)[rows],
            totals,
            0.5,
        )
        for rows in (slice(0, 2), slice(2, 4))
    ]
    torch.testing.assert_close(sum(parts), value_of(loss, predictions, labels))
    parted = sum(loss.totals(labels[rows]) for rows in (slice(0, 2), slice(2, 4)))
    assert torch.equal(torch.as_tensor(parted), totals)


def test_ignored_pixels_have_no_gradient_and_an_image_without_labels_no_loss() -> None:
    labels = make_labels(2)
    labels[0, :, 32:] = IGNORE
    labels[1] = IGNORE
    (prediction,) = make_predictions()
    value_of(make_loss(points=4000, uncertain=0.5), [prediction], labels).backward()
    assert prediction.masks.grad is not None
    assert prediction.classes.grad is not None
    assert prediction.masks.grad[0, :, :, :8].abs().sum() > 0
    assert prediction.masks.grad[0, :, :, 9:].abs().sum() == 0  # column 8 is interpolated with 7
    assert prediction.masks.grad[1].abs().sum() == 0
    assert prediction.classes.grad[1].abs().sum() == 0


def test_a_batch_without_labels_has_loss_zero_and_gradients_of_zero() -> None:
    predictions = make_predictions()
    loss = value_of(make_loss(), predictions, torch.full((2, 64, 64), IGNORE))
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(part.grad is not None and not part.grad.any() for part in predictions[0])


def test_predictions_that_are_right_have_nearly_no_loss() -> None:
    labels = torch.zeros(1, 64, 64, dtype=torch.int64)
    labels[0, 32:] = 4
    classes = torch.full((1, 5, NUM_CLASSES + 1), -20.0)
    classes[0, range(5), [4, -1, 0, -1, -1]] = 20
    masks = torch.full((1, 5, 64, 64), -20.0)
    masks[0, 0, 32:], masks[0, 2, :32] = 20, 20
    loss = value_of(make_loss(5, uncertain=0.0), [QueryPrediction(classes, masks)], labels)
    assert float(loss) < 0.6  # of 12: between pixels, masks are interpolated
    assert float(value_of(make_loss(5), [QueryPrediction(classes, -masks)], labels)) > 50


def test_one_class_has_a_target_and_its_background_none() -> None:
    classes = Classes.model_validate(
        {
            "classes": [{"name": "blue", "color": [0, 0, 255], "values": [2]}],
            "background": [0, 1],
            "ignore": [IGNORE],
        }
    )
    loss = make_loss(4, classes)
    labels = torch.zeros(2, 64, 64, dtype=torch.int64)
    labels[0, :32] = 1
    assert loss.totals(labels).tolist() == pytest.approx([1, 1 + 7 * 0.1])
    prediction = make_predictions(num_queries=4, num_classes=1)[0]
    value_of(loss, [prediction], labels).backward()
    assert prediction.masks.grad is not None
    assert prediction.masks.grad[0].any()
    assert not prediction.masks.grad[1].any()


def test_masks_of_a_padded_image_are_compared_where_the_image_lies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rand = torch.rand
    # Half a cell from the border, the padding takes part in the interpolation.
    monkeypatch.setattr(torch, "rand", lambda *size, **_: 0.1 + 0.8 * rand(size).sort(dim=1)[0])
    labels = make_labels(1)
    (prediction,) = make_predictions(1)
    masks = torch.nn.functional.pad(prediction.masks, (0, 4, 0, 2), value=50.0)
    padded = QueryPrediction(prediction.classes, masks)
    loss = make_loss()
    torch.manual_seed(0)
    expected = value_of(loss, [prediction], labels)
    torch.manual_seed(0)
    outputs = outputs_of([padded], image_share=(16 / 18, 16 / 20))
    found = loss.of_part(outputs, labels, torch.arange(1), loss.totals(labels), 1.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def test_masks_are_annealed_in_the_steps_of_the_published_runs() -> None:
    for steps, starts in (
        (39_120, (6520, 13_040, 19_560, 26_080)),
        (177_384, (29_564, 73_910, 118_256)),
    ):
        for place, start in enumerate(starts):
            before, after = (
                mask_probabilities(step / steps, len(starts))[place]
                for step in (start, start + steps / 6)
            )
            assert (before, after) == pytest.approx((1, 0), abs=1e-9)
    assert mask_probabilities(0.25, 4)[0] == pytest.approx(0.5**0.9)


def test_a_masked_query_sees_its_patches_and_all_other_tokens() -> None:
    annealing = MaskAnnealing(5, 1)
    masks = torch.full((1, 5, 4, 8), -1.0)
    masks[:, :, :2] = 1  # of 2 x 4 patches, the first row
    assert annealing.bias(masks, (2, 4), 14, 0, 1) is None
    annealing.is_masked = [torch.tensor([[True, False, True, False, False]])]
    bias = annealing.bias(masks, (2, 4), 14, 0, 1)
    assert bias is not None
    hidden = (bias[0, 0] < 0).nonzero().tolist()
    assert hidden == [[row, column] for row in (9, 11) for column in range(5, 9)]


@pytest.mark.parametrize(
    ("decoder", "loss", "note"),
    [
        (
            "eomt",
            {"lovasz": 1.0},
            "loss.lovasz: not used, because the decoder eomt",
        ),
        (
            "linear",
            {"queries": {"mask": 1.0}},
            "loss.queries: not used, because the decoder linear",
        ),
        ("eomt", {"queries": {"points": 50}}, ""),
        ("linear", {"lovasz": 1.0}, ""),
    ],
)
def test_terms_that_are_not_used_are_told(
    data_set: Path,
    capsys: pytest.CaptureFixture,
    decoder: str,
    loss: dict[str, object],
    note: str,
) -> None:
    settings = {"blocks": 1, "queries": 4} if decoder == "eomt" else {}
    model = {"decoder": {"kind": decoder, **settings}}
    recipe = make_recipe(data_set, model=model, loss=loss, schedule={"steps": 1})
    run_training(recipe, data_set / "run", "cpu")
    said = capsys.readouterr().err
    assert note in said
    assert ("not used" in said) == bool(note)
