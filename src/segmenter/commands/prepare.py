"""`segmenter prepare`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from segmenter.data.published import SETS
from segmenter.errors import PARTLY_DONE


def prepare(
    name: Annotated[str, Parameter(help=f"The data set: {', '.join(SETS)}.")],
    folder: Path,
    *,
    download: bool = False,
) -> int | None:
    """Run `segmenter prepare`.

    Args:
        folder: Where its archives lie, or are downloaded to, and are unpacked; nothing in it is
            replaced.
        download: Download missing archives.
    """
    from segmenter.data.published.prepare_set import run_preparation

    is_whole = run_preparation(name, folder, may_download=download)
    return None if is_whole else PARTLY_DONE
