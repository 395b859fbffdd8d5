"""Arguments of `segmenter check`."""

from pathlib import Path

from segmenter.commands.values import DONE, PARTLY_DONE


def check(
    data: str,
    *,
    report: Path | None = None,
    json: Path | None = None,
    workers: int | None = None,
    overwrite: bool = False,
) -> int:
    """Read a data set once and say what is wrong with it; exit status 3 if anything is.

    Args:
        data: Folder of the data set, a list file, or NAME:PATH of a published one.
        report: Folder for a page with thumbnails and charts.
        json: File for everything that was found.
        workers: Processes that read; without it, as many as there are processors.
        overwrite: Replace files that are there.
    """
    from segmenter.extras.checking.check_data_set import run_check

    found = run_check(
        data, report_folder=report, json_file=json, workers=workers, overwrite=overwrite
    )
    return DONE if found.is_clean else PARTLY_DONE
