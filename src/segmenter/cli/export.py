"""Arguments of `segmenter export`."""

from pathlib import Path
from typing import Literal

from segmenter.cli.values import DONE


def export(
    model: str,
    out: Path,
    *,
    format: Literal["onnx", "openvino", "triton"] = "onnx",
    output: Literal["logits", "labels"] = "logits",
    normalize: bool = True,
    data: str | None = None,
    split: str | None = None,
    overwrite: bool = False,
) -> int:
    """Write a model as a graph for other runtimes, any batch and size, and check it against torch.

    Args:
        model: A bundled name, or a model file.
        out: The file to write, `NAME.onnx` or `NAME.xml` (its weights go to `NAME.bin`); for triton
            a folder, named as the model is to be served.
        format: Who reads it: any ONNX runtime, OpenVINO, or NVIDIA's Triton server.
        output: Scores of all patches, what `predict` and `evaluate` need; or a label a pixel.
        normalize: The graph takes pixels of 0 to 255, as float32, and normalises them itself;
            with --no-normalize it takes normalised images.
        data: Also compare mIoU on this data set; see `evaluate`.
        split: Of the data set.
        overwrite: Replace files that are there.
    """
    from segmenter.commands.export import run_export

    run_export(
        model,
        out,
        format=format,
        output=output,
        normalizes=normalize,
        data=data,
        split=split,
        overwrite=overwrite,
    )
    return DONE
