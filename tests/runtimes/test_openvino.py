"""What OpenVINO computes of models that it once could not."""

import numpy as np
import torch

from segmenter import Predictor
from segmenter.model import Segmenter
from tests.helpers.models import make_spec


def test_a_trained_mask_decoder_of_three_classes_equals_torch() -> None:
    torch.manual_seed(0)
    spec = make_spec(3, decoder="mask")
    scaled = spec.decoder.model_copy(update={"class_norm": "scale"})
    model = Segmenter(spec.model_copy(update={"decoder": scaled})).eval()
    torch.nn.init.normal_(model.decoder.norm_logits.bias)  # as training leaves it
    image = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    torch_, openvino = (
        Predictor(model, runtime=runtime, precision="float32").probabilities(image)
        for runtime in ("torch", "openvino")
    )
    np.testing.assert_allclose(openvino, torch_, atol=1e-4)
