"""`segmenter compare`: two models on the same images."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from segmenter.data.published.open_data import open_data
from segmenter.errors import UserError
from segmenter.evaluation.bootstrap import MEANS
from segmenter.evaluation.comparison import Comparison, difference
from segmenter.evaluation.evaluate import evaluate
from segmenter.evaluation.evaluate_model import (
    data_classes,
    how_computed,
    open_model,
    scored_items,
)
from segmenter.evaluation.reports.comparison_page import write_comparison
from segmenter.evaluation.reports.score_tables import print_lines
from segmenter.files.outputs import write_json
from segmenter.inference.metric_decoding import Decode
from segmenter.inference.predictor import Predictor
from segmenter.inference.protocols import find_protocol
from segmenter.pages import open_report
from segmenter.terminal import escape, progress_bar
from segmenter.text import percent, span

_NUM_NAMED = 5
"""Images that are named in the terminal."""


def run_comparison(
    a: str,
    b: str,
    data: str,
    *,
    split: str | None,
    json_file: Path | None,
    report_folder: Path | None,
    classes_file: Path | None,
    protocol: str | None,
    decode: tuple[Decode, Decode],
    merge_tokens: tuple[float, float] | None = None,
    device: str,
    runtime: str | None,
    precision: str,
    overwrite: bool,
) -> Comparison:
    """Score two models on one split, print how they differ, write what was asked for.

    Raises:
        UserError: If models, data, protocol, device or outputs do not allow it.
    """
    report = open_report(report_folder, json_file, overwrite=overwrite)
    one, two = (
        open_model(model, runtime, precision, device, threshold)
        for model, threshold in zip((a, b), merge_tokens or (None, None), strict=True)
    )
    folder = open_data(data, data_classes(data, classes_file, one.spec))
    classes = folder.classes.with_image_bits(one.spec.classes.image_bits)
    name, items = scored_items(folder, split, one.spec)
    if scored_items(folder, split, two.spec)[1] != items:
        raise UserError(
            f"{a} and {b} held out different images for val; compare them on images that neither "
            "was trained on: name another split, or give a list of images as data"
        )
    predictors = (
        Predictor(one, protocol=find_protocol(protocol, one.spec), decode=decode[0]),
        Predictor(two, protocol=find_protocol(protocol, two.spec), decode=decode[1]),
    )
    with progress_bar("comparing", 2 * len(items)) as advance:
        comparison = Comparison(
            *(
                evaluate(predictor, items, classes, on_image=lambda _: advance())
                for predictor in predictors
            )
        )
    context = {
        "a": a,
        "b": b,
        "data": data,
        "split": name,
        "how_a": how_computed(predictors[0]),
        "how_b": how_computed(predictors[1]),
    }
    if json_file:
        write_json(json_file, comparison.to_json(context), overwrite=overwrite)
    print_comparison(comparison)
    if report:
        path = write_comparison(comparison, predictors, items, classes, report, context)
        print(f"report: {path}")
    return comparison


def print_comparison(comparison: Comparison) -> None:
    """Show the differences of each class and over all."""
    found = comparison.intervals
    table = Table("", "A", "B", "B less A", "interval", title="in per cent; classes: IoU")
    for name, (one, two) in comparison.means.items():
        interval = span(found.means[name], sign="+") if found else "-"
        shown = (percent(one), percent(two), percent(difference(one, two), sign="+"), interval)
        table.add_row(MEANS[name], *shown)
    table.add_section()
    pairs = zip(comparison.a.scores.classes, comparison.b.scores.classes, strict=True)
    for index, (one, two) in enumerate(pairs):
        interval = span(found.ious[index], sign="+") if found else "-"
        change = percent(difference(one.iou, two.iou), sign="+")
        table.add_row(escape(one.name), percent(one.iou), percent(two.iou), change, interval)
    Console().print(table)
    wins = comparison.wins
    largest = [
        f"{image.name} {percent(image.difference, sign='+')}"
        for image in comparison.images[:_NUM_NAMED]
        if image.difference
    ]
    print_lines(
        comparison.verdict,
        f"images: B better on {wins['wins']}, the same on {wins['ties']}, worse on "
        f"{wins['losses']}",
        largest and f"they differ most on {', '.join(largest)}",
    )
