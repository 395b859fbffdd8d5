"""`segmenter explain`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from segmenter import options
from segmenter.commands.flags import Device, DrawnOutput, Model


def explain(
    image: Path,
    *,
    model: Model = "street",
    out: Path = Path("explanation"),
    patch: str | None = None,
    class_name: Annotated[str | None, Parameter(name="--class")] = None,
    device: Device = options.Device(),
    output: DrawnOutput = options.DrawnOutput(),
) -> None:
    """Run `segmenter explain`.

    Args:
        image: An image.
        out: Folder to write to.
        patch: Patch whose attention is shown, as ROW,COLUMN counted from 0. [default: the middle]
        class_name: Class whose attention is shown: of its token in a mask decoder, and of its most
            probable patch.
    """
    from segmenter.extras.explaining.explain_image import run_explanation

    page = run_explanation(
        image,
        model,
        out,
        patch=patch,
        class_name=class_name,
        device=device,
        output=output,
    )
    print(page)
