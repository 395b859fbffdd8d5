"""The format `web`: a page that computes in the browser, as a folder of files."""

import json
from collections.abc import Sequence
from pathlib import Path

from segmenter.errors import UserError
from segmenter.extras.export.export_format import Export, ExportFormat
from segmenter.extras.export.formats import ExportOptions
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
from segmenter.model import ModelSpec, Segmenter
from segmenter.runtimes.exported import ExportFacts, add_facts
from segmenter.runtimes.graph import to_onnx
from segmenter.runtimes.parity import best_class_agreement
from segmenter.text import visible

_FACTS_NAME = "model.json"
_TERMS_NAME = "LICENSES.txt"
_MIN_AGREEMENT = 0.99
"""Share of labels that must stay the same when weights are rounded to 16 bits."""


class WebPage(ExportFormat):
    """A folder that any web server can give out: the page, the graph, and ONNX Runtime."""

    def check(self, options: ExportOptions) -> None:
        """Refuse what the page does not do: it hands over pixels, and makes labels of logits."""
        if options.output != "logits" or not options.normalize:
            raise UserError(
                "--format web supports neither --output labels nor --no-normalize; omit them"
            )

    def targets(self, out: Path) -> Sequence[Path]:
        """Return the files of the page, of the model and of the runtime."""
        names = (*browser_files(), GRAPH_NAME, _FACTS_NAME, _TERMS_NAME, *RUNTIME_FILES)
        return [out / name for name in names]

    def build(self, model: Segmenter, name: str, out: Path, options: ExportOptions) -> Export:
        """Make the graph with weights of 16 bits, if the labels stay the same."""
        check_browser_model(model.spec)
        runtime = read_onnxruntime_web(options.onnxruntime_web)
        computed, agreement, remark = _smallest(model)
        # What goes to everyone does not say where the model's data lay.
        spec = model.spec.model_copy(update={"recipe": None})
        facts = ExportFacts(spec=spec)
        graph = to_onnx(computed)
        store_halves(graph)
        strip_notes(graph)
        stem = Path(name).stem
        files = browser_files() | runtime
        files |= {GRAPH_NAME: add_facts(graph, facts), _TERMS_NAME: _terms(stem, spec).encode()}
        described = browser_facts(stem, computed, files)
        files[_FACTS_NAME] = json.dumps(described, separators=(",", ":")).encode()
        notes = {"onnxruntime_web": VERSION, "label_agreement_of_16_bit_weights": agreement}
        contents = {out / file: content for file, content in files.items()}
        return Export(contents, out / GRAPH_NAME, computed, facts, notes, [remark, *_sizes(files)])


def _smallest(model: Segmenter) -> tuple[Segmenter, float, str]:
    """Return the model, of 16 bits if its labels stay the same, how far they do, and a remark."""
    rounded = rounded_to_half(model)
    agreement = best_class_agreement(model, rounded)
    keeps = agreement >= _MIN_AGREEMENT
    remark = f"16-bit weights: {100 * agreement:.3f} % of labels the same: " + (
        "taken" if keeps else "not taken, weights stay float32 and the download twice as long"
    )
    return (rounded if keeps else model), agreement, remark


def _terms(name: str, spec: ModelSpec) -> str:
    terms = visible(spec.license or "terms of use not stated", keep="\n\t")
    return (
        f"The model {visible(name)}: {terms}\n"
        f"ONNX Runtime Web {VERSION} (onnxruntime-*): Copyright (c) Microsoft Corporation, MIT "
        "License.\n"
        "The page: Segmenter, Apache License 2.0.\n"
        "The sample images (sample-*.jpg): mvtb-data 1.6.1, Peter Corke, MIT License.\n"
    )


def _is_always_loaded(name: str) -> bool:
    """Return whether each visitor downloads a file; samples are for those who ask for them."""
    return name not in RUNTIME_FILES and not name.endswith(".jpg")


def _sizes(files: dict[str, bytes]) -> list[str]:
    """Say how much a visitor downloads; the runtime is fetched for one of the two alone."""
    shared = sum(len(files[name]) for name in files if _is_always_loaded(name))
    lines = []
    for backend in ("wasm", "webgpu"):
        own = sum(len(files[name]) for name in RUNTIME_FILES if f"-{backend}." in name)
        lines.append(f"download with {backend}: {(shared + own) / 1e6:.1f} MB")
    return lines
