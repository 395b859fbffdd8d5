"""What OpenVINO computes of models that it once could not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from segmenter import Predictor, UserError
from segmenter.model import Segmenter
from segmenter.runtimes.exported import ExportFacts
from segmenter.runtimes.openvino import compile_cached
from tests.helpers.models import make_spec


@pytest.mark.slow
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


def test_a_model_that_openvino_cannot_compile_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def give_no_graph(use: Callable[[bytes], bytes]) -> bytes:
        return use(b"no graph")

    with pytest.raises(UserError, match=r"OpenVINO cannot run .*; use --runtime torch") as refused:
        compile_cached("key", give_no_graph, "float32", 1000, ExportFacts(spec=make_spec(2)))
    assert "\n" not in str(refused.value)
