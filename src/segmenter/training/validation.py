"""Evaluation of a model during training, on the validation images."""

import re
from collections.abc import Callable, Sequence
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
from segmenter.training.processes import SINGLE_PROCESS, Processes

_NUM_DRAWN = 4
_MAX_DRAWN_SIDE = 320  # of each image in a picture, in pixels


class Validation:
    """Evaluate a model during training, and draw its predictions for a few images.

    Args:
        items: The validation images and masks.
        recipe: The run; the model's own protocol says how images are predicted.
        processes: Each predicts a share of the images; their confusion matrices are added.
    """

    def __init__(
        self, items: Sequence[Item], recipe: Recipe, processes: Processes = SINGLE_PROCESS
    ) -> None:
        self._items, self._processes = items, processes
        self._precision = "float32" if recipe.precision == "float16" else recipe.precision

    @property
    def num_rounds(self) -> int:
        """Images that each process evaluates, or waits for."""
        return len(self._items[:: self._processes.count])

    def evaluate(self, model: Segmenter, after_each: Callable[[], None]) -> dict[str, Any]:
        """Return the scores of a model, as JSON with `miou` in 0 to 1.

        Args:
            model: The model, full on every process.
            after_each: Called after each image, equally often on all processes; it may raise
                `Interrupted` to break off.

        Raises:
            UserError: If an image or mask cannot be read.
        """
        processes = self._processes
        share = self._items[processes.rank :: processes.count]
        predictor, classes, num_done = self._predictor(model), model.spec.classes, 0

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
        for _ in range(self.num_rounds - num_done):
            after_each()  # keeps the collective calls in step: others may have one image more

        processes.on_all_ranks(lambda: _raise(problem))
        matrix.counts = processes.sum_counts(matrix.counts)
        return score_all(matrix, classes, predictor.protocol).to_json()

    def draw(self, model: Segmenter) -> Pictures:
        """Draw images spread evenly over the split, always the same ones.

        Each picture is the image, the truth, the prediction and the errors, side by side.
        """
        predictor, classes = self._predictor(model), model.spec.classes
        shown = self._items[:: max(len(self._items) // _NUM_DRAWN, 1)][:_NUM_DRAWN]
        pictures = {}
        for number, item in enumerate(shown, start=1):
            sample = read_sample(item, classes)
            views = draw_pictures(sample, predictor(sample.image), classes, _MAX_DRAWN_SIDE)
            name = re.sub(r"[^\w.-]", "_", Path(item.name).name, flags=re.ASCII)
            pictures[f"val/{number}-{name}"] = np.concatenate(list(views.values()), axis=1)
        return pictures

    def _predictor(self, model: Segmenter) -> Predictor:
        return Predictor(model, device=model.mean.device, precision=self._precision)


def _raise(problem: UserError | None) -> None:
    if problem is not None:
        raise problem
