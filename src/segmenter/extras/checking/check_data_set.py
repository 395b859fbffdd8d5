"""`segmenter check`: read a data set once, and say all that is wrong with it."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
from rich.table import Table

from segmenter.checkpoints.license import terms_note
from segmenter.classes import Classes
from segmenter.data.decoding.set_bands import range_lines
from segmenter.data.folder import LabelledFolder
from segmenter.data.masks.missing_classes import ask_for_classes, write_draft
from segmenter.data.masks.problems import Severity
from segmenter.data.published.open_data import open_data, split_name
from segmenter.errors import UserError
from segmenter.evaluation.evaluate_model import warn_of_training_images
from segmenter.extras.checking.check_page import write_page
from segmenter.extras.checking.data_check import Check, check
from segmenter.extras.checking.data_problems import Splits, independent_splits
from segmenter.extras.checking.doubt_pictures import NUM_SHOWN, describe_region, draw_doubts
from segmenter.extras.checking.doubtful_labels import (
    Doubts,
    check_model_classes,
    find_doubts,
    num_steps,
    with_masks,
)
from segmenter.extras.checking.findings import one_line
from segmenter.extras.checking.label_reference import (
    LabelReference,
    ModelReference,
    fit_reference,
)
from segmenter.files.outputs import write_json
from segmenter.inference.predictor import Predictor
from segmenter.options import DEFAULT_START, Compute, Device, Pairs, Report
from segmenter.pages import open_report
from segmenter.runtimes.devices import usable_device
from segmenter.runtimes.open_runtime import open_runtime
from segmenter.terminal import escape, progress_bar, show, timed_progress
from segmenter.text import visible

_NO_PATTERNS = Pairs()
_AUTO_DEVICE = Device()
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


def check_data_set(
    given: str,
    workers: int | None,
    output: Report,
    *,
    draft: bool = False,
    pairs: Pairs = _NO_PATTERNS,
    model: str | None = None,
    doubts: bool = False,
    device: Device = _AUTO_DEVICE,
) -> tuple[Check, Path | None]:
    """Read a data set once, and write what was asked for.

    Args:
        given: The data set, as the user wrote it.
        workers: Processes that read; if None, as many as there are CPUs.
        output: JSON and page to write.
        draft: Write a `classes.yaml` from the masks first; there must be none.
        pairs: Which image and which mask belong together.
        model: That labels are compared with, if any.
        doubts: Compare labels without a model too: with fits to the other images.
        device: Where it is computed.

    Returns:
        What was found, and the page of the report.

    Raises:
        UserError: If no data set is found, or an output cannot be written.
    """
    if workers is not None and not 0 <= workers <= 256:
        raise UserError(f"--workers is from 0 (this process alone) to 256, got {workers}")
    report = open_report(output)
    data = _open_to_check(given, pairs, draft=draft)
    reference = None if model is None else _open_reference(model, data, given, device.device)
    torch_device = usable_device(device.device) if doubts and reference is None else None
    total = len({item for items in data.splits.values() for item in items})
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress_bar("reading", total, *columns) as advance:
        found = check(data, given, workers, on_item=advance)
    cards = None
    data = replace(data, classes=found.classes)
    try:
        splits, _ = independent_splits(data)
        usable = {name: [item for item in splits[name] if item in found.usable] for name in splits}
        if torch_device is not None:
            items = list(with_masks(usable))
            reference = fit_reference(items, data.classes, given, DEFAULT_START, torch_device, show)
        if reference is not None:
            compared = _find_doubts(reference, data.classes, usable, given)
            num_skipped = compared.num_skipped + len(with_masks(splits)) - len(with_masks(usable))
            compared = replace(compared, num_skipped=num_skipped)
            found = replace(found, doubts=compared)
            cards = draw_doubts(compared, reference) if report else None
    except UserError as error:  # the findings are there, and must not be lost
        show(f"warning: the search for doubtful labels ended: {error}")
    if output.json:
        write_json(output.json, found.to_json(), overwrite=output.overwrite)
    return found, write_page(found, data, report, cards) if report else None


def _open_to_check(given: str, pairs: Pairs, *, draft: bool) -> LabelledFolder:
    """Open a data set with its problems, after its `classes.yaml` is drafted or asked for."""
    is_published = split_name(given) is not None
    if draft and is_published:
        raise UserError(f"{given} has classes already; omit --draft")
    if draft:
        print(write_draft(Path(given), pairs))
    elif not is_published:
        ask_for_classes(Path(given), pairs)
    data = open_data(given, keep_problems=True, pairs=pairs)
    if data.pairing_note:
        print(visible(data.pairing_note))
    return data


def print_found(found: Check, page: Path | None) -> None:
    """Print the findings, the doubtful labels, and where the page of the report is."""
    print_check(found)
    if found.doubts:
        print_doubts(found.doubts)
    if page:
        print(f"report: {page}")


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
    for line in range_lines(found.classes.image) if found.classes.image else ():
        console.print(escape(line), highlight=False, soft_wrap=True)
    for finding in found.findings:
        style = _STYLES[finding.severity]
        console.print(
            f"[{style}]{finding.severity}[/] {escape(one_line(finding))}",
            highlight=False,
            soft_wrap=True,
        )
        console.print(f"  -> {escape(finding.advice)}", highlight=False, soft_wrap=True)
    for line in (*found.size_lines, found.preset.line):
        console.print(escape(line), highlight=False, soft_wrap=True)
    console.print(found.verdict, highlight=False)


def print_doubts(doubts: Doubts) -> None:
    """Show the first doubtful images and regions, and how many more there are."""
    console = Console()
    console.print(escape(doubts.summary), highlight=False, soft_wrap=True)
    for image in doubts.images[:NUM_SHOWN]:
        line = f"  {image.item.name} ({image.split}): {image.reason}"
        console.print(escape(line), highlight=False, soft_wrap=True)
    for place, doubt in enumerate(doubts.regions[:NUM_SHOWN], start=1):
        where = f"{doubt.item.name} ({doubt.split})"
        line = f"{place:4}. {where}: {describe_region(doubt, doubts.classes)}"
        console.print(escape(line), highlight=False, soft_wrap=True)


def _open_predictor(model: str, device: str) -> Predictor:
    """Open the model that labels are compared with; print the terms of its licence."""
    predictor = Predictor(open_runtime(model, Compute(device=device)))
    if note := terms_note(model, predictor.spec.license):
        print(note)
    return predictor


def _open_reference(model: str, data: LabelledFolder, given: str, device: str) -> ModelReference:
    """Open the model that labels are compared with."""
    reference = ModelReference(_open_predictor(model, device), model)
    check_model_classes(reference.predictor, data.classes, model, given)
    warn_of_training_images(model, [item for items in data.splits.values() for item in items])
    return reference


def _find_doubts(reference: LabelReference, classes: Classes, splits: Splits, given: str) -> Doubts:
    """Compare usable masks with a reference; find the folder that `segmenter label` would open."""
    from segmenter.extras.labelling.label_folder import find_image_folder

    with timed_progress("comparing labels", num_steps(len(with_masks(splits)))) as advance:
        found = find_doubts(reference, splits, classes, advance)
    try:
        folder = find_image_folder(Path(given)) if Path(given).is_dir() else None
    except UserError:
        folder = None
    return replace(found, image_folder=folder)
