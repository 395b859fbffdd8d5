"""The model of a fit: a frozen encoder, and the classifier as its decoder."""

from typing import cast

import torch

from segmenter.errors import UserError
from segmenter.fitting.classifier import Classifier
from segmenter.model import Segmenter
from segmenter.model.decoders.multi_block_linear import MultiBlockLinear, RunningStatsNorm


def with_classifier(model: Segmenter, classifier: Classifier) -> Segmenter:
    """Put a classifier into a model with a `multi-linear` decoder, and return the model.

    Raises:
        UserError: If the model has another decoder.
    """
    if (kind := model.spec.decoder.kind) != "multi-linear":
        raise UserError(f"a fit gives a 'multi-linear' decoder, and the model has {kind!r}")
    decoder = cast("MultiBlockLinear", model.decoder)
    weight, bias = torch.from_numpy(classifier.weight), torch.from_numpy(classifier.bias)
    if model.spec.classes.background:  # whose logit is 0
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    with torch.no_grad():
        _set_statistics(decoder.norm, classifier)
        decoder.project.weight.copy_(weight)
        decoder.project.bias.copy_(bias)
    return model


def _set_statistics(norm: RunningStatsNorm, classifier: Classifier) -> None:
    norm.set_statistics(
        torch.from_numpy(classifier.mean), torch.from_numpy(classifier.deviation).square()
    )
