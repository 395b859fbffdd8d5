"""`segmenter predict --shards`: label any number of images, by parts, so that a run can go on."""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from segmenter.classes import Classes
from segmenter.data.pairing.find_images import before_wildcard, walk_inputs
from segmenter.errors import UserError
from segmenter.files.manifest import RECORDS_NAME
from segmenter.files.outputs import OutputFolder, write_atomically
from segmenter.files.regular import read_regular
from segmenter.inference.metric_decoding import Decode
from segmenter.inference.predictor import Predictor
from segmenter.predicting.image_outputs import Ids, ImageOutputs, parse_save
from segmenter.predicting.images import Result, label_images
from segmenter.predicting.predict_all import (
    check_given,
    open_predictor,
    print_passed_over,
    print_shares,
    print_usage,
    report,
)
from segmenter.predicting.predict_videos import find_videos
from segmenter.predicting.profiling import StageClock
from segmenter.predicting.rasters import is_raster
from segmenter.predicting.remarks import Remarks
from segmenter.predicting.set_files import write_set_file
from segmenter.predicting.shards import ShardRecord, merged_lines
from segmenter.predicting.summary import Summary
from segmenter.text import visible

_SETTINGS = "settings.json"
_MOST_IN_TURN = 200
_MAX_SETTINGS_BYTES = 1 << 20
"""Shards whose records one process opens."""


def run_shards(
    images: Sequence[str],
    model: str,
    out: Path,
    *,
    num_shards: int | None,
    shard: int | None = None,
    save: str | None = None,
    opacity: float,
    ids: Ids,
    one_page: bool = False,
    for_videos: bool = False,
    flip: bool | None,
    decode: Decode = "argmax",
    merge_tokens: float | None = None,
    device: str,
    runtime: str,
    precision: str,
    overwrite: bool,
    image_bits: int | None = None,
) -> int:
    """Label one shard of the images, or all in turn; returns how many could not be read.

    Raises:
        UserError: If there are no images, if model, device or outputs do not allow it, or if the
            folder holds results of another model or of other options.
    """
    check_given(images)
    if num_shards is None:
        raise UserError(f"--shard {shard} is one of how many? give --shards too")
    if num_shards < 1 or (shard is not None and not 1 <= shard <= num_shards):
        raise UserError(
            f"--shards is 1 or more, and --shard from 1 to it; got {num_shards} and {shard}"
        )
    if shard is None and num_shards > _MOST_IN_TURN:
        raise UserError(
            f"at most {_MOST_IN_TURN} shards are taken in turn, got {num_shards}; take fewer, or "
            "each by its number with --shard"
        )
    if one_page:
        raise UserError("--gallery and --submission are for images of one run; leave --shards out")
    videos, _ = find_videos(images, fps=1.0, camera_format=None)
    if for_videos or videos:
        what = f"{videos[0].path} is a video" if videos else "--video, --fps, --camera-format"
        raise UserError(f"{what}: shards are of images alone; leave --shards out")
    chosen = parse_save(save)
    check_apart(images, out)
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
    predictor.spec.encoder.require_rgb()
    outputs = ImageOutputs(predictor.classes, out, chosen, opacity, ids)
    which = "" if shard is None else f"-{shard}-of-{num_shards}"
    failed_name = f"failed{which}.jsonl"
    set_names = {
        name: _with_shard(each.file_name, which) for name, each in outputs.set_formats.items()
    }
    folder.check([failed_name, *set_names.values()])
    settings = agree_on_settings(out, predictor, outputs, num_shards, overwrite=overwrite)

    clock, summary, num_done = StageClock(), Summary(predictor.classes), 0
    remarks = Remarks()
    shards = range(1, num_shards + 1) if shard is None else [shard]
    with ExitStack() as stack:
        records = []
        for each in shards:
            record = stack.enter_context(ShardRecord(out, each, num_shards, settings))
            records.append(record)
            for result in label_shard(
                record, images, predictor, outputs, clock, overwrite=overwrite
            ):
                num_done += 1
                remarks.add(result)
        for record in records:
            for path, shares in record.shares():
                summary.add(path, shares)
        print_shares(summary)
        remarks.print()
        print_usage(clock, num_done)
        num_failed = write_failed(records, folder, failed_name)
        for format, name in set_names.items():
            read_lines = partial(merged_lines, records, format)
            print(
                f"all images: {write_set_file(folder, name, format, read_lines, outputs.classes)}"
            )
    print(f"results: {out}")
    return num_failed


