"""`segmenter.evaluate`."""

from pathlib import Path
from typing import Unpack

from segmenter.api.inputs import check_outputs
from segmenter.api.keywords import EVALUATE, EvaluateKeywords
from segmenter.api.option_values import as_texts, make_options, shows_options
from segmenter.evaluation.evaluate import Evaluation
from segmenter.evaluation.evaluate_model import evaluate_model


@shows_options(*EVALUATE)
def evaluate(
    model: str | Path, data: str | Path, **options: Unpack[EvaluateKeywords]
) -> Evaluation:
    """Evaluate a model on labelled images, as `segmenter evaluate` does.

    Args:
        model: A bundled name such as `street`, a model file, `hf:owner/name`, or, where no weights
            are needed, an exported file; or a folder of saved label maps.
        data: Folder of the data set, a list file of `image mask` lines, or NAME:PATH of a published
            one.
        options: See below.

    Returns:
        Scores from 0 to 1: `miou`, `per_class` by name, `confusion` (a row for each true class),
        `intervals`, `images`, and `statistics` if asked for.

    Raises:
        UserError: If the model, the data, an option or an output cannot be used.

    Example:
        evaluation = segmenter.evaluate("street", "data/camvid", split="val")
        evaluation.miou, evaluation.per_class["road"].iou
    """
    model, data = as_texts("evaluate", model=model, data=data)
    which, views, labelling, metrics, compute, report = make_options("evaluate", options, *EVALUATE)
    check_outputs({"model": model, "data": data, "which": which, "report": report})
    evaluation, _ = evaluate_model(
        model,
        data,
        which=which,
        views=views,
        labelling=labelling,
        metrics=metrics,
        compute=compute,
        report=report,
    )
    return evaluation
