"""`segmenter evaluate`."""

from segmenter import options
from segmenter.commands.flags import (
    Compute,
    ComputeFlags,
    ExtraMetrics,
    Labelling,
    Report,
    ScoredData,
    ScoredModel,
    Views,
)


def evaluate(
    model: ScoredModel,
    data: str,
    *,
    which: ScoredData = options.ScoredData(),
    views: Views = options.Views(),
    labelling: Labelling = options.Labelling(),
    metrics: ExtraMetrics = options.ExtraMetrics(),
    compute: Compute = ComputeFlags(),
    report: Report = options.Report(),
) -> None:
    """Run `segmenter evaluate`.

    Args:
        data: Folder of the data set, a list file of `image mask` lines, or NAME:PATH of a published
            one (`segmenter prepare --help` names them).
    """
    from segmenter.evaluation.evaluate_model import evaluate_model
    from segmenter.evaluation.reports.score_tables import print_evaluation

    evaluation, page = evaluate_model(
        model,
        data,
        which=which,
        views=views,
        labelling=labelling,
        metrics=metrics,
        compute=compute,
        report=report,
    )
    print_evaluation(evaluation, page)
