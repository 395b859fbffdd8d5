"""The lines before the first step of a run, each of one subject."""

from pathlib import Path

from segmenter.inference.shown_size import shown_size
from segmenter.model.decoders import DecoderSettings
from segmenter.model.segmenter import Segmenter
from segmenter.training.prepare import Run, Survey

_MAX_CLASSES_NAMED = 8
_WIDTH = 10


def summary(run: Run, *, is_precision_automatic: bool) -> str:
    """Return the lines that describe a run: data, model, start, precision, steps, and its folder.

    Args:
        run: What is trained.
        is_precision_automatic: Whether the device chose the precision.
    """
    rows = (
        ("data", _data(run.survey, num_unlabelled=len(run.stream.items) - run.stream.num_labelled)),
        ("classes", _classes(run.survey.classes.names)),
        ("model", _model(run.model)),
        ("start", run.start),
        ("precision", _precision(run, is_automatic=is_precision_automatic)),
        ("steps", _steps(run)),
        ("size", _size(run)),
        ("results", _results(run.folder)),
    )
    return "\n".join(f"{name:<{_WIDTH}}{text}" for name, text in rows if text)


def _data(found: Survey, *, num_unlabelled: int) -> str:
    recipe = found.recipe.data
    num_train = len(found.train)
    parts = [f"{num_train} image{'s' * (num_train != 1)} to train on"]
    if found.val and recipe.val in found.split_sizes:
        parts.append(f"{len(found.val)} to evaluate on ({recipe.val})")
    elif found.val:
        parts.append(f"{len(found.val)} held out to evaluate on")
    else:
        parts.append("none to evaluate on")
    used = {*recipe.train, recipe.val, "all"}
    parts += [
        f"{size} more in {name}" for name, size in found.split_sizes.items() if name not in used
    ]
    if num_unlabelled:
        parts.append(f"{num_unlabelled} images without labels, which only the teacher labels")
    return f"{recipe.root}: {', '.join(parts)}"


def _classes(names: tuple[str, ...]) -> str:
    named = ", ".join(names[:_MAX_CLASSES_NAMED])
    more = len(names) - _MAX_CLASSES_NAMED
    return f"{len(names)}: {named}" + (f" and {more} more" if more > 0 else "")


def _model(model: Segmenter) -> str:
    encoder, decoder = model.spec.encoder, model.spec.decoder
    assert isinstance(decoder, DecoderSettings)
    millions = sum(each.numel() for each in model.parameters()) / 1e6
    return (
        f"{encoder.architecture} ({encoder.depth} blocks, {encoder.embed_dim} channels, patches of "
        f"{encoder.patch_size} pixels), decoder {decoder.kind}, {millions:.1f} million weights"
    )


def _precision(run: Run, *, is_automatic: bool) -> str:
    text = run.recipe.precision
    if is_automatic:
        text += f", chosen for this {'CPU' if run.model.mean.device.type == 'cpu' else 'device'}"
    if run.processes.count > 1:
        kept = "a part of the weights" if run.execution.fsdp else "a copy of the model"
        text += f", {run.processes.count} processes, {kept} in each"
    return text


def _steps(run: Run) -> str:
    recipe = run.recipe
    side, frozen = recipe.augment.crop_size, recipe.optimizer.frozen_blocks
    text = f"{recipe.schedule.steps} of {recipe.batch_size} crops of {side}x{side}"
    if recipe.accumulate > 1:
        text += f" in {recipe.accumulate} parts"
    if frozen:
        text += f", {frozen} encoder blocks frozen"
    if run.validation:
        text += f", evaluated every {recipe.evaluate_every}"
    return f"{text}, saved every {recipe.save_every}"


def _size(run: Run) -> str | None:
    """Return at which size the model sees images, where that is not their own."""
    spec = run.model.spec
    sizes = [(int(height), int(width)) for height, width in run.survey.sizes.sizes]
    return shown_size(sizes, spec.protocol, spec.encoder.patch_size, "--protocol.short_side")


def _results(folder: Path) -> str:
    return f"{folder}, with the full recipe in {folder / 'recipe.yaml'}"
