"""`segmenter predict --parts`: label any number of images in parts, so that a run can resume."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import is_dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from segmenter.data.pairing.find_images import before_wildcard, walk_inputs
from segmenter.errors import UserError
from segmenter.files.manifest import RECORDS_NAME
from segmenter.files.outputs import OutputFolder, write_atomically
from segmenter.files.regular import read_regular
from segmenter.inference.predictor import Predictor
from segmenter.label_files.image_outputs import ImageOutputs, parse_save
from segmenter.label_files.set_files import write_set_file
from segmenter.model import ModelSpec
from segmenter.options import ImageOutput, MapOptions, Parts, PredictOptions, VideoOptions
from segmenter.predicting.class_shares import Summary
from segmenter.predicting.images import Result, label_images
from segmenter.predicting.opening import check_given, image_outputs, open_predictor
from segmenter.predicting.part_record import PartRecord, merged_lines
from segmenter.predicting.predict_videos import find_videos
from segmenter.predicting.printing import (
    NUM_HEADERS,
    print_passed_over,
    print_shares,
    print_shown_size,
    print_usage,
    report,
)
from segmenter.predicting.profiling import StageClock
from segmenter.predicting.rasters import is_raster, most_image_bands
from segmenter.predicting.remarks import Remarks
from segmenter.text import visible

_SETTINGS = "settings.json"
_MAX_SETTINGS_BYTES = 1 << 20
_MOST_IN_TURN = 200
"""Parts whose records one process opens."""


def run_parts(images: Sequence[str], model: str, options: PredictOptions) -> int:
    """Label one part of the images, or all in turn, and return how many could not be read.

    Raises:
        UserError: If no images are found, if model, device or outputs do not allow it, or if the
            folder holds results of another model or of other options.
    """
    output, parts = options.output, options.parts
    check_given(images)
    num_parts = _check_parts(parts)
    _check_images_alone(images, output, options.video)
    if options.maps != MapOptions():
        raise UserError("--cog, --min-area and --simplify are for maps; omit --parts")
    save = parse_save(output.save)
    check_apart(images, output.out)
    folder = OutputFolder(output.out, overwrite=output.overwrite)
    predictor = open_predictor(model, options)
    predictor.spec.require_files()
    outputs = image_outputs(predictor.classes, output, save)
    which = "" if parts.part is None else f"-{parts.part}-of-{num_parts}"
    failed_name = f"failed{which}.jsonl"
    set_names = {
        name: _with_part(each.file_name, which) for name, each in outputs.set_formats.items()
    }
    folder.check([failed_name, *set_names.values()])
    settings = agree_on_settings(
        output.out, recorded_settings(predictor, outputs, options), overwrite=output.overwrite
    )
    first = islice(walk_inputs(images), 2 * NUM_HEADERS)  # enough to show that more may follow
    print_shown_size(predictor, [path for path, _ in first])

    clock, summary = StageClock(), Summary(predictor.classes)
    num_images = num_done = 0
    remarks = Remarks()
    with ExitStack() as stack:
        records = []
        for each in range(1, num_parts + 1) if parts.part is None else [parts.part]:
            record = stack.enter_context(PartRecord(output.out, each, num_parts, settings))
            records.append(record)
            for result in label_part(
                record, images, predictor, outputs, clock, overwrite=output.overwrite
            ):
                num_images += 1
                num_done += result.problem is None
                remarks.add(result)
        for record in records:
            for path, shares in record.shares():
                summary.add(path, shares)
        print_shares(summary)
        remarks.print()
        print_usage(clock, num_done, num_images)
        num_failed = write_failed(records, folder, failed_name)
        for format, name in set_names.items():
            read_lines = partial(merged_lines, records, format)
            print(
                f"all images: {write_set_file(folder, name, format, read_lines, outputs.classes)}"
            )
    print(f"results: {output.out}")
    return num_failed


def _check_parts(parts: Parts) -> int:
    """Return the number of parts, after checking it and the number of the part."""
    num_parts, part = parts.parts, parts.part
    if num_parts is None:
        raise UserError(f"--part {part} needs the number of parts; add --parts")
    if num_parts < 1 or (part is not None and not 1 <= part <= num_parts):
        raise UserError(
            f"--parts is 1 or more, and --part from 1 to it; got {num_parts} and {part}"
        )
    if part is None and num_parts > _MOST_IN_TURN:
        raise UserError(
            f"one command processes at most {_MOST_IN_TURN} parts, got {num_parts}; give fewer, or "
            "select each with --part"
        )
    return num_parts


def _check_images_alone(images: Sequence[str], output: ImageOutput, video: VideoOptions) -> None:
    """Reject videos, and options that are for one run over all images."""
    if output.gallery or output.submission is not None:
        raise UserError("--gallery and --submission are for images of one run; omit --parts")
    videos, _ = find_videos(images, VideoOptions())
    if videos or video != VideoOptions():
        what = f"{videos[0].path} is a video" if videos else "--video, --fps, --camera-format"
        raise UserError(f"{what}: parts are of images alone; omit --parts")


def check_apart(images: Sequence[str], out: Path) -> None:
    """Reject images in the output folder, where results would be taken for images next time."""
    for given in images:
        base = before_wildcard(given)
        if base.resolve().is_relative_to(out.resolve()):
            raise UserError(
                f"{given} lies in the output folder {out}; with --parts, give a folder of its own"
            )


NOT_RECORDED = frozenset(
    {
        *("out", "overwrite", "part", "device"),
        *("gallery", "submission", "video", "fps", "camera_format"),  # refused with --parts
        *("cog", "min_area", "simplify"),  # as well
    }
)
"""Options of `predict` that the files of a part do not depend on; all others are recorded."""


def recorded_settings(
    predictor: Predictor, outputs: ImageOutputs, options: PredictOptions
) -> dict[str, Any]:
    """Return what the files of all parts depend on besides the images.

    That is every option that is not `NOT_RECORDED`, with its value as it is settled, then the
    model and its evaluation protocol.
    """
    given: dict[str, Any] = {}
    for name, value in vars(options).items():
        given |= vars(value) if is_dataclass(value) else {name: value}
    spec = predictor.spec.model_dump_json()
    what = f"{spec}{predictor.runtime.digest()}".encode()
    protocol = predictor.protocol.model_dump(mode="json")
    settled = {
        "model": hashlib.sha256(what).hexdigest(),
        "protocol": protocol.pop("name"),
        **protocol,
        "label_rule": predictor.label_rule,
        "threshold": predictor.threshold,
        "image_bits": predictor.image_bits,
        "merge_threshold": predictor.runtime.merge_threshold,
        "runtime": predictor.runtime.name,
        "precision": predictor.runtime.precision,
        "save": ",".join(outputs.save),
    }
    recorded = {name: value for name, value in given.items() if name not in NOT_RECORDED}
    # As JSON reads them back, where a tuple is a list.
    return json.loads(json.dumps(recorded | settled, default=str))


def agree_on_settings(root: Path, settings: dict[str, Any], *, overwrite: bool) -> str:
    """Record in an output folder what its files depend on, equal for all parts.

    Returns:
        A digest of it.

    Raises:
        UserError: If the folder was begun with other settings, unless `overwrite`.
    """
    path = root / RECORDS_NAME / _SETTINGS
    try:
        before = json.loads(read_regular(path, _MAX_SETTINGS_BYTES)) if path.exists() else {}
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be used: {error.strerror}") from None
    except ValueError:
        raise UserError(f"{path} is damaged; give another folder") from None
    changed = [
        f"{key} {before.get(key)!r}, now {settings.get(key)!r}"
        for key in {**before, **settings}
        if before and before.get(key) != settings.get(key)
    ]
    if changed and not overwrite:
        raise UserError(
            f"{root} was started with other options: {'; '.join(changed)}; give another "
            "folder, or compute everything again with --overwrite"
        )
    text = json.dumps(settings, indent=1)
    if before != settings:
        write_atomically(path, text.encode())
    return hashlib.sha256(text.encode()).hexdigest()


def label_part(
    record: PartRecord,
    images: Sequence[str],
    predictor: Predictor,
    outputs: ImageOutputs,
    clock: StageClock,
    *,
    overwrite: bool,
) -> Iterator[Result]:
    """Label those images of a part that are not done, and record each result."""
    passed_over: Counter[str] = Counter()
    record.list_images(walk_inputs(images, passed_over))
    print_passed_over(passed_over)
    record.forget_lost(outputs.names)
    count = record.count()
    parts = [f"{count.images} images"]
    parts += [f"{count.done} done before"] * (count.done > 0)
    parts += [f"{count.changed} changed since"] * (count.changed > 0)
    parts += [f"{count.failed} failed before"] * (count.failed > 0)
    print(f"part {record.part} of {record.num_parts}: {', '.join(parts)}")
    labelled = label_images(
        predictor,
        images_only(record, predictor.spec),
        OutputFolder(outputs.root, overwrite=overwrite, notes=record),
        outputs,
        clock,
    )
    for number, result in enumerate(labelled, start=1):
        record.add_result(result)
        report(result, number, count.images - count.done)
        yield result


def images_only(record: PartRecord, spec: ModelSpec) -> Iterator[tuple[Path, str]]:
    """Yield the images that are not done; maps (GeoTIFF) are recorded as failed."""
    for path, name in record.pending():
        if not is_raster(path, most_image_bands(spec)):
            yield path, name
            continue
        problem = f"{path} is a map, and --parts takes images; label it in a run of its own"
        record.add_result(Result(path, (), np.zeros(len(spec.classes)), 0.0, problem, name))
        print(f"segmenter: {visible(str(problem))}", file=sys.stderr)


def write_failed(records: Sequence[PartRecord], folder: OutputFolder, name: str) -> int:
    """Write the images that could not be labelled as JSON lines, and return how many."""
    count = 0
    with folder.writing(name) as temporary, temporary.open("w", encoding="ascii") as file:
        for record in records:
            for path, problem in record.failed():
                file.write(json.dumps({"photo": str(path), "problem": problem}) + "\n")
                count += 1
    if count:
        print(f"failed: {count}, listed in {folder.root / name}")
    return count


def _with_part(name: str, which: str) -> str:
    path = Path(name)
    return f"{path.stem}{which}{path.suffix}"
