"""The common part of runtimes that compute a graph."""

import hashlib
from abc import abstractmethod
from functools import cached_property
from pathlib import Path

import torch
from numpy import ndarray
from torch import Tensor

from segmenter.errors import UserError
from segmenter.model import Segmenter
from segmenter.model.mask_scores import MaskScores, unpack
from segmenter.model.segmenter import normalize
from segmenter.options import Compute
from segmenter.runtimes.devices import is_out_of_memory
from segmenter.runtimes.exported import ExportFacts
from segmenter.runtimes.graph_fit import Run, last_line
from segmenter.runtimes.runtime import PatchLogits, Pixels, Runtime
from segmenter.runtimes.sources import Source, model_source
from segmenter.runtimes.table import RUNTIMES


class GraphRuntime(Runtime):
    """Computes the graph of a model, or of an exported file; see `Runtime` for the arguments.

    A runtime of this kind says its `version`, settles the precision, and compiles a graph.
    """

    def __init__(self, model: Segmenter | Path, compute: Compute, device: torch.device) -> None:
        self._given = model.absolute() if isinstance(model, Path) else model
        source = model_source(model)
        self.spec = source.spec
        self.device = device
        self._compute = compute
        self._source = source
        self._normalizes = source.facts.normalizes
        with source.named(device):
            self._run = self._open(source)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Open the model anew where this is unpickled: what was compiled stays in its process."""
        return type(self), (self._given, self._compute, self.device)

    @staticmethod
    @abstractmethod
    def compile(
        graph: bytes,
        weights: bytes | None,
        compute: Compute,
        device: torch.device,
        facts: ExportFacts | None = None,
    ) -> Run:
        """Make a graph ready to run.

        Args:
            graph: The content of an ONNX file, or of another that the runtime's row `opens`.
            weights: The content of the file beside it; None where it has none, as ONNX.
            compute: In a precision that `settle_precision` gave.
            device: Where to compute.
            facts: What the graph must be; None: it is not checked.

        Raises:
            UserError: If the graph cannot be run there, or is not what `facts` say.
        """

    def _open(self, source: Source) -> Run:
        """Compile the graph of a source, which is made, or comes from the cache."""
        weights = source.exported.weights if source.exported else None
        return source.with_graph(
            lambda graph: self.compile(
                graph, weights, self._compute, self.device, source.checked_facts
            )
        )

    @cached_property
    def model(self) -> Segmenter:
        """The model in torch, read anew: this runtime holds a graph."""
        return self._source.load()

    @property
    def has_model(self) -> bool:
        """True if `model` is available; an exported file holds no weights for torch."""
        return self._source.exported is None

    def digest(self) -> str:
        """Return the SHA-256 of weights and spec, or of an exported graph."""
        exported = self._source.exported
        if exported is None:
            return self._source.digests().content
        return hashlib.sha256(exported.graph + (exported.weights or b"")).hexdigest()

    @property
    def gives_masks(self) -> bool:
        """True if the graph returns masks; an exported one returns logits."""
        return self._source.output == "masks"

    def patch_logits(self, pixels: Pixels) -> PatchLogits:
        """Score every patch of images with pixels of 0 to 255."""
        if self.gives_masks:
            return self.mask_scores(pixels).log_scores()
        return torch.from_numpy(self._computed(pixels))

    def mask_scores(self, pixels: Pixels) -> MaskScores:
        """Return what the scores of images are summed from; see `gives_masks`."""
        mask_size, size = (
            self._grid(pixels, side)
            for side in (
                self.spec.decoder.masks_per_patch_side,
                self.spec.decoder.logits_per_patch_side,
            )
        )
        return unpack(torch.from_numpy(self._computed(pixels)), mask_size, size)

    def _grid(self, pixels: Pixels, cells: int) -> tuple[int, int]:
        """Return rows and columns of an output with so many of each in a patch."""
        rows, columns = map(self.spec.num_patches, pixels.shape[2:])
        return rows * cells, columns * cells

    def _computed(self, pixels: Pixels) -> ndarray:
        """Return the output of the graph, which has the size of these images."""
        given = self._input(pixels).numpy()
        size = "x".join(map(str, pixels.shape[2:]))
        is_exported = self._source.exported is not None
        try:
            found = self._run(given)
        except Exception as error:  # each runtime has its own errors
            if not is_exported or is_out_of_memory(error):
                raise
            # A graph that came in a file may fail where its trial run did not.
            raise UserError(
                f"{self._source.path}: the graph fails on an image of {size}: {last_line(error)}"
            ) from None
        if self._fits(found.shape, pixels):
            return found
        if is_exported:
            raise UserError(
                f"{self._source.path}: the graph gives {found.shape} for an image of {size}; "
                "export it again"
            )
        # OpenVINO repeats its last output where it finds no memory for this one; its size tells,
        # unless the image before had the same.
        raise MemoryError(f"{self.name} has no memory for an image of {size}")

    def _fits(self, shape: tuple[int, ...], pixels: Pixels) -> bool:
        """Return whether an output of this shape may be that of these images."""
        num_classes, decoder = len(self.spec.classes), self.spec.decoder
        if self.gives_masks:
            rows, columns = self._grid(pixels, decoder.masks_per_patch_side)
            return (shape[0], shape[2]) == (len(pixels), rows * columns + num_classes)
        grid = self._grid(pixels, decoder.logits_per_patch_side)
        return shape == (len(pixels), num_classes, *grid)

    def _input(self, pixels: Tensor) -> Tensor:
        """Return pixels as the graph takes them."""
        if self._normalizes:
            return pixels.float().cpu().contiguous()
        return normalize(pixels.float().cpu(), self.spec).contiguous()


def graph_runtimes(suffix: str) -> list[type[GraphRuntime]]:
    """Return the installed runtimes that open exported files of a suffix."""
    rows = (row for row in RUNTIMES.values() if suffix in row.opens and not row.missing())
    return [each for row in rows if issubclass(each := row.load(), GraphRuntime)]
