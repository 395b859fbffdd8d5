"""`segmenter evaluate`."""

from segmenter import options
from segmenter.commands.flags import (
    Compute,
    ComputeFlags,
    Data,
    ExtraMetrics,
    Labelling,
    Model,
    Report,
    Views,
)


def evaluate(
    model: Model,
    data: str,
    *,
    which: Data = options.Data(),
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
    from segmenter.evaluation.evaluate_model import run_evaluation

    run_evaluation(
        model,
        data,
        which=which,
        views=views,
        labelling=labelling,
        metrics=metrics,
        compute=compute,
        report=report,
    )
