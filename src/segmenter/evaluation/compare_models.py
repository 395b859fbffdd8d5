"""`segmenter compare`: two models on the same images."""

from dataclasses import replace
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from segmenter.data.published.open_data import open_data
from segmenter.errors import UserError
from segmenter.evaluation.bootstrap import MEANS
from segmenter.evaluation.comparison import Comparison, difference
from segmenter.evaluation.evaluate import evaluate
from segmenter.evaluation.evaluate_model import (
    chosen_protocol,
    data_classes,
    how_computed,
    open_model,
    scored_items,
)
from segmenter.evaluation.reports.comparison_page import write_comparison
from segmenter.evaluation.reports.score_tables import print_lines
from segmenter.files.outputs import write_json
from segmenter.inference.predictor import Predictor
from segmenter.options import Compute, Data, LabelRule, Report, Views
from segmenter.pages import open_report
from segmenter.terminal import escape, progress_bar
from segmenter.text import percent, span

_NUM_NAMED = 5
"""Images that are named in the terminal."""


class Side(NamedTuple):
    """One of the two models."""

    model: str
    label_rule: LabelRule
    threshold: float | None
    """The cosine above which its tokens are merged; None: none are."""


def run_comparison(
    a: Side,
    b: Side,
    data: str,
    *,
    which: Data,
    views: Views,
    compute: Compute,
    report: Report,
) -> Comparison:
    """Evaluate two models on one split, print how they differ, write what was asked for.

    Raises:
        UserError: If models, data, protocol, device or outputs do not allow it.
    """
    page = open_report(report)
    one, two = (
        open_model(side.model, replace(compute, merge_threshold=side.threshold)) for side in (a, b)
    )
    folder = open_data(data, data_classes(data, which.classes, one.spec))
    classes = folder.classes.with_image_bits(one.spec.classes.image_bits)
    name, items = scored_items(folder, which.split, one.spec)
    if scored_items(folder, which.split, two.spec)[1] != items:
        raise UserError(
            f"{a.model} and {b.model} held out different images for val; compare them on images "
            "that neither was trained on: name another split, or give a list of images as data"
        )
    predictors = (
        Predictor(one, protocol=chosen_protocol(views, one.spec), label_rule=a.label_rule),
        Predictor(two, protocol=chosen_protocol(views, two.spec), label_rule=b.label_rule),
    )
    with progress_bar("comparing", 2 * len(items)) as advance:
        comparison = Comparison(
            *(
                evaluate(predictor, items, classes, on_image=lambda _: advance())
                for predictor in predictors
            )
        )
    context = {
        "a": a.model,
        "b": b.model,
        "data": data,
        "split": name,
        "how_a": how_computed(predictors[0]),
        "how_b": how_computed(predictors[1]),
    }
    if report.json:
        write_json(report.json, comparison.to_json(context), overwrite=report.overwrite)
    print_comparison(comparison)
    if page:
        path = write_comparison(comparison, predictors, items, classes, page, context)
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
