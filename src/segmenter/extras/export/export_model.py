"""Exporting a model: the files of a format, checked against torch before they are handed over."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from segmenter.checkpoints import load
from segmenter.checkpoints.license import terms_note
from segmenter.errors import UserError
from segmenter.evaluation.evaluate import evaluate
from segmenter.evaluation.evaluate_model import open_scored, scored_items
from segmenter.extras.export.export_format import Export, ExportFormat
from segmenter.extras.export.formats import FORMATS, ExportOptions, FormatRow
from segmenter.files.optional import require
from segmenter.files.outputs import check_new_folder, write_json, write_new, write_new_folder
from segmenter.inference.predictor import Predictor
from segmenter.model import Segmenter
from segmenter.options import Compute, Data
from segmenter.runtimes.exported import ExportFacts, read_exported
from segmenter.runtimes.graph_runtime import graph_runtimes
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.runtimes.parity import Parity, check_parity
from segmenter.text import percent

Log = Callable[[str], object]
"""Shows one line."""

_EXACT = Compute(device="cpu", precision="float32")
_MAX_MIOU_LOSS = 0.001
"""Loss of mIoU above which a float32 graph is refused: 0.1 points, more than rounding explains."""


@dataclass(frozen=True)
class Exported:
    """The files of an exported model, and how it was compared with the model."""

    files: tuple[Path, ...]
    """The files that were written, or the folder of a page."""
    report: Path
    """JSON of the comparison."""
    parity: tuple[Parity, ...]
    """Agreement of the graph with the model, in each runtime."""
    miou: dict[str, Any] | None
    """mIoU of model and graph, from 0 to 1, if a data set was given."""


def export_model(model: str, out: Path, options: ExportOptions, log: Log = print) -> Exported:
    """Export, check, and only then move the files to their places.

    Args:
        model: A bundled name, or a model file.
        out: The file or folder to write.
        options: The format, and how the graph is made.
        log: Shows a line of the report.

    Raises:
        UserError: If the model cannot be exported, a file is in the way, or the graph differs from
            the model; then nothing is left behind.
    """
    row = FORMATS[options.format]
    if out.suffix != row.suffix and row.suffix:
        raise UserError(f"{out}: --format {row.name} is a file named NAME{row.suffix}")
    format = row.load()
    format.check(options)
    if options.data is not None and options.output == "labels":
        raise UserError("--data compares what `predict` takes: --output logits")
    require(f"--format {row.name}", row.needs, extra=row.extra)
    report_path = out.parent / f"{out.name}.parity.json"  # NAME.onnx and NAME.xml may both be there
    _check_free(row, format, out, report_path, overwrite=options.overwrite)
    loaded = load(model)
    export = format.build(loaded, model, out, options)
    # A runtime may still have the trial mapped, and Windows removes no such file.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        trial = _write_trial(export, Path(folder))
        found = check_export(model, export.computed, export.facts, trial, log)
        scores = None
        if options.data is not None:
            scores = compare_scores(loaded, trial, options.data, options, log)
    report = {
        "model": model,
        "format": options.format,
        "output": options.output,
        "normalizes": options.normalize,
        "license": export.facts.spec.license,
        "torch": torch.__version__,
        "parity": [parity.to_json() for parity in found],
        **export.notes,
        "miou": scores,
    }
    written = _write(row, export, out, overwrite=options.overwrite)
    write_json(report_path, report, overwrite=options.overwrite)
    if note := terms_note(model, export.facts.spec.license):
        print(note)
    for remark in export.remarks:
        log(remark)
    for path in (*written, report_path):
        log(f"written: {path}")
    return Exported(tuple(written), report_path, tuple(found), scores)


def _check_free(
    row: FormatRow, format: ExportFormat, out: Path, report: Path, *, overwrite: bool
) -> None:
    """Refuse, before any work is done, to write over what is not an export."""
    if not out.absolute().parent.is_dir():
        raise UserError(f"{out} cannot be written: its folder is missing")
    targets = format.targets(out)
    for folder in {path.parent for path in targets}:
        if os.path.lexists(folder) and not folder.is_dir():
            raise UserError(f"{folder} is not a folder; give another name")
    if row.is_whole_folder:
        check_new_folder(out, [path.name for path in targets], overwrite=overwrite)
        targets = ()
    for path in (*targets, report):
        if not overwrite and os.path.lexists(path):
            raise UserError(f"{path} exists; give another name, or allow it with --overwrite")


def _write_trial(export: Export, folder: Path) -> Path:
    """Write the graph, and its weights if they are beside it, aside; return the graph's path."""
    for path, content in export.contents.items():
        if path.with_suffix("") == export.graph.with_suffix(""):
            (folder / path.name).write_bytes(content)
    return folder / export.graph.name


def _write(row: FormatRow, export: Export, out: Path, *, overwrite: bool) -> list[Path]:
    """Write the files; return what to name to the user."""
    if row.is_whole_folder:
        contents = {path.name: content for path, content in export.contents.items()}
        write_new_folder(out, contents, overwrite=overwrite)
        return [out]
    for path, content in export.contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_new(path, content, overwrite=overwrite)
    return [*export.contents]


def check_export(
    name: str, model: Segmenter, facts: ExportFacts, path: Path, log: Log
) -> list[Parity]:
    """Compare an exported file with its model, in all runtimes that can open it here.

    Raises:
        UserError: If they differ.
    """
    graph, weights = read_exported(path)[1:]
    cpu = torch.device("cpu")
    found = [
        check_parity(model, facts, each.compile(graph, weights, _EXACT, cpu), each.name)
        for each in graph_runtimes(path.suffix)
    ]
    for parity in found:
        log(_describe(parity))
    failed = "; ".join(_describe(parity) for parity in found if not parity.passed)
    if failed:
        raise UserError(f"{name}: the graph differs from the model ({failed}); not written")
    return found


def compare_scores(
    model: Segmenter, exported: Path, data: str, which: Data, log: Log
) -> dict[str, Any]:
    """MIoU of the model and of its graph, on the same images.

    Raises:
        UserError: If the graph's is lower.
    """
    folder = open_scored(data, which, model.spec)
    name, items = scored_items(folder, which.split, model.spec)
    mious = []
    for runtime in (
        open_runtime(model, replace(_EXACT, runtime="torch")),
        open_runtime(exported, _EXACT),
    ):
        miou = evaluate(Predictor(runtime), items, folder.classes).scores.miou
        log(f"mIoU on {data}, {name}: {percent(miou)} in {runtime.name}")
        mious.append(miou)
    torch_miou, graph_miou = mious
    if torch_miou is not None and torch_miou - graph_miou > _MAX_MIOU_LOSS:
        raise UserError(
            f"mIoU falls from {percent(torch_miou)} to {percent(graph_miou)}; not written"
        )
    return {"data": data, "split": name, "torch": torch_miou, "exported": graph_miou}


def _describe(parity: Parity) -> str:
    difference = parity.largest_difference
    return (
        f"{parity.runtime}: {len(parity.cases)} shapes"
        + ("" if difference is None else f", largest difference {difference:.1e}")
        + f", {100 * parity.label_agreement:.3f} % of labels the same: "
        + ("passed" if parity.passed else "FAILED")
    )
