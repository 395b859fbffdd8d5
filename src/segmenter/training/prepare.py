"""From a recipe to the objects it describes: the one file that knows both sides."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from numpy import ndarray

from segmenter.checkpoints import model_file as own
from segmenter.checkpoints import open as bundled
from segmenter.checkpoints.encoders.read import load_encoder_weights
from segmenter.checkpoints.encoders.transfer import start_from
from segmenter.checkpoints.foreign.pickle.containers import is_safetensors
from segmenter.checkpoints.foreign.read import read_published
from segmenter.classes import Classes
from segmenter.data.folder import Item
from segmenter.data.loading import SampleStream
from segmenter.data.pairing.find_images import find_images
from segmenter.data.transforms import CropTransform
from segmenter.errors import UserError
from segmenter.memory import gigabytes, total_memory
from segmenter.model import ModelSpec
from segmenter.model.segmenter import Segmenter
from segmenter.recipe import Recipe
from segmenter.recipe.model import ModelRecipe
from segmenter.training.losses import Loss, class_weights
from segmenter.training.model_spec import build_spec
from segmenter.training.parallel import Execution
from segmenter.training.processes import SINGLE_PROCESS, Processes
from segmenter.training.teacher import Teacher, load_teacher
from segmenter.training.validation import Validation

_GREY = (127.5, 127.5, 127.5)


@dataclass(frozen=True)
class Run:
    """Everything that a training run needs, and the folder that it writes."""

    recipe: Recipe
    model: Segmenter
    stream: SampleStream
    loss: Loss
    validation: Validation | None
    """Evaluates the model; None where the recipe names no split for it."""
    folder: Path
    identity: dict[str, Any]
    """What may not change on resume: recipe, classes, names of the images, and the teacher."""
    teacher: Teacher | None = None
    processes: Processes = SINGLE_PROCESS
    execution: Execution = field(default_factory=Execution)


def build_model(recipe: Recipe, classes: Classes, say: Callable[[str], None]) -> Segmenter:
    """Build the model a recipe describes and give it its starting weights.

    Args:
        recipe: The run.
        classes: The classes of its data.
        say: Told what is taken from the weights, what starts fresh, and what is left unused.

    Raises:
        UserError: If the encoder is unknown, or the weights do not fit.
    """
    given = recipe.model
    start = _starting_model(given)
    spec = build_spec(recipe, classes, start.spec if start else None)
    check_plan(recipe, spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = Segmenter(spec)
    if start:
        say(start_from(model, start, str(given.weights), partial=given.partial))
    elif given.weights:
        say(load_encoder_weights(model.encoder, given.weights, partial=given.partial))
    return model


def check_plan(recipe: Recipe, spec: ModelSpec) -> None:
    """Refuse a run that no memory can hold, before anything of it is made.

    Raises:
        UserError: With the figure.
    """
    with torch.device("meta"):
        model = Segmenter(spec)
    num_weights = sum(each.numel() for each in model.parameters())
    crops, side = recipe.batch_size // recipe.accumulate, recipe.augment.crop_size
    tokens = (-(-side // spec.encoder.patch_size)) ** 2
    memory = total_memory()
    plans = (
        (4 * num_weights, f"a model of {num_weights:,} weights", "make it narrower or shallower"),
        (
            4 * crops * (spec.encoder.in_channels * side**2 + tokens * spec.encoder.embed_dim),
            f"a step on {crops:,} crops of {side}x{side}",
            "lower batch_size or augment.crop_size, or raise accumulate",
        ),
    )
    for num_bytes, what, hint in plans:
        if num_bytes > memory:
            raise UserError(
                f"{what} takes at least {gigabytes(num_bytes)} of memory, and there are "
                f"{gigabytes(memory)}; {hint}"
            )


def build_stream(
    recipe: Recipe,
    model: Segmenter,
    items: tuple[Item, ...],
    pixel_counts: Int64[ndarray, "images classes"],
) -> SampleStream:
    """The endless, seeded stream of training crops."""
    if recipe.model.in_channels != 3:
        raise UserError(
            f"model.in_channels is {recipe.model.in_channels}, but images are read as RGB; "
            "set it to 3"
        )
    augment = recipe.augment.model_dump()
    rare_class_crops, rare_class_below = (
        augment.pop("rare_class_crops"),
        augment.pop("rare_class_below"),
    )
    pad_color = _GREY if augment.pop("pad_value") == "grey" else model.spec.normalization.mean
    classes = model.spec.classes
    return SampleStream(
        items,
        classes,
        CropTransform(pad_color=pad_color, ignore_index=classes.ignore_index, **augment),
        seed=recipe.seed,
        pixel_counts=pixel_counts,
        rare_class_crops=rare_class_crops,
        rare_class_below=rare_class_below,
        **_unlabelled(recipe),
    )


def _unlabelled(recipe: Recipe) -> dict[str, Any]:
    """What the stream is told of images without masks."""
    teacher = recipe.loss.teacher
    if teacher is None or teacher.unlabelled is None:
        return {}
    found = find_images([teacher.unlabelled])
    items = tuple(Item(f"unlabelled/{name}", path, None) for path, name in found)
    return {"unlabelled": items, "unlabelled_crops": teacher.unlabelled_crops}


def build_loss(
    recipe: Recipe, classes: Classes, pixel_counts: Int64[ndarray, "images classes"]
) -> Loss:
    """What the run minimises; class weights come from the training masks."""
    counts = pixel_counts.sum(axis=0)
    weights = class_weights(recipe.loss.class_weights, classes.names, counts)
    return Loss(recipe.loss, classes.ignore_index, weights)


def build_teacher(recipe: Recipe, student: Segmenter, place: torch.device) -> Teacher | None:
    """The trained model that a recipe learns from, if any."""
    given = recipe.loss.teacher
    return load_teacher(given, student, place) if given else None


def run_identity(
    recipe: Recipe, classes: Classes, items: tuple[Item, ...], teacher: Teacher | None = None
) -> dict[str, Any]:
    """What must be the same when a run is resumed: recipe, classes, images, and the teacher."""
    fields = recipe.model_dump(mode="json")
    for free in ("workers", "log_every", "save_every", "stop_after", "track"):
        del fields[free]
    described = classes.model_dump(mode="json")
    return {
        "recipe": fields,
        "classes": described,
        "photos": [item.name for item in items],
        **(teacher.identity if teacher else {}),
    }


def _starting_model(given: ModelRecipe) -> Segmenter | None:
    """The whole model that `weights` names, or nothing where it names bare encoder weights."""
    weights = given.weights
    if weights is None or weights.startswith("timm:"):
        return None
    path = bundled.resolve(weights)
    if is_safetensors(path):
        return own.read(path) if own.is_own(path) or given.encoder is None else None
    published = read_published(path)
    return published.build(str(path)) if published else None
