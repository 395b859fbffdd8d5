"""`segmenter export`: a graph for other runtimes, checked before it is handed over."""

import json
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch

from segmenter.checkpoints import load
from segmenter.data.published.open import open_data
from segmenter.errors import UserError
from segmenter.evaluation.evaluate import evaluate
from segmenter.evaluation.evaluate_model import data_classes, scored_items
from segmenter.extras.export.write import openvino_files, triton_config
from segmenter.files.outputs import write_new
from segmenter.inference.predictor import Predictor
from segmenter.model import Segmenter
from segmenter.runtimes.exported import ExportFacts, add_facts, read_exported
from segmenter.runtimes.graph import Output, to_onnx
from segmenter.runtimes.graph_runtime import graph_runtimes
from segmenter.runtimes.open import open_runtime
from segmenter.runtimes.parity import Parity, check_parity
from segmenter.text import percent

Format = Literal["onnx", "openvino", "triton"]
_SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "triton": ""}
_MAX_MIOU_LOSS = 0.001
"""Of a float32 graph: 0.1 points, which no rounding explains."""


def run_export(
    model: str,
    out: Path,
    *,
    format: Format,
    output: Output,
    normalizes: bool,
    data: str | None,
    split: str | None,
    overwrite: bool,
) -> None:
    """Export, check, and only then put the files where they belong; print the report.

    Raises:
        UserError: If the model cannot be exported, a file is in the way, or the graph differs from
            the model; then nothing is left behind.
    """
    if out.suffix != _SUFFIX[format] and format != "triton":
        raise UserError(f"{out}: --format {format} is a file named NAME{_SUFFIX[format]}")
    if format == "openvino":
        need("openvino", "fast")
    else:
        need("onnxruntime", "export")
    if data is not None and output == "labels":
        raise UserError("--data compares what `predict` takes: --output logits")
    if not out.absolute().parent.is_dir():
        raise UserError(f"{out} cannot be written: its folder is missing")
    report_path = out.parent / f"{out.name}.parity.json"  # NAME.onnx and NAME.xml may both be there
    targets = _targets(out, format)
    for path in (*targets, report_path):
        if not overwrite and os.path.lexists(path):
            raise UserError(f"{path} exists; give another name, or allow it with --overwrite")
    loaded = load(model)
    facts = ExportFacts(spec=loaded.spec, output=output, normalizes=normalizes)
    graph = add_facts(to_onnx(loaded, output, normalizes=normalizes), facts)
    contents = {
        "onnx": lambda: (graph,),
        "openvino": lambda: openvino_files(graph, facts),
        "triton": lambda: (triton_config(out.name, facts).encode(), graph),
    }[format]()
    with tempfile.TemporaryDirectory() as folder:
        trials = [Path(folder) / f"trial{path.suffix}" for path in targets]
        for trial, content in zip(trials, contents, strict=True):
            trial.write_bytes(content)
        exported = next(trial for trial in trials if trial.suffix in {".onnx", ".xml"})
        found = checked_parity(model, loaded, facts, exported)
        scores = compare_scores(loaded, exported, data, split) if data is not None else None
    for path, content in zip(targets, contents, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_new(path, content, overwrite=overwrite)
    report = {
        "model": model,
        "format": format,
        "output": output,
        "normalizes": normalizes,
        "torch": torch.__version__,
        "parity": [parity.to_json() for parity in found],
        "miou": scores,
    }
    write_new(report_path, json.dumps(report, indent=1).encode(), overwrite=overwrite)
    for path in (*targets, report_path):
        print(f"written: {path}")


def _targets(out: Path, format: Format) -> tuple[Path, ...]:
    """The files of a format, in the order in which they are written."""
    if format == "openvino":
        return out.with_suffix(".bin"), out
    if format == "triton":
        return out / "config.pbtxt", out / "1" / "model.onnx"
    return (out,)


def checked_parity(name: str, model: Segmenter, facts: ExportFacts, path: Path) -> list[Parity]:
    """Compare an exported file with its model, in all runtimes that can open it here.

    Raises:
        UserError: If they differ.
    """
    graph, weights = read_exported(path)[1:]
    cpu = torch.device("cpu")
    found = [
        check_parity(model, facts, each.compile(graph, weights, "float32", cpu), each.name)
        for each in graph_runtimes(path.suffix)
    ]
    for parity in found:
        _print(parity)
    if not all(parity.passed for parity in found):
        raise UserError(f"{name}: the graph differs from the model, see above; not written")
    return found


def compare_scores(
    model: Segmenter, exported: Path, data: str, split: str | None
) -> dict[str, Any]:
    """MIoU of the model and of its graph, on the same images.

    Raises:
        UserError: If the graph's is lower.
    """
    folder = open_data(data, data_classes(data, None, model.spec))
    name, items = scored_items(folder, split, model.spec)
    mious = []
    for runtime in (
        open_runtime(model, "torch", "float32"),
        open_runtime(exported, "auto", "float32"),
    ):
        miou = evaluate(Predictor(runtime), items, folder.classes).scores.miou
        print(f"mIoU on {data}, {name}: {percent(miou)} in {runtime.name}")
        mious.append(miou)
    torch_miou, graph_miou = mious
    if torch_miou is not None and torch_miou - graph_miou > _MAX_MIOU_LOSS:
        raise UserError(
            f"mIoU falls from {percent(torch_miou)} to {percent(graph_miou)}; not written"
        )
    return {"data": data, "split": name, "torch": torch_miou, "exported": graph_miou}


def _print(parity: Parity) -> None:
    difference = parity.largest_difference
    print(
        f"{parity.runtime}: {len(parity.cases)} shapes"
        + ("" if difference is None else f", largest difference {difference:.1e}")
        + f", {100 * parity.label_agreement:.3f} % of labels the same: "
        + ("passed" if parity.passed else "FAILED")
    )


def need(module: str, extra: str) -> None:
    """Refuse to begin without a library, which an extra installs."""
    if find_spec(module) is None:
        raise UserError(
            f"{module} is not installed; `pip install 'vit-segmenter[{extra}]'` and export again"
        )
