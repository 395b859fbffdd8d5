"""`segmenter predict`: label images."""

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
from segmenter.data.decoding.image_formats import describe_passed_over
from segmenter.data.pairing.find_images import find_images
from segmenter.data.published import Benchmark
from segmenter.data.video.frames import CameraFormat
from segmenter.drawing import shown_classes
from segmenter.errors import UserError
from segmenter.files.outputs import OutputFolder
from segmenter.inference.metric_decoding import Decode
from segmenter.inference.predictor import Predictor
from segmenter.pages import PAGE_NAME
from segmenter.predicting.gallery import write_gallery
from segmenter.predicting.image_outputs import IMAGE_COPY, Ids, ImageOutputs, parse_save
from segmenter.predicting.images import Result, predict_files
from segmenter.predicting.predict_videos import check_videos, find_videos, label_videos
from segmenter.predicting.profiling import StageClock, num_cpus
from segmenter.predicting.rasters import RASTER_ENDING, import_rasterio, is_raster, label_raster
from segmenter.predicting.remarks import Remarks, check_image_bits
from segmenter.predicting.set_files import SetFiles
from segmenter.predicting.submission import write_submission
from segmenter.predicting.summary import Summary
from segmenter.predicting.video import VideoOutput
from segmenter.terminal import escape
from segmenter.text import percent, visible


def run_prediction(
    images: Sequence[str],
    model: str,
    out: Path,
    *,
    save: str | None = None,
    opacity: float,
    ids: Ids,
    gallery: bool,
    submission: Benchmark | None = None,
    video: VideoOutput = "overlay",
    fps: float = 25.0,
    camera_format: CameraFormat | None = None,
    flip: bool | None,
    decode: Decode = "argmax",
    merge_tokens: float | None = None,
    device: str,
    runtime: str,
    precision: str,
    overwrite: bool,
    image_bits: int | None = None,
) -> int:
    """Label images and videos, print the share of each class; returns how many have a problem.

    Raises:
        UserError: If there are no images, or model, device or outputs do not allow it; if all that
            is given are videos, and none has a frame that can be read.
    """
    check_given(images)
    if submission and (gallery or save):
        option = "--gallery" if gallery else "--save"
        raise UserError(f"--submission writes label maps alone; leave {option} out")
    chosen = parse_save(save)
    if gallery and "overlay" not in chosen:
        raise UserError("--gallery shows overlays; add overlay to --save")
    videos, others = find_videos(images, fps=fps, camera_format=camera_format)
    passed_over: Counter[str] = Counter()
    found = find_images(others, passed_over) if others else []
    print_passed_over(passed_over)
    folder = OutputFolder(out, overwrite=overwrite)
    predictor = open_predictor(
        model,
        flip=flip,
        decode=decode,
        merge_tokens=merge_tokens,
        device=device,
        runtime=runtime,
        precision=precision,
        image_bits=image_bits,
    )
    rasters = [] if submission else [(path, name) for path, name in found if is_raster(path)]
    maps = set(rasters)
    image_files = [image for image in found if image not in maps]
    if rasters:
        check_rasters(rasters, folder, gallery=gallery, ids=ids, save=save, decode=decode)
    also = (IMAGE_COPY,) if gallery else ()
    outputs = ImageOutputs(predictor.classes, out, chosen, opacity, ids, also)
    if videos:
        if submission or gallery or save:
            option = "--submission" if submission else "--gallery" if gallery else "--save"
            raise UserError(f"{videos[0].path} is a video; leave {option} out")
        check_videos(videos, predictor, folder, video)
    clock = StageClock()
    labelled: Iterator[Result] = iter(())
    if submission:
        labelled = write_submission(predictor, image_files, folder, submission, clock)
    elif image_files:
        folder.check([PAGE_NAME] if gallery else [])
        labelled = predict_files(predictor, image_files, folder, outputs, clock)
    of_rasters = (label_raster(predictor, path, folder, name) for path, name in rasters)
    of_videos = label_videos(predictor, videos, folder, output=video, opacity=opacity, ids=ids)
    summary, results, num_failed = Summary(predictor.classes), [], 0
    remarks = Remarks()
    num_inputs, wrote = len(found) + len(videos), False
    formats = () if submission else outputs.set_formats
    with SetFiles(formats, predictor.classes, folder) as set_files:
        for number, result in enumerate(chain(labelled, of_rasters, of_videos), start=1):
            wrote = wrote or bool(result.outputs)
            if not wrote and result.problem and number == len(videos) == num_inputs:
                raise UserError(result.problem)
            report(result, number, num_inputs)
            if result.problem is None:
                summary.add(result.path, result.shares)
                set_files.add(result.lines)
            num_failed += result.problem is not None
            remarks.add(result)
            if gallery:
                results.append(result)
        print_shares(summary)
        remarks.print()
        print_usage(clock, num_inputs)
        for path in set_files.write():
            print(f"all images: {path}")
    if gallery:
        print(f"gallery: {write_gallery(results, predictor.spec, folder)}")
    print(f"results: {out}")
    return num_failed


