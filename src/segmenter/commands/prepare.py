"""Arguments of `segmenter prepare`."""

from pathlib import Path

from segmenter.commands.values import DONE, PARTLY_DONE


def prepare(name: str, folder: Path, *, download: bool = False) -> int:
    """Bring a published data set into the layout that is read: unpack, convert, check.

    Args:
        name: ade20k, cityscapes, pascal_context, pascal_context_59, pascal_voc or coco_stuff.
        folder: Where its archives lie, or are downloaded to, and are unpacked; nothing in it is
            replaced.
        download: Get missing archives from the net.
    """
    from segmenter.data.published.prepare_set import run_preparation

    is_whole = run_preparation(name, folder, may_download=download)
    return DONE if is_whole else PARTLY_DONE
