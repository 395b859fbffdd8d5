"""`segmenter label`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from segmenter.commands.flags import BandFlags, Bands, SharedCompute, flat


def label(
    folder: Path,
    *,
    start: Annotated[str | None, Parameter(name="--from")] = None,
    model: str | None = None,
    order: Path | None = None,
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65535))] = 8000,
    data: Bands = BandFlags(),
    compute: Annotated[SharedCompute, flat("Computation")] = SharedCompute(),
) -> None:
    """Run `segmenter label`.

    Args:
        folder: Folder of the data set, with its images in `images`, with or without masks.
        start: Encoder or model whose features the proposals are fitted to, as for `fit`.
            [default: dinov2-small]
        model: Model whose predictions are proposed instead, to be accepted or corrected.
        order: File that `suggest --json` wrote; its images come first, in its order.
        port: Port to listen on; the page is reached from this machine alone.
    """
    from segmenter.extras.labelling.start_labelling import Proposals, run_labelling

    proposals = Proposals(start=start, model=model)
    run_labelling(folder, port, proposals, bands=data.bands, order=order, compute=compute)
