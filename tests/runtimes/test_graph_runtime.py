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
