"""A runtime that computes a graph, whatever library compiles it."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segmenter.checkpoints import save
from segmenter.model import Segmenter
from segmenter.options import Compute
from segmenter.runtimes.graph_runtime import GraphRuntime
from tests.helpers.models import make_spec


class Blank(GraphRuntime):
    """Compiles nothing, and holds what no pickle can."""

    name = "blank"
    version = "1"

    @staticmethod
    def settle_precision(precision: str, device: torch.device) -> str:  # noqa: ARG004
        return precision

    @staticmethod
    def compile(*_: Any, **__: Any) -> Callable[[np.ndarray], np.ndarray]:
        raise AssertionError("never called")

    def _open(self, source: object) -> Callable[[np.ndarray], np.ndarray]:  # noqa: ARG002
        return lambda pixels: np.zeros((len(pixels), 3, 1, 1), np.float32)


def test_a_pickled_or_copied_runtime_opens_its_model_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(Segmenter(make_spec(3, depth=1)).eval(), "model.safetensors")
    compute = Compute(precision="float32")
    opened = Blank(Path("model.safetensors"), compute, torch.device("cpu"))
    content = pickle.dumps(opened)
    monkeypatch.chdir("/")  # a relative path still leads to the file
    for again in (pickle.loads(content), copy.deepcopy(opened)):
        assert (again.spec, again.digest()) == (opened.spec, opened.digest())
        assert again.patch_logits(torch.zeros(2, 3, 16, 16)).shape == (2, 3, 1, 1)


@pytest.mark.parametrize("decoder", ["linear", "eomt"])
def test_an_output_of_another_size_than_the_image_is_not_taken_for_its_labels(
    decoder: str,
) -> None:
    # Where OpenVINO finds no memory for an image, it gives its output of the one before.
    model = Segmenter(make_spec(3, depth=2, decoder=decoder)).eval()
    opened = Blank(model, Compute(precision="float32"), torch.device("cpu"))
    opened._run = lambda pixels: run_of(model, pixels[:, :, :16, :16])
    assert opened.scores(torch.zeros(1, 3, 16, 16)) is not None
    with pytest.raises(MemoryError, match="32x48"):
        opened.scores(torch.zeros(1, 3, 32, 48))


@torch.inference_mode()
def run_of(model: Segmenter, pixels: np.ndarray) -> np.ndarray:
    """What the graph of a model gives."""
    images = torch.from_numpy(pixels)
    if model.spec.classifies_masks:
        return model.mask_scores(images).packed().numpy()
    return model.patch_logits(images).numpy()