def check_apart(images: Sequence[str], out: Path) -> None:
    """Refuse images in the folder of the results, which would be taken for images next time."""
    for given in images:
        base = before_wildcard(given)
        if base.resolve().is_relative_to(out.resolve()):
            raise UserError(
                f"{given} lies in the output folder {out}; with --shards, give a folder of its own"
            )


def agree_on_settings(
    out: Path,
    predictor: Predictor,
    outputs: ImageOutputs,
    num_shards: int,
    *,
    overwrite: bool,
) -> str:
    """Note in the folder what its files depend on besides the images, the same for all shards.

    Returns:
        What stands for all of it.

    Raises:
        UserError: If the folder was begun with others, unless `overwrite`.
    """
    spec = predictor.spec.model_dump_json()
    what = f"{spec}{predictor.runtime.digest()}".encode()
    settings = {
        "model": hashlib.sha256(what).hexdigest(),
        **{
            f"protocol {key}": each
            for key, each in predictor.protocol.model_dump(mode="json").items()
        },
        "decode": predictor.decode,
        "image_bits": predictor.image_bits,
        "merge_tokens": predictor.runtime.merge_tokens,
        "runtime": predictor.runtime.name,
        "precision": predictor.runtime.precision,
        "save": ",".join(outputs.save),
        "opacity": outputs.opacity,
        "ids": outputs.ids,
        "shards": num_shards,
    }
    path = out / RECORDS_NAME / _SETTINGS
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
            f"{out} was begun with other options: {'; '.join(changed)}; give another folder, or "
            "have all of it made anew with --overwrite"
        )
    text = json.dumps(settings, indent=1)
    if before != settings:
        write_atomically(path, text.encode())
    return hashlib.sha256(text.encode()).hexdigest()


def label_shard(
    record: ShardRecord,
    images: Sequence[str],
    predictor: Predictor,
    outputs: ImageOutputs,
    clock: StageClock,
    *,
    overwrite: bool,
) -> Iterator[Result]:
    """Label those images of a shard that are not done, and note what became of each."""
    passed_over: Counter[str] = Counter()
    record.list_images(walk_inputs(images, passed_over))
    print_passed_over(passed_over)
    record.forget_lost(outputs.names)
    count = record.count()
    parts = [f"{count.images} images"]
    parts += [f"{count.done} done before"] * (count.done > 0)
    parts += [f"{count.changed} changed since"] * (count.changed > 0)
    parts += [f"{count.failed} failed before"] * (count.failed > 0)
    print(f"shard {record.shard} of {record.num_shards}: {', '.join(parts)}")
    labelled = label_images(
        predictor,
        images_only(record, predictor.classes),
        OutputFolder(outputs.root, overwrite=overwrite, notes=record),
        outputs,
        clock,
    )
    for number, result in enumerate(labelled, start=1):
        record.add_result(result)
        report(result, number, count.images - count.done)
        yield result


def images_only(record: ShardRecord, classes: Classes) -> Iterator[tuple[Path, str]]:
    """What is left to be labelled; maps are noted as failed, since they are no images."""
    for path, name in record.pending():
        if not is_raster(path):
            yield path, name
            continue
        problem = f"{path} is a map, and --shards takes images; label it in a run of its own"
        record.add_result(Result(path, (), np.zeros(len(classes)), 0.0, problem, name))
        print(f"segmenter: {visible(str(problem))}", file=sys.stderr)


def write_failed(records: Sequence[ShardRecord], folder: OutputFolder, name: str) -> int:
    """List the images that could not be labelled, a line of JSON for each; returns how many."""
    count = 0
    with folder.writing(name) as temporary, temporary.open("w", encoding="ascii") as file:
        for record in records:
            for path, problem in record.failed():
                file.write(json.dumps({"photo": str(path), "problem": problem}) + "\n")
                count += 1
    if count:
        print(f"failed: {count}, listed in {folder.root / name}")
    return count


def _with_shard(name: str, which: str) -> str:
    path = Path(name)
    return f"{path.stem}{which}{path.suffix}"
