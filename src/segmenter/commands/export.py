"""`segmenter export`."""

from pathlib import Path
from typing import Annotated

from segmenter.commands.flags import Model, flat
from segmenter.extras.export.formats import ExportOptions


def export(
    model: Model,
    out: Path,
    *,
    options: Annotated[ExportOptions, flat("Options")] = ExportOptions(),
) -> None:
    """Run `segmenter export`.

    Args:
        out: The file to write, `NAME.onnx` or `NAME.xml` (its weights go to `NAME.bin`); for triton
            a folder, named as the model is to be served; for web a new folder.
    """
    from segmenter.extras.export.export_model import export_model

    export_model(model, out, options)
