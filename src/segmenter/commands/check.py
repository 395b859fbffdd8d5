"""`segmenter check`."""

from segmenter import options
from segmenter.commands.flags import Device, Pairs, Report
from segmenter.errors import PARTLY_DONE


def check(
    data: str,
    *,
    model: str | None = None,
    doubts: bool = False,
    draft: bool = False,
    workers: int | None = None,
    pairs: Pairs = options.Pairs(),
    device: Device = options.Device(),
    report: Report = options.Report(),
) -> int | None:
    """Run `segmenter check`.

    Args:
        data: Folder of the data set, a list file, or NAME:PATH of a published one.
        model: Model whose predictions the labels are compared with, to list those that are
            probably wrong. Its classes must be those of the data. [default: labels are not
            compared]
        doubts: Also compare the labels without a model: those of each image with the predictions of
            a fit to other images.
        draft: Write the missing `classes.yaml`, from the values of the masks; no file is replaced.
        workers: Processes that read. [default: as many as there are CPUs]
    """
    from segmenter.extras.checking.check_data_set import (
        check_data_set,
        print_found,
    )

    found, page = check_data_set(
        *(data, workers, report),
        draft=draft,
        pairs=pairs,
        model=model,
        doubts=doubts,
        device=device,
    )
    print_found(found, page)
    return None if found.is_clean else PARTLY_DONE
