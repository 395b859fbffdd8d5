"""`segmenter predict` without `--parts`: label images, maps (GeoTIFF) and videos."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import cv2
from jaxtyping import Float
from numpy import ndarray
from rich.console import Console
from rich.table import Table

from segmenter.checkpoints.hub import is_hub_name
from segmenter.checkpoints.open import bundled_models
from segmenter.classes import Classes
from segmenter.data.decoding.image_formats import describe_passed_over
from segmenter.data.pairing.find_images import find_images
from segmenter.drawing import shown_classes
from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.inference.predictor import Predictor
from segmenter.options import Compute, ImageOutput, Labelling, VideoOptions
from segmenter.pages import PAGE_NAME
from segmenter.predicting.gallery import write_gallery
from segmenter.predicting.image_outputs import IMAGE_COPY, ImageOutputs, parse_save
from segmenter.predicting.images import Result, predict_files
from segmenter.predicting.predict_videos import check_videos, find_videos, label_videos
from segmenter.predicting.profiling import StageClock, num_cpus
from segmenter.predicting.rasters import RASTER_ENDING, import_rasterio, is_raster, label_raster
from segmenter.predicting.remarks import Remarks, check_image_bits
from segmenter.predicting.set_files import SetFiles
from segmenter.predicting.submission import write_submission
from segmenter.predicting.summary import Summary
from segmenter.predicting.video import Video
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.terminal import escape
from segmenter.text import percent, visible


def run_prediction(
    images: Sequence[str],
    model: str,
    *,
    output: ImageOutput,
    labelling: Labelling,
    compute: Compute,
    video: VideoOptions,
    image_bits: int | None = None,
) -> int:
    """Label images and videos, print the share of each class, and return the number that failed.

    Raises:
        UserError: If there are no images, or model, device or outputs do not allow it; if all that
            is given are videos, and none has a frame that can be read.
    """
    check_given(images)
    save = _chosen_save(output)
    videos, others = find_videos(images, video)
    passed_over: Counter[str] = Counter()
    found = find_images(others, passed_over) if others else []
    print_passed_over(passed_over)
    folder = OutputFolder(output.out, overwrite=output.overwrite)
    predictor = open_predictor(model, labelling, compute, image_bits)
    rasters = [] if output.submission else [each for each in found if is_raster(each[0])]
    maps = set(rasters)
    image_files = [image for image in found if image not in maps]
    if rasters:
        check_rasters(rasters, folder, output, labelling)
    outputs = image_outputs(predictor.classes, output, save)
    if videos:
        _check_videos_alone(videos[0], output)
        check_videos(videos, predictor, folder, video)
    clock = StageClock()
    labelled: Iterator[Result] = iter(())
    if output.submission:
        labelled = write_submission(predictor, image_files, folder, output.submission, clock)
    elif image_files:
        folder.check([PAGE_NAME] if output.gallery else [])
        labelled = predict_files(predictor, image_files, folder, outputs, clock)
    of_rasters = (label_raster(predictor, path, folder, name) for path, name in rasters)
    of_videos = label_videos(predictor, videos, folder, video, output)
    formats = () if output.submission else outputs.set_formats
    run = PredictionRun(predictor.classes, len(found) + len(videos), keeps_results=output.gallery)
    with SetFiles(formats, predictor.classes, folder) as set_files:
        for result in chain(labelled, of_rasters, of_videos):
            if run.is_in_vain(result) and not found:
                raise UserError(result.problem)
            run.add(result)
            if result.problem is None:
                set_files.add(result.lines)
        run.print_summary(clock)
        for path in set_files.write():
            print(f"all images: {path}")
    if output.gallery:
        print(f"gallery: {write_gallery(run.results, predictor.spec, folder)}")
    print(f"results: {output.out}")
    return run.num_failed


class PredictionRun:
    """The results of a run, printed as they come and summarised at its end.

    Args:
        classes: Classes of the labels.
        num_inputs: Number of results to come.
        keeps_results: Whether `results` are kept, for a page of all.
    """

    def __init__(self, classes: Classes, num_inputs: int, *, keeps_results: bool) -> None:
        self.results: list[Result] = []
        self.num_failed = 0
        self._num_inputs = num_inputs
        self._keeps_results = keeps_results
        self._num_done = 0
        self._has_outputs = False
        self._summary = Summary(classes)
        self._remarks = Remarks()

    def is_in_vain(self, result: Result) -> bool:
        """Return whether this is the last result, it failed, and no input gave a file."""
        is_last = self._num_done + 1 == self._num_inputs
        return is_last and bool(result.problem) and not (self._has_outputs or result.outputs)

    def add(self, result: Result) -> None:
        """Report the next result."""
        self._num_done += 1
        self._has_outputs = self._has_outputs or bool(result.outputs)
        report(result, self._num_done, self._num_inputs)
        if result.problem is None:
            self._summary.add(result.path, result.shares)
        self.num_failed += result.problem is not None
        self._remarks.add(result)
        if self._keeps_results:
            self.results.append(result)

    def print_summary(self, clock: StageClock) -> None:
        """Print the share of each class, remarks about images, and how long it took."""
        print_shares(self._summary)
        self._remarks.print()
        print_usage(clock, self._num_inputs)


def _chosen_save(output: ImageOutput) -> tuple[str, ...]:
    """Return the formats to write for each image, after rejecting contradictory options."""
    if output.submission and (output.gallery or output.save):
        option = "--gallery" if output.gallery else "--save"
        raise UserError(f"--submission writes label maps alone; leave {option} out")
    chosen = parse_save(output.save)
    if output.gallery and "overlay" not in chosen:
        raise UserError("--gallery shows overlays; add overlay to --save")
    return chosen


def _check_videos_alone(video: Video, output: ImageOutput) -> None:
    """Reject options that are for images alone if a video is given."""
    if output.submission or output.gallery or output.save:
        option = (
            "--submission" if output.submission else "--gallery" if output.gallery else "--save"
        )
        raise UserError(f"{video.path} is a video; leave {option} out")


def print_passed_over(counts: Counter[str]) -> None:
    """Print how many images and videos were found that cannot be read."""
    if counts:
        print(f"note: {describe_passed_over(counts)}")


def check_given(images: Sequence[str]) -> None:
    """Reject a command without images."""
    if not images:
        raise UserError("no images given; name images, folders, or patterns such as 'photos/*.jpg'")


def open_predictor(
    model: str, labelling: Labelling, compute: Compute, image_bits: int | None = None
) -> Predictor:
    """Open a model to label images in several threads; print its licence and runtime."""
    cv2.setNumThreads(1)  # images are worked on in parallel, and each thread's time is counted
    predictor = Predictor(
        open_runtime(model, compute), flip=labelling.flip, label_rule=labelling.label_rule
    )
    if image_bits is not None:
        predictor.image_bits = check_image_bits(image_bits)
    terms = predictor.spec.license
    if terms and (model in bundled_models() or is_hub_name(model)):
        print(f"note: the model {model!r} is under these terms: {visible(terms)}")
    print(f"runtime: {predictor.runtime.describe()}")
    return predictor


def image_outputs(classes: Classes, output: ImageOutput, save: tuple[str, ...]) -> ImageOutputs:
    """Return the files to write of each image."""
    also = (IMAGE_COPY,) if output.gallery else ()
    return ImageOutputs(classes, output.out, save, output.opacity, output.ids, also)


def check_rasters(
    rasters: Sequence[tuple[Path, str]],
    folder: OutputFolder,
    output: ImageOutput,
    labelling: Labelling,
) -> None:
    """Reject options that GeoTIFFs do not have, before any work is done."""
    first = rasters[0][0]
    if output.gallery:
        raise UserError(f"{first} is a map, and a gallery shows images; leave --gallery out")
    if output.ids != "index":
        raise UserError(f"{first} is a map, whose label file holds class indices; leave --ids out")
    if output.save is not None:
        raise UserError(f"{first} is a map, of which labels alone are written; leave --save out")
    if labelling.label_rule != "argmax":
        raise UserError(f"{first} is a map, labelled piece by piece; leave --label-rule out")
    import_rasterio()
    folder.check(name + RASTER_ENDING for _, name in rasters)


def report(result: Result, number: int, total: int) -> None:
    """Print that an image is done, or why it failed."""
    done = f"{result.seconds:.2f} s" if result.problem is None else "failed"
    if result.num_frames:
        done = f"{result.num_frames} frames, {result.seconds:.2f} s"
    print(f"[{number}/{total}] {visible(str(result.path))}: {done}")
    if result.problem is not None:
        print(f"segmenter: {visible(' '.join(result.problem.split()))}", file=sys.stderr)


def print_shares(summary: Summary) -> None:
    """Print the share of each class in the pixels of the first images, and the mean of all."""
    shares = summary.table()
    table = Table("image", "share of the pixels, in per cent")
    for image, row in zip(shares.images, shares.shares, strict=True):
        table.add_row(escape(image.name), _largest_first(shares.names, row))
    if shares.num_images > len(shares.images):
        table.add_row(f"and {shares.num_images - len(shares.images)} more", "")
    if shares.num_images > 1:
        table.add_section()
        table.add_row("mean", _largest_first(shares.names, shares.overall))
    Console().print(table)


def print_usage(clock: StageClock, num_images: int) -> None:
    """Print how long a run took and what the CPUs did, unless there was nothing to do."""
    if num_images == 0:
        return
    used = clock.usage()
    shares = ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in used.shares.items())
    print(
        f"{num_images} done in {used.seconds:.1f} s, {used.num_busy:.2f} of {num_cpus()} "
        f"CPUs busy: {shares}"
    )


def _largest_first(names: Sequence[str], shares: Float[ndarray, " classes"]) -> str:
    """Return the classes that do not round to 0.0, such as `sky 60.1, tree 39.9`."""
    shown = (f"{names[index]} {percent(shares[index], 1)}" for index in shown_classes(shares))
    return escape(", ".join(shown))
