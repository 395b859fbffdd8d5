"""The formats that a model is exported in, a row each, known without torch.

A new one is a class with the interface of `extras/export/export_format.py` in a file of its own,
and a row here.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from segmenter.extras.export.export_format import ExportFormat


@dataclass(frozen=True, kw_only=True)
class FormatRow:
    """A format, as far as it is known before it is imported."""

    name: str
    home: str
    """Module and class that implement it, `module:Class`."""
    suffix: str = ""
    """Of the file to write; none: a folder."""
    is_whole_folder: bool = False
    """Whether the folder holds nothing else, and is replaced as a whole."""
    needs: str
    """The runtime's module, in which the graph is compared with the model."""
    extra: str
    """The extra that installs it."""

    def load(self) -> "ExportFormat":
        """Import what implements it."""
        module, _, name = self.home.partition(":")
        return getattr(import_module(module), name)()


_GRAPHS = "segmenter.extras.export.graph_files"
FORMATS = {
    row.name: row
    for row in (
        FormatRow(
            name="onnx",
            home=f"{_GRAPHS}:OnnxFile",
            suffix=".onnx",
            needs="onnxruntime",
            extra="export",
        ),
        FormatRow(
            name="openvino",
            home=f"{_GRAPHS}:OpenVinoFiles",
            suffix=".xml",
            needs="openvino",
            extra="fast",
        ),
        FormatRow(
            name="triton", home=f"{_GRAPHS}:TritonFolder", needs="onnxruntime", extra="export"
        ),
        FormatRow(
            name="web",
            home="segmenter.extras.export.web_page:WebPage",
            is_whole_folder=True,
            needs="onnxruntime",
            extra="export",
        ),
    )
}
"""Each by its name."""

if TYPE_CHECKING:
    FormatName = str
else:  # what the command line offers
    FormatName = Literal[tuple(FORMATS)]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How a model is exported."""

    format: FormatName = "onnx"
    output: Literal["logits", "labels"] = "logits"
    """Scores of all patches, or a label a pixel."""
    normalize: bool = True
    """Whether the graph takes pixels of 0 to 255, or normalised images."""
    data: str | None = None
    """A data set to compare the mIoU of model and graph on."""
    split: str | None = None
    """Of the data set."""
    onnxruntime_web: Path | None = None
    """ONNX Runtime for browsers, as `npm pack` wrote it."""
    overwrite: bool = False
    """Replace what an earlier export wrote."""
