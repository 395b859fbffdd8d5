"""`segmenter export --format web`: a page that computes in the browser, as a folder of files."""

import json
import tempfile
from pathlib import Path

import torch

from segmenter.checkpoints import load
from segmenter.errors import UserError
from segmenter.extras.export.export_graph import checked_parity, compare_scores, need
from segmenter.extras.export.onnxruntime_web import RUNTIME_FILES, VERSION, read_onnxruntime_web
from segmenter.extras.export.web import (
    GRAPH_NAME,
    browser_facts,
    check_browser_model,
    rounded_to_half,
    store_halves,
    strip_notes,
)
from segmenter.extras.serving.page_files import browser_files
from segmenter.files.outputs import check_new, check_new_folder, write_new, write_new_folder
from segmenter.model import ModelSpec, Segmenter
from segmenter.runtimes.exported import ExportFacts, add_facts
from segmenter.runtimes.graph import Output, to_onnx
from segmenter.runtimes.parity import best_class_agreement
from segmenter.text import visible

_FACTS_NAME = "model.json"
_TERMS_NAME = "LICENSES.txt"
_MIN_AGREEMENT = 0.99
"""Of labels, between the weights as they are and rounded to 16 bits."""


def run_web_export(
    model: str,
    out: Path,
    *,
    output: Output,
    normalizes: bool,
    data: str | None,
    split: str | None,
    archive: Path | None,
    overwrite: bool,
) -> None:
    """Export, check, and only then give the folder its name; print the report.

    Args:
        model: A bundled name, or a model file.
        out: The folder.
        output: Must be logits: the page makes labels of them at the image's size.
        normalizes: Must be true: the page hands over pixels.
        data: Also compare mIoU on this data set.
        split: Of the data set.
        archive: ONNX Runtime for browsers, as `npm pack` wrote it.
        overwrite: Replace a folder of an earlier export.

    Raises:
        UserError: If the model or the runtime cannot be used, something is in the way, or the graph
            differs from the model; then nothing is left behind.
    """
    if output != "logits" or not normalizes:
        raise UserError("--format web takes neither --output labels nor --no-normalize")
    need("onnxruntime", "export")
    page = browser_files()
    report_path = out.parent / f"{out.name}.parity.json"
    names = (*page, GRAPH_NAME, _FACTS_NAME, _TERMS_NAME, *RUNTIME_FILES)
    check_new_folder(out, names, overwrite=overwrite)
    check_new(report_path, overwrite=overwrite)
    loaded = load(model)
    check_browser_model(loaded.spec)
    runtime = read_onnxruntime_web(archive)

    computed, agreement = _smallest(loaded)
    # What goes to everyone does not say where the model's data lay.
    spec = loaded.spec.model_copy(update={"recipe": None})
    facts = ExportFacts(spec=spec)
    graph = to_onnx(computed)
    store_halves(graph)
    strip_notes(graph)
    content = add_facts(graph, facts)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / GRAPH_NAME
        trial.write_bytes(content)
        found = checked_parity(model, computed, facts, trial)
        scores = compare_scores(loaded, trial, data, split) if data is not None else None
    name = Path(model).stem
    files = page | runtime | {GRAPH_NAME: content, _TERMS_NAME: _terms(name, spec).encode()}
    described = browser_facts(name, computed, files)
    files[_FACTS_NAME] = json.dumps(described, separators=(",", ":")).encode()
    write_new_folder(out, files, overwrite=overwrite)
    report = {
        "model": model,
        "format": "web",
        "onnxruntime_web": VERSION,
        "torch": torch.__version__,
        "parity": [parity.to_json() for parity in found],
        "label_agreement_of_16_bit_weights": agreement,
        "miou": scores,
    }
    write_new(report_path, json.dumps(report, indent=1).encode(), overwrite=overwrite)
    _print_sizes(files)
    for path in (out, report_path):
        print(f"written: {path}")


def _smallest(model: Segmenter) -> tuple[Segmenter, float]:
    """The model with weights of 16 bits if its labels stay the same, and how far they do."""
    rounded = rounded_to_half(model)
    agreement = best_class_agreement(model, rounded)
    keeps = agreement >= _MIN_AGREEMENT
    print(
        f"16-bit weights: {100 * agreement:.3f} % of labels the same: "
        + ("taken" if keeps else "not taken, weights stay float32 and the download twice as long")
    )
    return (rounded, agreement) if keeps else (model, agreement)


def _terms(name: str, spec: ModelSpec) -> str:
    terms = visible(spec.license or "terms of use not stated", keep="\n\t")
    return (
        f"The model {visible(name)}: {terms}\n"
        f"ONNX Runtime Web {VERSION} (onnxruntime-*): Copyright (c) Microsoft Corporation, MIT "
        "License.\n"
        "The page: Segmenter, Apache License 2.0.\n"
    )


def _print_sizes(files: dict[str, bytes]) -> None:
    """How much a visitor downloads; the runtime is fetched for one of the two alone."""
    shared = sum(len(files[name]) for name in files if name not in RUNTIME_FILES)
    for backend in ("wasm", "webgpu"):
        own = sum(len(files[name]) for name in RUNTIME_FILES if f"-{backend}." in name)
        print(f"download with {backend}: {(shared + own) / 1e6:.1f} MB")
