"""Label maps as the servers of ADE20K and Cityscapes want them: one PNG an image, their own ids."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from segmenter.classes import Classes
from segmenter.data.published import Benchmark, find_set
from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.inference.predictor import Predictor
from segmenter.label_files.image_outputs import SOURCE_IDS, ImageOutputs
from segmenter.predicting.images import Result, label_images
from segmenter.predicting.profiling import StageClock


def write_submission(
    predictor: Predictor,
    images: Sequence[tuple[Path, str]],
    folder: OutputFolder,
    benchmark: Benchmark,
    clock: StageClock | None = None,
) -> Iterator[Result]:
    """Label images and write one PNG for each, flat in the folder, with the benchmark's ids.

    ADE20K: 1 to 150. Cityscapes: `labelIds`, 7 for road. An image that cannot be read does not stop
    the others.

    Args:
        predictor: What labels them; its classes must be the benchmark's.
        images: Images and their names; see `find_images`.
        folder: Where files are written.
        benchmark: Whose ids.
        clock: Records the time of each stage.

    Returns:
        One result an image, made as it is asked for.

    Raises:
        UserError: At once, if the model has other classes, an image's name is not one of the
            benchmark's, or a file is in the way.
    """
    published = find_set(benchmark)
    if published.submission is None:
        raise UserError(f"{benchmark} has no server that accepts label maps")
    classes, wanted = published.classes(), published.submission.file_name
    _check_names(predictor.classes, classes, benchmark)
    flat = [(path, name.rsplit("/", 1)[-1]) for path, name in images]
    for path, name in flat:
        if wanted and not wanted.match(f"{name}.png"):
            raise UserError(
                f"{path}: {benchmark} takes {published.submission.form} as the name of an image; "
                "give its own images"
            )
    outputs = ImageOutputs(classes, folder.root, save=(), ids="source", also=(SOURCE_IDS,))
    folder.check(each for _, name in flat for each in outputs.names(name))
    return label_images(predictor, flat, folder, outputs, clock)


def _check_names(of_model: Classes, wanted: Classes, benchmark: Benchmark) -> None:
    """Refuse a model whose classes are others, or stand in another order."""
    if of_model.names == wanted.names:
        return
    pairs = zip(of_model.names, wanted.names, strict=False)
    differing = [f"{mine!r} for {theirs!r}" for mine, theirs in pairs if mine != theirs]
    detail = f", such as {differing[0]}" if differing else ""
    raise UserError(
        f"the model's {len(of_model)} classes are not the {len(wanted)} of {benchmark}{detail}; a "
        "submission needs a model trained on them"
    )
