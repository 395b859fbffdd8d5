"""The formats that are a graph and little else: ONNX, OpenVINO and Triton."""

from collections.abc import Sequence
from pathlib import Path

from segmenter.extras.export.export_format import Export, ExportFormat
from segmenter.extras.export.formats import ExportOptions
from segmenter.extras.export.write import openvino_files, triton_config
from segmenter.model import Segmenter
from segmenter.runtimes.exported import ExportFacts, add_facts
from segmenter.runtimes.graph import to_onnx


class OnnxFile(ExportFormat):
    """One file, for any ONNX runtime."""

    def targets(self, out: Path) -> Sequence[Path]:
        """Return the file itself."""
        return [out]

    def build(self, model: Segmenter, name: str, out: Path, options: ExportOptions) -> Export:  # noqa: ARG002
        """Make the graph."""
        graph, facts = _graph(model, options)
        return Export({out: graph}, out, model, facts)


class OpenVinoFiles(ExportFormat):
    """`NAME.xml`, and its weights in `NAME.bin`."""

    def targets(self, out: Path) -> Sequence[Path]:
        """Return both files, the weights first."""
        return [out.with_suffix(".bin"), out]

    def build(self, model: Segmenter, name: str, out: Path, options: ExportOptions) -> Export:  # noqa: ARG002
        """Make both of them from the ONNX graph."""
        graph, facts = _graph(model, options)
        contents = zip(self.targets(out), openvino_files(graph, facts), strict=True)
        return Export(dict(contents), out, model, facts)


class TritonFolder(ExportFormat):
    """A model's folder in the repository of NVIDIA's Triton server."""

    def targets(self, out: Path) -> Sequence[Path]:
        """Return the configuration, and the graph as version 1."""
        return [out / "config.pbtxt", out / "1" / "model.onnx"]

    def build(self, model: Segmenter, name: str, out: Path, options: ExportOptions) -> Export:  # noqa: ARG002
        """Make the graph, and say how it is served."""
        graph, facts = _graph(model, options)
        config, file = self.targets(out)
        contents = {config: triton_config(out.name, facts).encode(), file: graph}
        return Export(contents, file, model, facts)


def _graph(model: Segmenter, options: ExportOptions) -> tuple[bytes, ExportFacts]:
    """Return the ONNX file of a model, and what it says of itself."""
    facts = ExportFacts(spec=model.spec, output=options.output, normalizes=options.normalize)
    return add_facts(to_onnx(model, options.output, normalizes=options.normalize), facts), facts
