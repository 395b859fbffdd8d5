"""`segmenter predict` without `--parts`: label images, maps (GeoTIFF) and videos."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from segmenter.classes import Classes
from segmenter.data.maps.raster_files import import_rasterio
from segmenter.data.pairing.find_images import find_images
from segmenter.errors import UserError
from segmenter.files.optional import require
from segmenter.files.outputs import OutputFolder
from segmenter.label_files.set_files import SetFiles
from segmenter.options import ImageOutput, MapOptions, PredictOptions
from segmenter.pages import PAGE_NAME
from segmenter.predicting.class_shares import Summary
from segmenter.predicting.gallery import write_gallery
from segmenter.predicting.images import Result, predict_files
from segmenter.predicting.maps.map_outputs import (
    MAP_FORMATS,
    MapOutputs,
    SavedFormats,
    map_outputs,
    parse_all_saves,
)
from segmenter.predicting.opening import check_given, image_outputs, open_predictor
from segmenter.predicting.predict_videos import check_videos, find_videos, label_videos
from segmenter.predicting.printing import (
    print_passed_over,
    print_shares,
    print_shown_size,
    print_usage,
    report,
)
from segmenter.predicting.profiling import StageClock
from segmenter.predicting.rasters import (
    is_raster,
    label_raster,
    most_image_bands,
)
from segmenter.predicting.remarks import Remarks
from segmenter.predicting.submission import write_submission
from segmenter.predicting.video import Video


def run_prediction(images: Sequence[str], model: str, options: PredictOptions) -> int:
    """Label images and videos, print the share of each class, and return the number that failed.

    Raises:
        UserError: If no images are found, or model, device or outputs do not allow it; if all that
            is given are videos, and none has a frame that can be read.
    """
    output, video = options.output, options.video
    check_given(images)
    save = _chosen_save(output)
    videos, others = find_videos(images, video)
    passed_over: Counter[str] = Counter()
    found = find_images(others, passed_over) if others else []
    print_passed_over(passed_over)
    folder = OutputFolder(output.out, overwrite=output.overwrite)
    predictor = open_predictor(model, options)
    most = most_image_bands(predictor.spec)
    rasters = [] if output.submission else [each for each in found if is_raster(each[0], most)]
    maps = set(rasters)
    image_files = [image for image in found if image not in maps]
    of_maps = map_outputs(save.maps, options.maps)
    check_rasters(rasters, folder, options, of_maps)
    _check_images([path for path, _ in image_files] + [each.path for each in videos], save, options)
    print_shown_size(predictor, [path for path, _ in image_files])
    outputs = image_outputs(predictor.classes, output, save.images)
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
    of_rasters = (label_raster(predictor, path, folder, name, of_maps) for path, name in rasters)
    of_videos = label_videos(predictor, videos, folder, video, output)
    formats = () if output.submission else outputs.set_formats
    run = PredictionRun(predictor.classes, len(found) + len(videos), keeps_results=output.gallery)
    with SetFiles(formats, predictor.classes, folder) as set_files:
        for result in chain(labelled, of_rasters, of_videos):
            if run.has_failed_entirely(result) and not found:
                raise UserError(result.problem)
            run.add(result)
            if result.problem is None:
                set_files.add(result.lines)
        run.print_summary(clock)
        for path in set_files.write():
            print(f"all images: {path}")
    if output.gallery:
        print(f"gallery: {write_gallery(run.results, model, predictor, folder)}")
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

    def has_failed_entirely(self, result: Result) -> bool:
        """Return True if this is the last result, it failed, and no input gave a file."""
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
        print_usage(clock, self._num_inputs - self.num_failed, self._num_inputs)


def _chosen_save(output: ImageOutput) -> SavedFormats:
    """Return the formats to write for each image, after rejecting contradictory options."""
    if output.submission and (output.gallery or output.save):
        option = "--gallery" if output.gallery else "--save"
        raise UserError(f"--submission writes label maps alone; omit {option}")
    chosen = parse_all_saves(output.save)
    if output.gallery and "overlay" not in chosen.images:
        raise UserError("--gallery shows overlays; add overlay to --save")
    return chosen


def _check_videos_alone(video: Video, output: ImageOutput) -> None:
    """Reject options that are for images alone if a video is given."""
    if output.submission or output.gallery or output.save:
        option = (
            "--submission" if output.submission else "--gallery" if output.gallery else "--save"
        )
        raise UserError(f"{video.path} is a video; omit {option}")


def _check_images(paths: Sequence[Path], save: SavedFormats, options: PredictOptions) -> None:
    """Reject options that only maps have, where there are images too."""
    if not paths:
        return
    first = paths[0]
    if not save.images:
        raise UserError(
            f"{first} is not a map, and --save names files of maps alone ({', '.join(save.maps)}); "
            "add label, or omit the image"
        )
    if options.maps != MapOptions():
        raise UserError(
            f"{first} is not a map; omit --cog, --min-area and --simplify, or the image"
        )


def check_rasters(
    rasters: Sequence[tuple[Path, str]],
    folder: OutputFolder,
    options: PredictOptions,
    outputs: MapOutputs,
) -> None:
    """Reject options that GeoTIFFs do not have, before any work is done."""
    if not rasters:
        return
    output, sizes, first = options.output, options.sizes, rasters[0][0]
    if output.gallery:
        raise UserError(f"{first} is a map, and a gallery shows images; omit --gallery")
    if output.ids != "index":
        raise UserError(f"{first} is a map, whose label file holds class indices; omit --ids")
    if not outputs.save:
        raise UserError(
            f"{first} is a map, and --save {output.save} names none of its files; add one of "
            f"{', '.join(MAP_FORMATS)}"
        )
    if options.labelling.label_rule != "argmax":
        raise UserError(f"{first} is a map, labelled piece by piece; omit --label-rule")
    if sizes.short_side or sizes.scales:
        option = "--short-side" if sizes.short_side else "--scales"
        raise UserError(f"{first} is a map, whose pixels are not resized; omit {option}")
    if sizes.window == 0:
        raise UserError(f"{first} is a map, labelled in windows; give --window a size, or omit it")
    import_rasterio()
    if outputs.has_polygons:
        require("a vector file", "shapely", "pyogrio", extra="geo")
    folder.check(each for _, name in rasters for each in outputs.names(name))