def print_passed_over(counts: Counter[str]) -> None:
    """Say which images and videos were found that are not read."""
    if counts:
        print(f"note: {describe_passed_over(counts)}")


def check_given(images: Sequence[str]) -> None:
    """Refuse a command that names nothing to label."""
    if not images:
        raise UserError("no images given; name images, folders, or patterns such as 'photos/*.jpg'")


def open_predictor(
    model: str,
    *,
    flip: bool | None,
    decode: Decode,
    merge_tokens: float | None,
    device: str,
    runtime: str,
    precision: str,
    image_bits: int | None = None,
) -> Predictor:
    """Open a model for images that are labelled one beside the other, and say what it is."""
    cv2.setNumThreads(1)  # images are worked on side by side; so is what each thread spends known
    predictor = Predictor(
        model,
        flip=flip,
        device=device,
        runtime=runtime,
        precision=precision,
        decode=decode,
        merge_tokens=merge_tokens,
    )
    if image_bits is not None:
        predictor.image_bits = check_image_bits(image_bits)
    terms = predictor.spec.license
    if terms and (model in bundled_models() or is_hub_name(model)):
        print(f"note: the model {model!r} is under these terms: {visible(terms)}")
    print(f"runtime: {predictor.runtime.describe()}")
    return predictor


def check_rasters(
    rasters: Sequence[tuple[Path, str]],
    folder: OutputFolder,
    *,
    gallery: bool,
    ids: Ids,
    decode: Decode,
    save: str | None,
) -> None:
    """Refuse, before any work is done, what cannot be done with GeoTIFFs."""
    first = rasters[0][0]
    if gallery:
        raise UserError(f"{first} is a map, and a gallery shows images; leave --gallery out")
    if ids != "index":
        raise UserError(f"{first} is a map, whose label file holds class indices; leave --ids out")
    if save is not None:
        raise UserError(f"{first} is a map, of which labels alone are written; leave --save out")
    if decode != "argmax":
        raise UserError(f"{first} is a map, labelled piece by piece; leave --decode out")
    import_rasterio()
    folder.check(name + RASTER_ENDING for _, name in rasters)


def report(result: Result, number: int, total: int) -> None:
    """Say that an image is done, or why it is not."""
    done = f"{result.seconds:.2f} s" if result.problem is None else "failed"
    if result.num_frames:
        done = f"{result.num_frames} frames, {result.seconds:.2f} s"
    print(f"[{number}/{total}] {visible(str(result.path))}: {done}")
    if result.problem is not None:
        print(f"segmenter: {visible(' '.join(result.problem.split()))}", file=sys.stderr)


def print_shares(summary: Summary) -> None:
    """Show which share of the pixels each class has, in the first images and over all."""
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
    """Say how long a run took, and what its processors did, if there was anything to do."""
    if num_images == 0:
        return
    used = clock.usage()
    shares = ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in used.shares.items())
    print(
        f"{num_images} done in {used.seconds:.1f} s, {used.num_busy:.2f} of {num_cpus()} "
        f"processors busy: {shares}"
    )


def _largest_first(names: Sequence[str], shares: Float[ndarray, " classes"]) -> str:
    """The classes that would not round to 0.0, such as `sky 60.1, tree 39.9`."""
    shown = (f"{names[index]} {percent(shares[index], 1)}" for index in shown_classes(shares))
    return escape(", ".join(shown))
