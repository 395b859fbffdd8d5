"""The formats that a model is exported in, a row each, known without torch.

A new one is a class with the interface of `extras/export/export_format.py` in a file of its own,
and a row here.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segmenter.options import Data, GraphOutput, Output

if TYPE_CHECKING:
    from segmenter.extras.export.export_format import ExportFormat


@dataclass(frozen=True, kw_only=True)
class FormatRow:
    """A format, as far as it is known before it is imported."""

    name: str
    home: str
    """Module and class that implement it, `module:Class`."""
    suffix: str = ""
    """Suffix of the file to write; empty: a folder."""
    is_whole_folder: bool = False
    """True: the folder holds nothing else, and is replaced as a whole."""
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
class ExportOptions(Data, Output):
    """Options of an export, and of the images on which graph and model are compared."""

    format: FormatName = "onnx"
    """Target of the files: ONNX runtimes, OpenVINO, NVIDIA's Triton server, or a browser (web), for
    which it becomes a page that any web server can deliver."""
    output: GraphOutput = "logits"
    """Output of the graph: the logits of all patches, as `predict` and `evaluate` need them, or a
    label a pixel."""
    normalize: bool = True
    """Let the graph take pixels of 0 to 255 as float32, and normalise them itself."""
    data: str | None = None
    """Also compare the mIoU of model and graph on this data set; see `evaluate`."""
    onnxruntime_web: Path | None = None
    """ONNX Runtime for browsers, as `npm pack onnxruntime-web@VERSION` wrote it; for web."""
