"""`segmenter check`: read a data set once, and say all that is wrong with it."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
from rich.table import Table

from segmenter.data.masks.missing_classes import ask_for_classes
from segmenter.data.masks.problems import Severity
from segmenter.data.published.open_data import open_data, split_name
from segmenter.errors import UserError
from segmenter.extras.checking.check import Check, check
from segmenter.extras.checking.check_page import write_page
from segmenter.extras.checking.findings import one_line
from segmenter.files.outputs import write_json
from segmenter.options import Report
from segmenter.pages import open_report
from segmenter.terminal import escape, progress_bar

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


def run_check(given: str, workers: int | None, output: Report) -> Check:
    """Read a data set once, print what is wrong, and write what was asked for.

    Raises:
        UserError: If there is no data set, or an output cannot be written.
    """
    if workers is not None and not 0 <= workers <= 256:
        raise UserError(f"--workers is from 0 (this process alone) to 256, got {workers}")
    report = open_report(output)
    if split_name(given) is None:
        ask_for_classes(Path(given))
    data = open_data(given, keep_problems=True)
    total = len({item for items in data.splits.values() for item in items})
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress_bar("reading", total, *columns) as advance:
        found = check(data, given, workers, on_item=advance)
    print_check(found)
    if output.json:
        write_json(output.json, found.to_json(), overwrite=output.overwrite)
    if report:
        print(f"report: {write_page(found, data, report)}")
    return found


def print_check(found: Check) -> None:
    """Show each split in a row, and each finding in a line or two."""
    console = Console()
    table = Table("split", "images", "usable", "sizes (height x width)", "labelled")
    for split in found.splits:
        labelled = int(split.pixel_counts.sum())
        pixels = labelled + split.num_ignored
        sizes = ", ".join(f"{height} x {width}" for (height, width), _ in split.sizes[:2])
        if len(split.sizes) > 2:
            sizes += f" and {len(split.sizes) - 2} more"
        share = f"{100 * labelled / pixels:.1f} %" if pixels else "-"
        table.add_row(
            escape(split.name), str(split.num_images), str(split.num_usable), sizes, share
        )
    console.print(table)
    for finding in found.findings:
        style = _STYLES[finding.severity]
        console.print(
            f"[{style}]{finding.severity}[/] {escape(one_line(finding))}",
            highlight=False,
            soft_wrap=True,
        )
        console.print(f"  -> {escape(finding.advice)}", highlight=False, soft_wrap=True)
    crops = " or ".join(
        f"{side} (patch size {patch})" for patch, side in found.suggestions.crop_sizes.items()
    )
    if crops:
        console.print(f"suggested augment.crop_size: {crops}", highlight=False)
    console.print(found.verdict, highlight=False)
