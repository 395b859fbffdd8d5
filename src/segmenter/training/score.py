"""How a run scores its model on the validation images, and draws what it makes of a few of them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from segmenter.data.folder import Item, read_sample
from segmenter.errors import UserError
from segmenter.evaluation.evaluate import ImageScore, evaluate, score_all
from segmenter.evaluation.metrics import ConfusionMatrix
from segmenter.evaluation.pictures import draw_pictures
from segmenter.inference.predictor import Predictor
from segmenter.model.segmenter import Segmenter
from segmenter.recipe import Recipe
from segmenter.training.log.tracking import Pictures
from segmenter.training.loop import Draw, Score
from segmenter.training.processes import SINGLE_PROCESS, Processes

_NUM_DRAWN = 4
_MAX_DRAWN_SIDE = 320  # of each image in a picture, in pixels


def build_score(
    items: tuple[Item, ...], recipe: Recipe, processes: Processes = SINGLE_PROCESS
) -> Score:
    """A function that scores a model on the validation images, by the recipe's own protocol.

    Each image is predicted by one of the processes; their confusion matrices are added.
    """
    share = items[processes.rank :: processes.count]
    num_rounds = len(items[:: processes.count])

    def score(model: Segmenter, after_each: Callable[[], None]) -> dict[str, Any]:
        predictor = _predictor(model, recipe)
        classes, num_done = model.spec.classes, 0

        def count(_: ImageScore) -> None:
            nonlocal num_done
            num_done += 1
            after_each()

        matrix, problem = ConfusionMatrix(len(classes), classes.ignore_index), None
        try:
            if share:
                matrix = evaluate(predictor, share, classes, on_image=count).matrix
        except UserError as error:
            problem = error
        for _ in range(num_rounds - num_done):
            after_each()  # the others ask after each of theirs

        processes.on_all_ranks(lambda: _raise(problem))
        matrix.counts = processes.sum_counts(matrix.counts)
        return score_all(matrix, classes, predictor.protocol).to_json()

    return score


def build_draw(items: tuple[Item, ...], recipe: Recipe) -> Draw:
    """A function that draws what a model makes of images spread evenly over the validation split.

    Each picture is the image, the truth, the prediction and the errors, side by side.
    """
    shown = items[:: max(len(items) // _NUM_DRAWN, 1)][:_NUM_DRAWN]

    def draw(model: Segmenter) -> Pictures:
        predictor, classes = _predictor(model, recipe), model.spec.classes
        pictures = {}
        for number, item in enumerate(shown, start=1):
            sample = read_sample(item, classes)
            views = draw_pictures(sample, predictor(sample.image), classes, _MAX_DRAWN_SIDE)
            name = re.sub(r"[^\w.-]", "_", Path(item.name).name, flags=re.ASCII)
            pictures[f"val/{number}-{name}"] = np.concatenate(list(views.values()), axis=1)
        return pictures

    return draw


def _predictor(model: Segmenter, recipe: Recipe) -> Predictor:
    """What labels images as the recipe says."""
    device = next(model.parameters()).device
    precision = "float32" if recipe.precision == "float16" else recipe.precision
    return Predictor(model, device=device, precision=precision)


def _raise(problem: UserError | None) -> None:
    if problem is not None:
        raise problem
