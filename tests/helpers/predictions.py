"""A predictor that reads its labels off an image."""

import numpy as np

from segmenter.classes import Classes
from segmenter.inference import Predictor
from segmenter.model import EvaluationProtocol
from tests.helpers.models import make_classes

LabelPair = tuple[np.ndarray, np.ndarray]
"""True and predicted labels of one image."""


class ReadsImage(Predictor):
    """Takes the red channel of an image for its labels."""

    image_bits = None

    def __init__(self, classes: Classes) -> None:
        self._classes = classes
        self.protocol = EvaluationProtocol()
        self.num_seen = 0

    @property
    def classes(self) -> Classes:
        return self._classes

    def __call__(self, image: np.ndarray) -> np.ndarray:
        self.num_seen += 1
        return image[:, :, 0].astype(self._classes.label_dtype)


def with_names(*names: str) -> Classes:
    """Classes of these names."""
    infos = make_classes(len(names)).classes
    pairs = zip(infos, names, strict=True)
    return Classes(classes=tuple(info.model_copy(update={"name": name}) for info, name in pairs))
