"""`segmenter check`."""

from segmenter import options
from segmenter.commands.flags import Report
from segmenter.errors import PARTLY_DONE


def check(
    data: str, *, workers: int | None = None, report: Report = options.Report()
) -> int | None:
    """Run `segmenter check`.

    Args:
        data: Folder of the data set, a list file, or NAME:PATH of a published one.
        workers: Processes that read. [default: as many as there are CPUs]
    """
    from segmenter.extras.checking.check_data_set import run_check

    found = run_check(data, workers, report)
    return None if found.is_clean else PARTLY_DONE
