"""`segmenter.export`."""

from pathlib import Path
from typing import Unpack

from segmenter.api.inputs import check_outputs
from segmenter.api.keywords import EXPORT, ExportKeywords
from segmenter.api.option_values import as_texts, make_options, shows_options
from segmenter.extras.export.export_model import Exported, export_model


@shows_options(*EXPORT)
def export(model: str | Path, out: str | Path, **options: Unpack[ExportKeywords]) -> Exported:
    """Write a model as a graph for other runtimes, as `segmenter export` does.

    The graph is compared with the model in every runtime that is installed and opens it.

    Args:
        model: A bundled name such as `street`, a model file, or `hf:owner/name`.
        out: The file or folder to write, as the format says.
        options: See below.

    Returns:
        `files`, the comparison in `report` (a JSON file) and in `parity`, and `miou`.

    Raises:
        UserError: If the model cannot be exported, a file is in the way, or the graph differs from
            the model; then nothing is left behind.

    Example:
        segmenter.export("street", "street.onnx").files
    """
    model, out = as_texts("export", model=model, out=out)
    (chosen,) = make_options("export", options, *EXPORT)
    check_outputs({"model": model, "out": Path(out), "options": chosen})
    return export_model(model, Path(out), chosen, log=lambda _: None)
