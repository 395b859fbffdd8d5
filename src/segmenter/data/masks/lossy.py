"""Masks in files whose compression changes values: scores on them are not those of the labels."""

from collections.abc import Iterable
from pathlib import Path

from segmenter.data.decoding.decode import read_header
from segmenter.data.decoding.image_formats import LOSSY_FORMATS
from segmenter.errors import UserError


def lossy_warning(masks: Iterable[Path | None]) -> str | None:
    """Return a warning if some masks are JPEG or AVIF files; None if none is.

    Args:
        masks: Masks of any images. Their headers tell their formats, not their suffixes.
    """
    paths = [path for path in masks if path is not None]
    lossy = [path for path in paths if _is_lossy(path)]
    if not lossy:
        return None
    return (
        f"warning: {len(lossy)} of {len(paths)} masks are JPEG or AVIF files, such as {lossy[0]}: "
        "their compression may have changed labels, and the score with them; export them as PNG"
    )


def _is_lossy(path: Path) -> bool:
    try:
        return read_header(path).format in LOSSY_FORMATS
    except UserError:  # the reading that follows says what is wrong
        return False
