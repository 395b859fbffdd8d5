"""`segmenter serve`."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from segmenter import options
from segmenter.commands.flags import Model, ServedLabels, SharedCompute, Sizes, flat


def serve(
    model: Model = "street",
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=1, lte=65535))] = 8000,
    max_requests: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 16,
    sizes: Sizes = options.Sizes(),
    labels: ServedLabels = options.ServedLabels(),
    compute: Annotated[SharedCompute, flat("Computation")] = SharedCompute(),
) -> None:
    """Run `segmenter serve`.

    Args:
        host: Address to listen on; the default is reached from this machine alone.
        port: Port to listen on.
        max_requests: Requests that wait or run at a time; the next one is refused with status 429.
    """
    from segmenter.extras.serving.start_service import run_service

    run_service(
        model,
        host,
        port,
        max_requests=max_requests,
        compute=compute,
        labels=labels,
        sizes=sizes,
    )
