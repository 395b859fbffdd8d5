"""Arguments of `segmenter export`."""

from pathlib import Path
from typing import Literal

from segmenter.commands.values import DONE
from segmenter.extras.export.formats import ExportOptions, FormatName


def export(
    model: str,
    out: Path,
    *,
    format: FormatName = "onnx",
    output: Literal["logits", "labels"] = "logits",
    normalize: bool = True,
    data: str | None = None,
    split: str | None = None,
    onnxruntime_web: Path | None = None,
    overwrite: bool = False,
) -> int:
    """Write a model as a graph for other runtimes, any batch and size, and check it against torch.

    Args:
        model: A bundled name, or a model file.
        out: The file to write, `NAME.onnx` or `NAME.xml` (its weights go to `NAME.bin`); for triton
            a folder, named as the model is to be served; for web a new folder.
        format: Who reads it: any ONNX runtime, OpenVINO, NVIDIA's Triton server, or a browser, for
            which it becomes a page that any web server can give out.
        output: Scores of all patches, what `predict` and `evaluate` need; or a label a pixel.
        normalize: The graph takes pixels of 0 to 255, as float32, and normalises them itself;
            with --no-normalize it takes normalised images.
        data: Also compare mIoU on this data set; see `evaluate`.
        split: Of the data set.
        onnxruntime_web: What `npm pack onnxruntime-web@VERSION` wrote; for web.
        overwrite: Replace files that are there.
    """
    from segmenter.extras.export.export_model import export_model

    options = ExportOptions(
        format=format,
        output=output,
        normalize=normalize,
        data=data,
        split=split,
        onnxruntime_web=onnxruntime_web,
        overwrite=overwrite,
    )
    export_model(model, out, options)
    return DONE
