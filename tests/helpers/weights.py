"""Compare the weights of two models."""

import torch

from segmenter.model import Segmenter


def assert_same_weights(loaded: Segmenter, model: Segmenter, tolerance: float = 0.0) -> None:
    wanted = model.state_dict()
    assert loaded.state_dict().keys() == wanted.keys()
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, wanted[name], rtol=tolerance, atol=tolerance)
