"""`segmenter fit`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from segmenter import options
from segmenter.commands.flags import Device, FitData, FitDataFlags, flat


def fit(
    data: str,
    /,
    *,
    out: Path,
    start: Annotated[str, Parameter(name="--from")] = options.DEFAULT_START,
    which: FitData = FitDataFlags(),
    fit: Annotated[options.FitOptions, flat("Fit")] = options.FitOptions(),
    device: Device = options.Device(),
    output: Annotated[options.FitOutput, flat("Output")] = options.FitOutput(),
) -> None:
    """Run `segmenter fit`.

    Args:
        data: Folder of the data set, a list file of `image mask` lines, or NAME:PATH of a published
            one. Images without a mask are skipped; ignored pixels count as unlabelled.
        out: The model to write, by convention `NAME.safetensors`.
        start: Encoder or model to start from: a bundled name, an encoder's file, `timm:NAME`, or a
            model; its encoder is kept.
    """
    from segmenter.api.run_fit import print_fit, run_fit

    print_fit(run_fit(data, out, start, which, fit, device, output))
