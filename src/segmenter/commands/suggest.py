"""`segmenter suggest`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from segmenter import options
from segmenter.commands.flags import Device, flat


def suggest(
    data: Path,
    /,
    *,
    model: str,
    most: Annotated[int, Parameter(validator=Number(gte=1))] = 20,
    device: Device = options.Device(),
    output: Annotated[options.SuggestOutput, flat("Output")] = options.SuggestOutput(),
) -> None:
    """Run `segmenter suggest`.

    Args:
        data: Folder of the data set, with its images in `images`; those with a mask are labelled.
        model: Model with weights whose doubts count, such as one that `fit` made of what is
            labelled so far.
        most: Images to suggest.
    """
    from segmenter.extras.suggesting.suggest import run_suggest

    run_suggest(data, model, most, device, output)
