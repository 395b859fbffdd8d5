"""Arguments of `segmenter explain`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from segmenter.commands.values import DONE


def explain(
    image: Path,
    *,
    model: str = "street",
    out: Path = Path("explanation"),
    patch: str | None = None,
    class_name: Annotated[str | None, Parameter(name="--class")] = None,
    device: str = "cpu",
    overwrite: bool = False,
) -> int:
    """Show what a model looks at in an image: the attention of every block and head, as one page.

    Args:
        image: An image.
        model: A bundled name, or a model file.
        out: Folder for the page and its pictures.
        patch: Where to look from, as ROW,COLUMN of patches from 0; without it, the middle.
        class_name: A class to look from instead: its token in a mask decoder, and its surest patch.
        device: Where to compute.
        overwrite: Replace files in the folder that an earlier run did not write.
    """
    from segmenter.extras.explaining.explain_image import run_explanation

    page = run_explanation(
        image,
        model,
        out,
        patch=patch,
        class_name=class_name,
        device=device,
        overwrite=overwrite,
    )
    print(page)
    return DONE
