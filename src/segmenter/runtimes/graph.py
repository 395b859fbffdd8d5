"""From a model to an ONNX graph for any batch, height and width.

Every other runtime starts from this one graph. The conditions in the model that depend on a size
step aside while it is exported (`is_exporting` of the encoder): images are always padded and the
position table is always resized, by nothing if need be.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import jaxtyping
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from segmenter.errors import UserError
from segmenter.files.optional import install_lines, require
from segmenter.model.segmenter import Segmenter
from segmenter.options import GraphOutput

if TYPE_CHECKING:
    from onnx import ModelProto


ModelOutput = GraphOutput | Literal["features", "masks"]
"""Output of a graph: one that can be exported; features, which are for `segmenter fit`; or masks,
from which inference sums scores."""
_MAX_GRAPH_BYTES = (1 << 31) - 1
"""Largest size of a protobuf file, in bytes."""
INPUT = "pixels"
_OLDEST_TORCH = "2.11"
"""Oldest torch that exports a graph: that of 2.6 cannot resize a position table to a free size."""
_NOISY = r"(torch|onnxscript|copyreg)\b"


class _Graph(nn.Module):
    """The computation to export."""

    def __init__(self, model: Segmenter, output: ModelOutput, *, normalizes: bool) -> None:
        super().__init__()
        self.model = model
        self.output = output
        self.normalizes = normalizes

    def forward(
        self, pixels: Float[Tensor, "batch channels height width"]
    ) -> Shaped[Tensor, " *axes"]:
        """Patch logits, the labels of all pixels, or another `ModelOutput`."""
        images = self.model.normalize(pixels) if self.normalizes else pixels
        if self.output == "features":
            return self.model.feature_maps(images)
        if self.output == "masks":
            return self.model.mask_scores(images).packed()
        logits = self.model.patch_logits(images)
        if self.output == "logits":
            return logits
        return _labels(self.model.upsample(logits, (pixels.shape[2], pixels.shape[3])))


def _labels(
    logits: Float[Tensor, "batch classes height width"],
) -> Int[Tensor, "batch height width"]:
    """Return the class with the highest logit; of equals the first."""
    return logits.argmax(dim=1).to(torch.int32)


def to_onnx(
    model: Segmenter, output: ModelOutput = "logits", *, normalizes: bool = True
) -> "ModelProto":
    """Export a model as an ONNX graph; batch, height and width are free.

    Args:
        model: Its weights are copied.
        output: `logits`: (batch, classes, rows, columns), float32, one for each patch. `labels`:
            (batch, height, width), int32. `features`: (batch, dim, rows, columns), float32, what
            the decoder takes. `masks`: (batch, queries, numbers), float32, packed `MaskScores`.
        normalizes: Whether the graph takes pixel values of 0 to 255 and normalises them itself, or
            normalised images; both float32, (batch, channels, height, width).

    Raises:
        UserError: If onnx or onnxscript is not installed, torch is too old, or the model is larger
            than 2 GiB.
    """
    require("a graph", "onnx", "onnxscript", extra="export")
    if torch.__version__ < _OLDEST_TORCH:
        raise UserError(
            f"a graph needs torch {_OLDEST_TORCH}, and {torch.__version__} is installed; get it "
            f"with: {install_lines('export')}, or compute in torch: --runtime torch"
        )
    if 4 * sum(parameter.numel() for parameter in model.parameters()) > _MAX_GRAPH_BYTES - (
        1 << 24
    ):
        raise UserError(
            "the model is larger than 2 GiB, which one ONNX file cannot hold; use torch"
        )
    was_training = model.training
    graph = _Graph(model.eval(), output, normalizes=normalizes)
    patch = model.spec.encoder.patch_size
    # No side is the other's, a multiple of the patch, or that of the position table, and the batch
    # is not 1: the exporter takes what is equal in its example for equal always.
    height, width = 3 * patch + 5, 5 * patch + 3
    example = torch.zeros(2, model.spec.encoder.in_channels, height, width)
    example = example.to(next(model.parameters()).device)
    free = torch.export.Dim.DYNAMIC
    shapes = ({0: free, 2: free, 3: free},)
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(graph, (example,), dynamic_shapes=shapes, strict=False)
            exported = torch.onnx.export(
                program,
                (),
                dynamo=True,
                verbose=False,
                optimize=False,  # takes as long again, and each runtime does it itself
                input_names=[INPUT],
                output_names=[output],
            )
    finally:
        model.train(was_training)
    assert exported is not None
    return exported.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter deprecates in itself, and its notes, from the user.

    Types are not checked meanwhile, where tests check them: sizes are symbols, and to compare one
    with a number would fix it.
    """
    logger = logging.getLogger("torch.onnx")
    level, checks_nothing = logger.level, jaxtyping.config.jaxtyping_disable
    logger.setLevel(logging.ERROR)
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with warnings.catch_warnings():
            for category in (DeprecationWarning, FutureWarning):
                warnings.filterwarnings("ignore", category=category, module=_NOISY)
            yield
    finally:
        logger.setLevel(level)
        jaxtyping.config.update("jaxtyping_disable", checks_nothing)
