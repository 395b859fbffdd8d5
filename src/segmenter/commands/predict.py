"""`segmenter predict`: label photos."""

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segmenter.checkpoints.bundled import bundled_models
from segmenter.checkpoints.hub import is_hub_name
from segmenter.classes import Classes
from segmenter.commands.predict_videos import check_videos, find_videos, label_videos
from segmenter.data.video import CameraFormat
from segmenter.errors import UserError
from segmenter.inference.gallery import gallery_names, write_gallery
from segmenter.inference.metric_decoding import Decode
from segmenter.inference.predict_files import (
    Ids,
    Result,
    find_images,
    predict_files,
    summary_table,
)
from segmenter.inference.predictor import Predictor
from segmenter.inference.rasters import RASTER_ENDING, import_rasterio, is_raster, label_raster
from segmenter.inference.runtimes import describe
from segmenter.inference.submission import Benchmark, write_submission
from segmenter.inference.video import VideoOutput, VideoResult
from segmenter.outputs import OutputFolder


def run_prediction(
    images: Sequence[str],
    model: str,
    out: Path,
    *,
    opacity: float,
    ids: Ids,
    gallery: bool,
    submission: Benchmark | None = None,
    video: VideoOutput = "overlay",
    fps: float = 25.0,
    camera_format: CameraFormat | None = None,
    flip: bool | None,
    decode: Decode = "argmax",
    device: str,
    runtime: str,
    precision: str,
    overwrite: bool,
) -> int:
    """Label photos and videos, print the share of each class; returns how many have a problem.

    Raises:
        UserError: If there are no photos, or model, device or outputs do not allow it; if all that
            is given are videos, and none has a frame that can be read.
    """
    if not images:
        raise UserError("no photos given; name photos, folders, or patterns such as 'photos/*.jpg'")
    if submission and gallery:
        raise UserError("--submission writes label maps alone; leave --gallery out")
    videos, others = find_videos(images, fps=fps, camera_format=camera_format)
    found = find_images(others) if others else []
    folder = OutputFolder(out, overwrite=overwrite)
    predictor = Predictor(
        model, flip=flip, device=device, runtime=runtime, precision=precision, decode=decode
    )
    spec = predictor.spec
    if spec.license and (model in bundled_models() or is_hub_name(model)):
        print(f"note: the model {model!r} is under these terms: {spec.license}")
    print(f"runtime: {describe(predictor.runtime)}")
    if gallery:
        folder.check(gallery_names(found))
    rasters = [] if submission else [(path, name) for path, name in found if is_raster(path)]
    photos = [image for image in found if image not in rasters]
    if rasters:
        check_rasters(rasters, folder, gallery=gallery, ids=ids, decode=decode)
    if videos:
        if submission or gallery:
            raise UserError(f"{videos[0].path} is a video; leave --submission and --gallery out")
        check_videos(videos, predictor, folder, video, opacity)
    labelled: Iterator[Result] = iter(())
    if submission:
        labelled = write_submission(predictor, photos, folder, submission)
    elif photos:
        labelled = predict_files(predictor, photos, folder, opacity=opacity, ids=ids)
    of_rasters = (label_raster(predictor, path, folder, name) for path, name in rasters)
    of_videos = label_videos(predictor, videos, folder, output=video, opacity=opacity, ids=ids)
    results: list[Result] = []
    num_inputs = len(found) + len(videos)
    for result in chain(labelled, of_rasters, of_videos):
        results.append(result)
        done = f"{result.seconds:.2f} s" if result.problem is None else "failed"
        if isinstance(result, VideoResult) and result.outputs:
            done = f"{result.num_frames} frames, {result.seconds:.2f} s"
        print(f"[{len(results)}/{num_inputs}] {result.path}: {done}")
        if result.problem is not None:
            if len(results) == len(videos) == num_inputs and not any(r.outputs for r in results):
                raise UserError(result.problem)
            print(f"segmenter: {' '.join(result.problem.split())}", file=sys.stderr)
    print_shares(results, spec.classes)
    if gallery:
        print(f"gallery: {write_gallery(results, spec, folder)}")
    print(f"results: {out}")
    return sum(result.problem is not None for result in results)


def check_rasters(
    rasters: Sequence[tuple[Path, str]],
    folder: OutputFolder,
    *,
    gallery: bool,
    ids: Ids,
    decode: Decode,
) -> None:
    """Refuse, before any work is done, what cannot be done with GeoTIFFs."""
    first = rasters[0][0]
    if gallery:
        raise UserError(f"{first} is a map, and a gallery shows photos; leave --gallery out")
    if ids != "index":
        raise UserError(f"{first} is a map, whose label file holds class indices; leave --ids out")
    if decode != "argmax":
        raise UserError(f"{first} is a map, labelled piece by piece; leave --decode out")
    import_rasterio()
    folder.check(name + RASTER_ENDING for _, name in rasters)


def print_shares(results: Sequence[Result], classes: Classes) -> None:
    """Show which share of the pixels each class has, per photo and over all."""
    shares = summary_table(results, classes)
    table = Table("photo", "share of the pixels, in per cent")
    for photo, row in zip(shares.photos, shares.shares, strict=True):
        table.add_row(escape(photo.name), _largest_first(shares.names, row))
    if len(shares.photos) > 1:
        table.add_section()
        table.add_row("mean", _largest_first(shares.names, shares.overall))
    Console().print(table)


def _largest_first(names: Sequence[str], shares: Float[ndarray, " classes"]) -> str:
    """The classes that would not round to 0.0, such as `sky 60.1, tree 39.9`."""
    order = [index for index in np.argsort(-shares, kind="stable") if shares[index] >= 0.0005]
    return escape(", ".join(f"{names[index]} {100 * shares[index]:.1f}" for index in order))
