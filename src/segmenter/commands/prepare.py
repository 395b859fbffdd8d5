"""Arguments of `segmenter prepare`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from segmenter.commands.values import DONE, PARTLY_DONE
from segmenter.data.published import SETS


def prepare(
    name: Annotated[str, Parameter(help=f"The data set: {', '.join(SETS)}.")],
    folder: Path,
    *,
    download: bool = False,
) -> int:
    """Bring a published data set into the layout that is read: unpack, convert, check.

    Args:
        name: The data set.
        folder: Where its archives lie, or are downloaded to, and are unpacked; nothing in it is
            replaced.
        download: Get missing archives from the net.
    """
    from segmenter.data.published.prepare_set import run_preparation

    is_whole = run_preparation(name, folder, may_download=download)
    return DONE if is_whole else PARTLY_DONE
