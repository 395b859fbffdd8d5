"""`segmenter.fit`."""

from pathlib import Path
from typing import Unpack

from segmenter.api.inputs import check_outputs
from segmenter.api.keywords import FIT, FitKeywords
from segmenter.api.option_values import as_texts, make_options, shows_options
from segmenter.api.run_fit import FittedModel, run_fit
from segmenter.options import DEFAULT_START


@shows_options(*FIT)
def fit(
    data: str | Path,
    out: str | Path,
    *,
    start: str | Path = DEFAULT_START,
    **options: Unpack[FitKeywords],
) -> FittedModel:
    """Fit a decoder on a frozen encoder to a few masks, whole or partial, in seconds.

    Args:
        data: Folder of the data set, a list file, or NAME:PATH of a published one. Images without a
            mask are skipped; ignored pixels count as unlabelled.
        out: The model to write, by convention `NAME.safetensors`.
        start: Encoder or model to start from: a bundled name, an encoder's file, `timm:NAME`, or a
            model; its encoder is kept.
        options: See below.

    Returns:
        `path` of the model; `estimate`, the scores on images left out of the fit, and `miou`, their
        mean IoU; `needs`, the class that needs labels most.

    Raises:
        UserError: If the data, the start, the device or an output cannot be used.

    Example:
        fitted = segmenter.fit("fields", "fields.safetensors")
        segmenter.Predictor(fitted.path).segment("photo.jpg")
    """
    data, out, start = as_texts("fit", data=data, out=out, start=start)
    which, fitting, device, output = make_options("fit", options, *FIT)
    check_outputs({"data": data, "start": start, "which": which, "out": Path(out)})
    check_outputs({"data": data, "start": start, "which": which, "output": output})
    return run_fit(data, Path(out), start, which, fitting, device, output)
