"""Build the objects that a recipe describes.

`prepare` comes first; the functions below build its parts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from numpy import ndarray

from segmenter.checkpoints.bundled import BUNDLED_ENCODERS
from segmenter.checkpoints.encoders.read_encoder import load_encoder_weights
from segmenter.checkpoints.encoders.transfer import start_from
from segmenter.checkpoints.license import license_of
from segmenter.checkpoints.open import open_model, resolve
from segmenter.classes import Classes
from segmenter.data.custom import source_digest
from segmenter.data.folder import Item
from segmenter.data.loading import SampleStream, bytes_ahead
from segmenter.data.masks.region_widths import NO_SIZES, SizeFacts
from segmenter.data.operations import skipped_operations
from segmenter.data.pairing.find_images import find_images
from segmenter.data.published.open_data import open_data
from segmenter.data.readers import shared_memory_note
from segmenter.data.training_split import training_items
from segmenter.data.transforms import CropTransform
from segmenter.errors import UserError
from segmenter.memory import gigabytes, total_memory
from segmenter.model import ModelSpec
from segmenter.model.segmenter import Segmenter
from segmenter.options import Execution
from segmenter.recipe import AugmentRecipe, OptimizerRecipe, Recipe
from segmenter.recipe.loss import LossRecipe
from segmenter.recipe.model import ModelRecipe
from segmenter.training.inherited_license import inherited_licenses, with_inherited_license
from segmenter.training.log.lines import Log
from segmenter.training.losses import Loss, class_weights
from segmenter.training.model_spec import build_spec, choose_decoder
from segmenter.training.optimizer import magnitudes_of
from segmenter.training.origin import Origin
from segmenter.training.processes import SINGLE_PROCESS, Processes
from segmenter.training.query_loss import QueryLoss
from segmenter.training.sizes import choose_sizes
from segmenter.training.step import TrainingLoss
from segmenter.training.teacher import Teacher, load_teacher
from segmenter.training.validation import Validation

_OF_OTHERS = {"adamw": ("momentum", "nesterov"), "sgd": ("betas",)}
"""Settings that an optimizer does not use."""
_SO_FAR, _RANDOM = "the newest checkpoint of the run", "random weights"
"""Starts that load no weights of others."""


@dataclass(frozen=True)
class Survey:
    """Facts that rank 0 checks and counts for all processes before anything is built."""

    recipe: Recipe
    """The recipe, with its precision resolved if it was `auto`."""
    classes: Classes
    train: tuple[Item, ...]
    """Images and masks to train on."""
    val: tuple[Item, ...]
    """Images and masks to evaluate on; empty if the recipe names no split for it."""
    pixel_counts: Int64[ndarray, "images classes"]
    """Labelled pixels of each class in each image to train on."""
    sizes: SizeFacts = NO_SIZES
    """Sizes of the images to train on, and of the regions in their masks."""
    split_sizes: dict[str, int] = field(default_factory=dict)
    """Images in each split of the data set, also those that the run does not use."""
    resumed_origin: Origin | None = None
    """`Run.origin` of a resumed run, from its checkpoint; None: the starting weights are read."""


@dataclass(frozen=True)
class Run:
    """Everything that a training run needs, and the folder that it writes to."""

    recipe: Recipe
    model: Segmenter
    stream: SampleStream
    loss: TrainingLoss
    validation: Validation | None
    """Evaluates the model; None where the recipe names no split for it."""
    folder: Path
    identity: dict[str, Any]
    """Facts that must not change on resume; see `run_identity`."""
    survey: Survey
    """The data, as rank 0 found it."""
    origin: Origin
    """Facts of the starting weights."""
    start: str
    """Says where the weights start."""
    licenses: dict[str, str] = field(default_factory=dict)
    """Licence of each model that the run learns from, by its name in the recipe."""
    teacher: Teacher | None = None
    processes: Processes = SINGLE_PROCESS
    execution: Execution = field(default_factory=Execution)


def prepare(
    recipe: Recipe,
    folder: Path,
    device: torch.device,
    processes: Processes,
    execution: Execution,
    survey: Callable[[], Survey],
    log: Log,
) -> Run:
    """Build everything that a recipe describes; every process calls this in `on_all_ranks`.

    Args:
        recipe: The run.
        folder: Where the run is written; nothing is written yet.
        device: Where this process computes.
        processes: The processes of the run.
        execution: How the run is computed.
        survey: Reads the data set and checks what only has to be checked once; rank 0 calls it.
        log: Shows what was found and built.

    Raises:
        UserError: If the data, the recipe or the weights cannot be used.
        PeerFailed: On the other ranks, if rank 0 failed.
    """
    found = processes.on_rank_zero(survey)
    if not processes.is_rank_zero:
        _check_same_data(recipe, found)
    origin, start = _find_origin(found, recipe.model)
    licenses = inherited_licenses(recipe, origin.license)
    recipe = with_inherited_license(_with_choices(found, origin.spec, log), licenses)
    model = _new_model(recipe, build_spec(recipe, found.classes, origin.spec))
    said = _SO_FAR
    if found.resumed_origin is None:
        said = _load_start(model, recipe.model, start) or _RANDOM
        origin = replace(origin, magnitudes=magnitudes_of(model))
    model = model.to(device)
    del start  # the teacher is read next
    stream = build_stream(recipe, model, found.train, found.pixel_counts)
    given = recipe.loss.teacher
    teacher = load_teacher(given, model, device) if given and not given.is_average else None
    run = Run(
        recipe=recipe,
        model=model,
        stream=stream,
        loss=build_loss(recipe, model, found.pixel_counts),
        validation=Validation(found.val, recipe, processes) if found.val else None,
        folder=folder,
        identity=run_identity(recipe, found.classes, stream.items, teacher),
        survey=found,
        origin=origin,
        start=said.removeprefix("starting from "),
        licenses=licenses,
        teacher=teacher,
        processes=processes,
        execution=execution,
    )
    for line in _remarks(run):
        log(line)
    return run


def _remarks(run: Run) -> Iterator[str]:
    """Yield what a user should know of a recipe that can be run."""
    recipe = run.recipe
    for unused in (_unused_terms(recipe.loss, run.model), _unused_settings(recipe.optimizer)):
        if unused:
            yield f"note: {unused}"
    if note := shared_memory_note(_bytes_ahead(recipe, run.stream)):
        yield note
    for note in _skipped(recipe.augment, run.survey.classes, run.stream):
        yield f"note: {note}"


def _skipped(augment: AugmentRecipe, classes: Classes, stream: SampleStream) -> Iterator[str]:
    """Yield which operations these images skip, and why."""
    skipped = skipped_operations(augment)
    if skipped and (image := classes.image):
        names = ", ".join(f"augment.{name}" for name in skipped)
        yield f"{names}: skipped, because the images have {image.file_type}, not 8-bit RGB"
    on_rare = [name for name in ("rare_class_crops", "paste") if getattr(augment, name)]
    if on_rare and not len(stream.rare_classes):
        names = ", ".join(f"augment.{name}" for name in on_rare)
        most = 100 * augment.rare_class_below
        yield f"{names}: skipped, because no class has less than {most:g} % of the pixels"


def _bytes_ahead(recipe: Recipe, stream: SampleStream) -> int:
    """Return how much memory the crops take that are read ahead."""
    image = stream.classes.image
    return bytes_ahead(
        recipe.batch_size,
        recipe.augment.crop_size,
        3 if image is None else image.channels,
        recipe.workers,
        torch.uint8 if image is None else torch.float32,
        num_views=2 if stream.strong_views else 1,
    )


def _find_origin(found: Survey, given: ModelRecipe) -> tuple[Origin, Segmenter | None]:
    """Return the origin of a run, and the model that it starts from, if it is new and has one.

    The magnitudes of a new run are added once its weights are loaded.
    """
    if found.resumed_origin:
        return found.resumed_origin, None
    start = starting_model(given)
    spec = start.spec if start else None
    return Origin(spec, starting_license(given, start), magnitudes={}), start


def _with_choices(found: Survey, start: ModelSpec | None, log: Log) -> Recipe:
    """Return the recipe of the run, its `auto` fields chosen from the data and the start."""
    recipe = choose_decoder(found.recipe, found.classes, start)
    if not recipe.auto:
        return recipe
    spec = build_spec(recipe, found.classes, start)
    choice = choose_sizes(recipe, found.sizes, found.classes.names, spec.encoder.patch_size)
    if choice.reason:
        log(choice.reason)
    return choice.recipe


def _check_same_data(recipe: Recipe, found: Survey) -> None:
    """Reject a machine whose data set differs from that of rank 0.

    Raises:
        UserError: If it differs, or is missing.
    """
    root = recipe.data.root
    if training_items(recipe, open_data(root, pairs=recipe.data.pairs)) != (found.train, found.val):
        raise UserError(
            f"{root} does not hold the same images on all machines of the run; copy the data set "
            "to each of them, or put it where all can read it"
        )


def build_model(recipe: Recipe, classes: Classes, start: Segmenter | None, log: Log) -> Segmenter:
    """Build the model of a recipe and load its starting weights.

    Args:
        recipe: The run.
        classes: The classes of its data.
        start: Result of `starting_model`.
        log: Shows which weights are loaded, initialised, and left unused.

    Raises:
        UserError: If the encoder is unknown, or the weights do not match.
    """
    model = _new_model(recipe, build_spec(recipe, classes, start.spec if start else None))
    if said := _load_start(model, recipe.model, start):
        log(said)
    return model


def _new_model(recipe: Recipe, spec: ModelSpec) -> Segmenter:
    """Build a model with random weights, which are those of the recipe's seed."""
    check_plan(recipe, spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return Segmenter(spec)


def _load_start(model: Segmenter, given: ModelRecipe, start: Segmenter | None) -> str:
    """Load the starting weights; return a line on them, empty if there are none."""
    if start:
        return start_from(model, start, str(given.weights), partial=given.allow_partial_weights)
    if given.weights:
        partial = given.allow_partial_weights
        return load_encoder_weights(model.encoder, given.weights, partial=partial)
    return ""


def check_plan(recipe: Recipe, spec: ModelSpec) -> None:
    """Reject crops below a patch, and a model or a step that exceeds the memory of the machine.

    Nothing is built.

    Raises:
        UserError: With the size or the memory that is needed.
    """
    with torch.device("meta"):
        model = Segmenter(spec)
    num_weights = sum(each.numel() for each in model.parameters())
    crops, side = recipe.batch_size // recipe.accumulate, recipe.augment.crop_size
    tokens = (-(-side // spec.encoder.patch_size)) ** 2
    memory = total_memory()
    if side < spec.encoder.patch_size:
        patch = spec.encoder.patch_size
        raise UserError(
            f"augment.crop_size is {side}, smaller than a patch of {patch} x {patch} pixels, of "
            f"which crops are made; give at least {patch}, better a multiple of it such as "
            f"{32 * patch}"
        )
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
    """Build the endless, seeded stream of training crops."""
    classes, teacher = model.spec.classes, recipe.loss.teacher
    mean = model.spec.normalization.mean
    return SampleStream(
        items,
        classes,
        CropTransform(recipe.augment, mean, classes.ignore_index, classes.image),
        seed=recipe.seed,
        pixel_counts=pixel_counts,
        unlabelled=_unlabelled(teacher.unlabelled) if teacher and teacher.unlabelled else (),
        unlabelled_crops=teacher.unlabelled_crops if teacher else 0.0,
        strong_views=teacher is not None and teacher.strong,
    )


def _unlabelled(folder: str) -> tuple[Item, ...]:
    """Return the images of a folder without masks.

    Raises:
        UserError: If there are none.
    """
    try:
        found = find_images([folder])
    except UserError as error:
        raise UserError(f"loss.teacher.unlabelled: {error}") from None
    return tuple(Item(f"unlabelled/{name}", path, None) for path, name in found)


def build_loss(
    recipe: Recipe, model: Segmenter, pixel_counts: Int64[ndarray, "images classes"]
) -> TrainingLoss:
    """Build the loss that the model's decoder learns by; class weights come from the masks."""
    classes = model.spec.classes
    if model.decoder.num_queries:
        return QueryLoss(recipe.loss.queries, classes, model.decoder.num_queries, recipe.seed)
    counts = pixel_counts.sum(axis=0)
    weights = class_weights(recipe.loss.class_weights, classes.names, counts)
    return Loss(recipe.loss, classes.ignore_index, weights)


def _unused_terms(loss: LossRecipe, model: Segmenter) -> str:
    """Name the fields of the loss that were set and that the decoder does not learn by."""
    changed = [name for name, value in loss if value != LossRecipe.model_fields[name].default]
    of_pixels = [name for name in changed if name not in ("queries", "teacher")]
    kind = model.spec.decoder.kind
    if model.decoder.num_queries and of_pixels:
        names = ", ".join(f"loss.{name}" for name in of_pixels)
        return f"{names}: not used, because the decoder {kind} learns by loss.queries"
    if not model.decoder.num_queries and "queries" in changed:
        return f"loss.queries: not used, because the decoder {kind} learns from pixels"
    return ""


def _unused_settings(optimizer: OptimizerRecipe) -> str:
    """Name the settings that were changed and that belong to the other optimizer."""
    fields, others = OptimizerRecipe.model_fields, _OF_OTHERS[optimizer.name]
    changed = [name for name in others if getattr(optimizer, name) != fields[name].default]
    names = ", ".join(f"optimizer.{name}" for name in changed)
    return names and f"{names}: not used by {optimizer.name}"


def run_identity(
    recipe: Recipe, classes: Classes, items: tuple[Item, ...], teacher: Teacher | None = None
) -> dict[str, Any]:
    """Return what must be the same on resume: recipe, classes, images, and the teacher."""
    fields = recipe.model_dump(mode="json")
    for free in ("workers", "log_every", "save_every", "stop_after", "track", "license"):
        del fields[free]
    del fields["data"]["pairing_note"]
    described = classes.model_dump(mode="json")
    custom = recipe.augment.custom
    return {
        "recipe": fields,
        "classes": described,
        "photos": [item.name for item in items],
        **({"custom_source": source_digest(custom)} if custom else {}),
        **(teacher.identity if teacher else {}),
    }


def starting_model(given: ModelRecipe) -> Segmenter | None:
    """Read the model that `weights` names; None if it names an encoder, or nothing."""
    if given.weights is None or _names_encoder(given.weights):
        return None
    return open_model(resolve(given.weights))


def starting_license(given: ModelRecipe, start: Segmenter | None) -> str:
    """Return the licence of what a run starts from; empty if none is stated, as by a bare encoder.

    Args:
        given: The model of the recipe.
        start: Result of `starting_model`.

    Raises:
        UserError: If `weights` names an encoder of timm, which is not installed.
    """
    if start:
        return start.spec.license
    weights = given.weights
    return license_of(weights) if weights and _names_encoder(weights) else ""


def _names_encoder(weights: str) -> bool:
    return weights.startswith("timm:") or weights in BUNDLED_ENCODERS
