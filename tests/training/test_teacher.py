"""A trained model teaches another one, on images with labels and without."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import segmenter
from segmenter import UserError
from segmenter.model import Segmenter
from segmenter.recipe.loss import TeacherRecipe
from segmenter.training.ema import WeightAverage
from segmenter.training.parallel import Outputs
from segmenter.training.teacher import Teacher
from tests.helpers.data_sets import write_data_set
from tests.helpers.models import make_spec
from tests.helpers.runs import (
    EVERYTHING_RANDOM,
    batch_of,
    equal,
    log,
    make_recipe,
    run_training,
    run_with_a_stop,
    weights,
)
from tests.helpers.trajectories import assert_same_trajectory, drive, trace

QUIET = {"data": {"val": None}}
IGNORED = 255


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """A teacher that knows the tiny data set by heart, as a recipe names it; and images alone."""
    folder = tmp_path_factory.mktemp("taught")
    root = write_data_set(folder / "school")
    recipe = make_recipe(
        root,
        **QUIET,
        optimizer={"lr": 1e-3, "decoder_lr_factor": 3.0},
        schedule={"steps": 60, "warmup_steps": 10},
        save_every=100,
    )
    run_training(recipe, root / "run", "cpu")
    images = folder / "photos"
    images.mkdir()
    colors = np.random.default_rng(5).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    for number, color in enumerate(colors):
        image = Image.fromarray(color.repeat(16, axis=0).repeat(16, axis=1))
        image.save(images / f"{number}.png")
    return {"model": str(root / "run/last.safetensors"), "unlabelled": str(images)}


def outputs(logits: Tensor, tokens: Tensor) -> Outputs:
    return Outputs(tokens, lambda: logits)


def random_outputs(*shape: int) -> Outputs:
    return outputs(torch.randn(*shape) * 3, torch.randn(shape[0], 6, 8))


def a_teacher(**fields: object) -> Teacher:
    recipe = TeacherRecipe.model_validate({"model": "x"} | fields)
    return Teacher(Segmenter(make_spec()), recipe, IGNORED)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_loss_is_the_mean_divergence_of_all_pixels(temperature: float) -> None:
    student, wanted = random_outputs(2, 3, 4, 5), random_outputs(2, 3, 4, 5)
    total = 0.0
    for image in range(2):
        for row in range(4):
            for column in range(5):
                parts = []
                for logits in (student.logits, wanted.logits):
                    powers = [math.exp(x / temperature) for x in logits[image, :, row, column]]
                    parts.append([power / sum(powers) for power in powers])
                total += sum(p * math.log(p / q) for q, p in zip(*parts, strict=True))
    loss = a_teacher(weight=0.5, temperature=temperature).loss(student, wanted, 1.0)
    assert float(loss) == pytest.approx(0.5 * temperature**2 * total / 40, rel=1e-4)


def test_tokens_are_compared_by_their_distance_in_units_of_the_teachers_spread() -> None:
    student, wanted = random_outputs(2, 3, 4, 5), random_outputs(2, 3, 4, 5)
    total = 0.0
    for given, right in zip(student.tokens.numpy(), wanted.tokens.numpy(), strict=True):
        total += ((given - right) ** 2).mean() / ((right - right.mean()) ** 2).mean()
    bare = a_teacher().loss(student, wanted, 0.5)
    loss = a_teacher(tokens=3.0).loss(student, wanted, 0.5)
    assert float(loss - bare) == pytest.approx(0.5 * 3.0 * total / 2, rel=1e-4)


def test_who_answers_as_the_teacher_does_has_nothing_to_learn() -> None:
    wanted = random_outputs(2, 3, 8, 8)
    given = [each.clone().requires_grad_() for each in (wanted.logits, wanted.tokens)]
    loss = a_teacher(temperature=2.0, tokens=1.0).loss(outputs(*given), wanted, 1.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    for each in given:
        assert each.grad is not None
        assert float(each.grad.abs().max()) < 1e-7


def test_pixels_below_the_confidence_have_no_divergence() -> None:
    student, wanted = random_outputs(2, 3, 4, 5), random_outputs(2, 3, 4, 5)
    highest = wanted.logits.softmax(dim=1).amax(dim=1)
    limit = float(highest.median())
    logits = student.logits.where((highest >= limit)[:, None], wanted.logits)
    expected = a_teacher().loss(outputs(logits, student.tokens), wanted, 1.0)
    found = a_teacher(confidence=limit).loss(student, wanted, 1.0)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert float(a_teacher(confidence=1.0).loss(student, wanted, 1.0)) == 0


def labels_by(teacher: Teacher, **changes: Tensor) -> Tensor:
    torch.manual_seed(4)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    batch = batch_of(images, torch.full((4, 32, 32), IGNORED))._replace(**changes)
    return teacher.label(batch, torch.float32, part_size=3).labels


def test_a_teacher_labels_what_it_is_confident_of_in_crops_without_masks() -> None:
    given = {"targets": "labels", "unlabelled": "x"}
    every = torch.ones(4, 32, 32, dtype=torch.bool)
    sure = a_teacher(**given)
    found = labels_by(sure, unlabelled=every)
    assert not (found == IGNORED).any()
    halves = a_teacher(**given, confidence=0.34)
    halves.model.load_state_dict(sure.model.state_dict())
    kept = labels_by(halves, unlabelled=every)
    assert 0 < (kept == IGNORED).sum() < kept.numel()
    assert torch.equal(kept[kept != IGNORED], found[kept != IGNORED])


def test_a_teacher_labels_no_other_pixel() -> None:
    teacher = a_teacher(targets="labels", unlabelled="x")
    left = torch.zeros(4, 32, 32, dtype=torch.bool)
    left[1:, :, :16] = True
    masks = torch.randint(0, 3, (4, 32, 32))
    masks[:, :8] = IGNORED
    found = labels_by(teacher, unlabelled=left, labels=masks)
    assert torch.equal(found[~left], masks[~left])
    assert not (found[left] == IGNORED).any()


def test_the_parts_of_a_batch_add_up() -> None:
    teacher = a_teacher(tokens=2.0)
    student, wanted = random_outputs(4, 3, 8, 8), random_outputs(4, 3, 8, 8)
    whole = teacher.loss(student, wanted, 1.0)
    halves = [
        teacher.loss(
            *(outputs(each.logits[part], each.tokens[part]) for each in (student, wanted)), 0.5
        )
        for part in (slice(2), slice(2, 4))
    ]
    assert float(whole) == pytest.approx(float(sum(halves)), rel=1e-5)


@pytest.mark.slow
def test_a_student_without_labels_answers_as_its_teacher(data_set: Path, taught: dict) -> None:
    recipe = make_recipe(
        data_set,
        **QUIET,
        loss={"cross_entropy": 0.0, "teacher": taught | {"unlabelled_crops": 0.5}},
        optimizer={"lr": 1e-3, "decoder_lr_factor": 3.0},
        schedule={"steps": 80, "warmup_steps": 10},
        log_every=10,
        save_every=100,
    )
    before = segmenter.load(taught["model"])
    run_training(recipe, data_set / "run", "cpu")
    losses = [line["train/loss"] for line in log(data_set / "run") if "train/loss" in line]
    assert losses[-1] < 0.1 * losses[0]
    student = segmenter.load(data_set / "run/last.safetensors")
    image = np.asarray(Image.open(data_set / "images/val/photo-0.png"))
    answers = [segmenter.Predictor(model)(image) for model in (before, student)]
    assert (answers[0] == answers[1]).mean() > 0.95
    after = segmenter.load(taught["model"]).state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.state_dict().items())


def test_a_taught_run_that_is_stopped_and_goes_on_equals_an_unbroken_one(
    data_set: Path, taught: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(
        data_set, **EVERYTHING_RANDOM, loss={"teacher": taught | {"tokens": 1.0}}, **QUIET
    )
    run_training(recipe, data_set / "unbroken", "cpu")
    run_with_a_stop(recipe, data_set / "broken", 3, monkeypatch)
    assert equal(data_set / "unbroken", data_set / "broken")
    untaught = make_recipe(data_set, **EVERYTHING_RANDOM, **QUIET)
    run_training(untaught, data_set / "untaught", "cpu")
    assert not equal(data_set / "unbroken", data_set / "untaught")


@pytest.mark.slow
def test_two_processes_and_two_parts_are_taught_as_one_is(data_set: Path, taught: dict) -> None:
    found = {}
    for name, (count, accumulate) in {"one": (1, 1), "two": (2, 1), "parts": (1, 2)}.items():
        recipe = make_recipe(
            data_set, loss={"teacher": taught | {"tokens": 1.0}}, **QUIET, accumulate=accumulate
        )
        assert drive(recipe, data_set / name, count) == 0
        found[name] = trace(data_set / name, count)
    assert_same_trajectory(found["one"], found["two"])
    assert_same_trajectory(found["one"], found["parts"])


MOVING = {
    "model": "average",
    "targets": "labels",
    "confidence": 0.0,  # an untrained teacher is sure of little
    "unlabelled_crops": 0.5,
    "strong": True,
}


def moving(taught: dict) -> dict[str, object]:
    return MOVING | {"unlabelled": taught["unlabelled"]}


SLOW_DECODERS = (
    {"kind": "mask", "dim": 64, "dropout": 0.2},
    {"kind": "joined-class-tokens", "blocks": 1},
    {"kind": "multi-linear", "blocks": 2},
    {"kind": "eomt", "blocks": 1},
    {"kind": "pmt", "blocks": 1, "features": 2},
)


@pytest.mark.parametrize(
    "decoder",
    ["linear", *(pytest.param(each, marks=pytest.mark.slow) for each in SLOW_DECODERS)],
)
def test_a_run_with_a_moving_teacher_that_is_stopped_equals_an_unbroken_one(
    data_set: Path, taught: dict, monkeypatch: pytest.MonkeyPatch, decoder: object
) -> None:
    changes = EVERYTHING_RANDOM | {"model": {"drop_path": 0.3, "decoder": decoder}}
    recipe = make_recipe(data_set, **changes, loss={"teacher": moving(taught)}, **QUIET)
    run_training(recipe, data_set / "unbroken", "cpu")
    run_with_a_stop(recipe, data_set / "broken", 3, monkeypatch)
    assert equal(data_set / "unbroken", data_set / "broken")
    weak = make_recipe(
        data_set, **changes, loss={"teacher": moving(taught) | {"strong": False}}, **QUIET
    )
    run_training(weak, data_set / "weak", "cpu")
    assert not equal(data_set / "unbroken", data_set / "weak")


def test_the_average_of_the_weights_moves_its_teacher_along() -> None:
    model = Segmenter(make_spec())
    average = WeightAverage(model, 0.9)
    teacher = Teacher(average.averaged(model), TeacherRecipe(model="average"), IGNORED)
    first = {name: each.clone() for name, each in teacher.model.state_dict().items()}
    model.load_state_dict({name: each + 1 for name, each in model.state_dict().items()})
    average.update(model, 50)
    moved = teacher.model.state_dict()
    assert not torch.equal(moved["decoder.project.bias"], first["decoder.project.bias"])
    assert all(torch.equal(each, average.tensors[name]) for name, each in moved.items())
    average.restore(first, model)
    assert all(torch.equal(each, first[name]) for name, each in teacher.model.state_dict().items())


@pytest.mark.slow
def test_two_processes_and_two_parts_move_their_teacher_as_one_does(
    data_set: Path, taught: dict
) -> None:
    found = {}
    for name, (count, accumulate) in {"one": (1, 1), "two": (2, 1), "parts": (1, 2)}.items():
        recipe = make_recipe(
            data_set,
            loss={"teacher": moving(taught)},
            **QUIET,
            accumulate=accumulate,
            ema_decay=0.9,
        )
        assert drive(recipe, data_set / name, count) == 0
        found[name] = trace(data_set / name, count)
    assert_same_trajectory(found["one"], found["two"])
    assert_same_trajectory(found["one"], found["parts"])


@pytest.mark.parametrize(
    ("teacher", "problem"),
    [
        ({"model": "average"}, "needs ema_decay"),
        ({"model": "x", "targets": "labels"}, "name their folder as loss.teacher.unlabelled"),
        ({"model": "x", "strong": True}, "name their folder as loss.teacher.unlabelled"),
        (
            {"model": "x", "targets": "labels", "unlabelled": "y", "temperature": 2.0},
            "loss.teacher.temperature belongs to targets: probabilities",
        ),
    ],
)
def test_what_no_teacher_can_do_is_refused(data_set: Path, teacher: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        make_recipe(data_set, loss={"teacher": teacher})


def test_another_teacher_is_another_run(data_set: Path, taught: dict) -> None:
    teacher = data_set / "teacher.safetensors"
    shutil.copy(taught["model"], teacher)
    recipe = make_recipe(data_set, loss={"teacher": taught | {"model": str(teacher)}}, **QUIET)
    run_training(recipe, data_set / "run", "cpu")
    model = segmenter.load(teacher)
    with torch.no_grad():
        model.decoder.project.bias += 1
    segmenter.save(model, teacher, overwrite=True)
    with pytest.raises(UserError, match="another run: teacher: "):
        run_training(recipe, data_set / "run", "cpu", resume=True)


def test_a_teacher_of_other_classes_is_refused(data_set: Path, tmp_path: Path) -> None:
    other = tmp_path / "four.safetensors"
    segmenter.save(Segmenter(make_spec(num_classes=4)), other)
    recipe = make_recipe(data_set, loss={"teacher": {"model": str(other)}}, **QUIET)
    with pytest.raises(UserError, match=r"has the classes class-0, .*the same classes"):
        run_training(recipe, data_set / "run", "cpu")
    assert not (data_set / "run").exists()


def test_tokens_of_another_width_are_refused(data_set: Path, taught: dict) -> None:
    recipe = make_recipe(
        data_set, **QUIET, model={"decoder": "mask"}, loss={"teacher": taught | {"tokens": 1.0}}
    )
    run_training(recipe, data_set / "same", "cpu")
    recipe = make_recipe(
        data_set,
        **QUIET,
        model={"decoder": {"kind": "multi-linear", "blocks": 2}},
        loss={"teacher": taught | {"tokens": 1.0}},
    )
    with pytest.raises(UserError, match=r"has tokens of \d+ numbers, .*tokens to 0, or"):
        run_training(recipe, data_set / "run", "cpu")
    assert not (data_set / "run").exists()


def test_an_unreadable_image_without_a_mask_counts_until_it_is_repaired(
    data_set: Path, taught: dict, tmp_path: Path
) -> None:
    photos = shutil.copytree(taught["unlabelled"], tmp_path / "photos")
    whole = (photos / "0.png").read_bytes()
    (photos / "0.png").write_bytes(whole[:-60])
    teacher = moving(taught) | {"unlabelled": str(photos), "unlabelled_crops": 0.9}
    recipe = make_recipe(data_set, loss={"teacher": teacher}, ema_decay=0.9, **QUIET)
    for resume in (False, True):
        with pytest.raises(UserError, match=r"1 images cannot be read, .*if you remove them"):
            run_training(recipe, data_set / "run", "cpu", resume=resume)
    (photos / "0.png").write_bytes(whole)
    (photos / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match="1 images cannot be read"):
        run_training(recipe, data_set / "run", "cpu", resume=True)


def test_a_folder_without_images_is_refused(data_set: Path, taught: dict, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    given = taught | {"unlabelled": str(tmp_path / "empty")}
    recipe = make_recipe(data_set, loss={"teacher": given}, **QUIET)
    with pytest.raises(UserError, match=r"loss\.teacher\.unlabelled: .*holds no image"):
        run_training(recipe, data_set / "run", "cpu")


def test_the_teacher_is_not_in_the_model_that_is_made(data_set: Path, taught: dict) -> None:
    run_training(make_recipe(data_set, loss={"teacher": taught}, **QUIET), data_set / "a", "cpu")
    run_training(make_recipe(data_set, **QUIET), data_set / "b", "cpu")
    assert weights(data_set / "a").keys() == weights(data_set / "b").keys()
