"""A model by what can be said of it before any runtime holds it, and its graph from the cache."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from segmenter.checkpoints import load, model_file
from segmenter.checkpoints.digests import Digests, digest_model
from segmenter.checkpoints.open import file_kind
from segmenter.errors import UserError
from segmenter.files.cache import MAX_CONTENT, Opened, cached
from segmenter.memory import at_most
from segmenter.model import ModelSpec, Segmenter
from segmenter.runtimes.exported import Exported, ExportFacts, read_exported
from segmenter.runtimes.graph import ModelOutput, to_onnx

_MAKERS = ("vit-segmenter", "torch", "onnx", "onnxscript")
"""The packages that make a graph of a model."""
_GRAPH_BYTES = 1 << 26
"""Bytes of a graph besides its weights, at most."""
_OPENING_BYTES, _OPENING_FACTOR = 4 << 30, 16
"""Memory limit of opening an exported file: a fixed part, and a multiple of its size."""


@dataclass(frozen=True)
class Source:
    """A model that no runtime holds yet; it is put into torch when it is asked for."""

    spec: ModelSpec
    digests: Callable[[], Digests]
    """Digests of what was read, whatever its file claims."""
    load: Callable[[], Segmenter]
    """Gives the model of those digests, and no other."""
    exported: Exported | None = None
    path: Path | None = None
    """Path of the exported file."""

    @property
    def facts(self) -> ExportFacts:
        """Return the facts that its graph must meet."""
        return self.exported.facts if self.exported is not None else ExportFacts(spec=self.spec)

    @property
    def output(self) -> ModelOutput:
        """Return what its graph gives; an exported one has been made for logits."""
        return "masks" if self.exported is None and self.spec.classifies_masks else "logits"

    @property
    def checked_facts(self) -> ExportFacts | None:
        """Return what a graph of logits is checked against; None for one of masks."""
        return self.facts if self.output == "logits" else None

    @contextmanager
    def named(self, device: torch.device) -> Iterator[None]:
        """Say which file is meant, in what is said of its graph, and bound what opening it takes.

        A graph of a few bytes may ask for any memory, before it sees an image.
        """
        if self.exported is None:
            yield
            return
        num_bytes = len(self.exported.graph) + len(self.exported.weights or b"")
        try:
            # CUDA reserves far more addresses than it takes.
            is_cpu = device.type == "cpu"
            with at_most(_OPENING_BYTES + _OPENING_FACTOR * num_bytes) if is_cpu else nullcontext():
                yield
        except UserError as error:
            raise UserError(f"{self.path}: {error}; export it again") from None

    def with_graph(self, use: Callable[[bytes], Opened]) -> Opened:
        """Return `use(graph)` for the model as ONNX, which the cache may already hold."""
        if self.exported is not None:
            return use(self.exported.graph)
        make = lambda: to_onnx(self.load(), self.output).SerializeToString()  # noqa: E731
        return cached(f"onnx {self.key()}", make, use, max_bytes=self.max_bytes())

    def key(self) -> str:
        """Return all that the graph depends on: what was read, and what makes a graph of it."""
        parts = [self.digests().content, graph_makers()]
        return json.dumps(
            parts if self.output == "logits" else [*parts, self.output], sort_keys=True
        )

    def max_bytes(self) -> int:
        """No graph of this model takes more, compiled or not."""
        return min(8 * self.digests().num_weights + _GRAPH_BYTES, MAX_CONTENT)


def graph_makers() -> dict[str, str]:
    """Return the versions of the packages that make a graph of a model."""
    return {name: _version(name) for name in _MAKERS}


def model_source(model: Segmenter | Path) -> Source:
    """Return a model by what can be said of it without reading its weights."""
    if isinstance(model, Segmenter):
        return Source(model.spec, lambda: digest_model(model), lambda: model)
    path = model
    kind = file_kind(path)
    if kind == "exported":
        exported = read_exported(path)
        if exported.facts.output != "logits":
            raise UserError(
                f"{path} was exported with --output labels; predictions need `segmenter export "
                "--output logits`"
            )
        return Source(exported.facts.spec, _no_digests, lambda: _no_torch(path), exported, path)
    if kind == "model":
        spec, digests = model_file.verify(path)
        return Source(spec, lambda: digests, lambda: model_file.read(path, content=digests.content))
    loaded = load(path)
    return Source(loaded.spec, lambda: digest_model(loaded), lambda: loaded)


def _no_digests() -> Digests:
    raise AssertionError("an exported graph is its own key")


def _no_torch(path: Path) -> Segmenter:
    raise UserError(f"{path} is exported: for its weights in torch, load the model it came from")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from its source
        return ""
