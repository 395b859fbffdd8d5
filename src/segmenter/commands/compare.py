"""`segmenter compare`."""

from typing import Annotated

from cyclopts import Parameter

from segmenter import options
from segmenter.commands.flags import Report, ScoredData, ScoredModel, SharedCompute, Views, flat
from segmenter.options import LabelRule


def compare(
    a: ScoredModel,
    b: ScoredModel,
    data: str,
    *,
    label_rules: Annotated[
        tuple[LabelRule, LabelRule], Parameter(name="--label-rule", negative=())
    ] = (
        "argmax",
        "argmax",
    ),
    merge_thresholds: Annotated[
        tuple[float, float] | None, Parameter(name="--merge-threshold", negative=())
    ] = None,
    thresholds: Annotated[
        tuple[float, float] | None, Parameter(name="--threshold", negative=())
    ] = None,
    which: ScoredData = options.ScoredData(),
    views: Views = options.Views(),
    compute: Annotated[SharedCompute, flat("Computation")] = SharedCompute(),
    report: Report = options.Report(),
) -> None:
    """Run `segmenter compare`.

    Args:
        data: Folder of the data set, a list file of `image mask` lines, or NAME:PATH of a published
            one (`segmenter prepare --help` names them).
        label_rules: Labels that A and B give, each as for `evaluate`, such as `argmax iou`.
        merge_thresholds: Merge thresholds of A and B, each as for `evaluate`; `1 0.8` shows what
            merging costs, as at 1 nothing is merged.
        thresholds: Thresholds of A and B, for models of one class, such as `0.5 0.3`.
    """
    from segmenter.evaluation.compare_models import Side, run_comparison

    a_merge, b_merge = merge_thresholds or (None, None)
    a_threshold, b_threshold = thresholds or (None, None)
    run_comparison(
        Side(a, label_rules[0], a_merge, a_threshold),
        Side(b, label_rules[1], b_merge, b_threshold),
        data,
        which=which,
        views=views,
        compute=compute,
        report=report,
    )
