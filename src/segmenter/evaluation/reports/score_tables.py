"""Scores as tables in the terminal."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from segmenter.evaluation.bootstrap import LEVEL
from segmenter.evaluation.evaluate import Evaluation
from segmenter.evaluation.extra_metrics import Statistics
from segmenter.evaluation.metrics import Scores
from segmenter.evaluation.object_sizes import SIZES
from segmenter.options import DEFAULT_THRESHOLD
from segmenter.terminal import escape
from segmenter.text import percent, span, visible


def print_evaluation(evaluation: Evaluation, page: Path | None) -> None:
    """Show all scores, and where the page of the report lies."""
    print_scores(evaluation)
    if evaluation.statistics:
        print_statistics(evaluation.statistics)
    if page:
        print(f"report: {page}")


def print_scores(evaluation: Evaluation) -> None:
    """Show the scores of each class and over all."""
    scores = evaluation.scores
    intervals = evaluation.intervals
    columns = ("class", "IoU", *(("interval",) if intervals else ()), "Dice", "precision", "recall")
    table = Table(*columns, title="per class, in per cent")
    for index, row in enumerate(scores.classes):
        interval = (span(intervals.ious[index]),) if intervals else ()
        others = map(percent, (row.dice, row.precision, row.recall))
        table.add_row(escape(row.name), percent(row.iou), *interval, *others)
    Console().print(table)
    kappa = "-" if scores.kappa is None else f"{scores.kappa:.4f}"
    print_lines(
        f"mIoU {percent(scores.miou)}  mean accuracy {percent(scores.mean_accuracy)}  "
        f"pixel accuracy {percent(scores.pixel_accuracy)}  kappa {kappa}",
        intervals
        and f"{100 * LEVEL:g} % intervals over images: mIoU {span(intervals.means['miou'])}  "
        f"mean accuracy {span(intervals.means['mean_accuracy'])}  "
        f"pixel accuracy {span(intervals.means['pixel_accuracy'])}",
        scores.background and f"mIoU and mean accuracy are without {scores.background}",
        scores.absent and f"neither in truth nor predicted, {_absent(scores)}",
        scores.predicted_only
        and f"predicted but not in truth, counted as 0: {', '.join(scores.predicted_only)}",
    )


def _absent(scores: Scores) -> str:
    """Return what absent classes count, and their names."""
    iou = scores.absent_iou
    counted = "left out" if iou is None else f"counted as an IoU of {percent(iou)} %"
    return f"{counted}: {', '.join(scores.absent)}"


def print_statistics(statistics: Statistics) -> None:
    """Show what `--statistics` counted."""
    found = statistics.to_json()
    boundary, sizes = found["boundary"], found["object_size"]
    table = Table("class", "boundary IoU", *SIZES, title="boundaries and objects, in per cent")
    for name in statistics.classes.names:
        of_sizes = (percent(sizes[size]["iou"][name]) for size in SIZES)
        table.add_row(escape(name), percent(boundary["iou"][name]), *of_sizes)
    table.add_section()
    table.add_row(
        "mean", percent(boundary["mean_iou"]), *(percent(sizes[size]["miou"]) for size in SIZES)
    )
    Console().print(table)
    if statistics.has_probabilities:
        _print_confidence(statistics, found["calibration"], found["risk_coverage"])


def _print_confidence(
    statistics: Statistics, calibration: dict[str, Any], risk: dict[str, Any]
) -> None:
    ece = f"calibration error {percent(calibration['ece'])} % ({calibration['num_bins']} bins)"
    if "temperature" in calibration:
        ece += (
            f", {percent(calibration['ece_tempered'])} % at the temperature "
            f"{calibration['temperature']:.3f} fitted on {calibration['fitted_on']}"
        )
    risks = ", ".join(
        f"{percent(value)} at {100 * float(coverage):g} %"
        for coverage, value in risk["risk"].items()
    )
    print_lines(
        ece,
        f"wrong pixels by coverage, in per cent: {risks}",
        f"area below (AURC) {percent(risk['aurc'])} %, at best {percent(risk['lowest_aurc'])} %",
        _best_threshold(statistics),
    )


def _best_threshold(statistics: Statistics) -> str:
    """Say at which threshold the IoU is highest; empty where there is none."""
    curve = statistics.threshold_curve
    best = curve and curve.best()
    if not curve or not best:
        return ""
    default = next(each for each in curve.scores() if each.threshold == DEFAULT_THRESHOLD)
    return (
        f"best IoU at threshold {best.threshold:.2f} on this split: {percent(best.iou)}, at "
        f"{DEFAULT_THRESHOLD:.2f} {percent(default.iou)}; choose it on images that are not scored"
    )


def print_lines(*lines: object) -> None:
    """Print each that is not empty, as it is."""
    for line in lines:
        if line:
            Console().print(visible(str(line)), highlight=False, markup=False)
