"""A plan that no memory or hour can hold is refused before it starts, with the figure."""

import time
from typing import Any

import numpy as np
import pytest
import torch

from segmenter import UserError
from segmenter.inference import Predictor
from segmenter.inference.work import check_work, count_work
from segmenter.model import EvaluationProtocol, Segmenter
from segmenter.recipe import make_recipe, read_recipe
from segmenter.training.prepare import build_model, starting_model
from tests.helpers.models import make_classes, make_spec

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("size", "protocol", "figure"),
    [
        ((120, 160), {"short_side": 16384}, r"1 window of 358\.\d mega.* takes .* (hours|GB)"),
        ((4000, 3000), {"window": 16, "stride": 1}, r"11,895,225 windows .* takes .* (hours|GB)"),
        ((120, 160), {"scales": (16.0,) * 64, "short_side": 4096}, r"takes .* (hours|GB)"),
    ],
)
def test_an_image_that_takes_hours_is_refused_at_once(
    size: tuple[int, int], protocol: dict[str, Any], figure: str
) -> None:
    model = Segmenter(make_spec(embed_dim=192, depth=12))
    predictor = Predictor(model, protocol=EvaluationProtocol(**protocol))
    start = time.process_time()
    with pytest.raises(UserError, match=figure):
        predictor(np.zeros((*size, 3), dtype=np.uint8))
    assert time.process_time() - start < 1


def test_logits_that_no_memory_holds_are_refused() -> None:
    spec = make_spec(65534)
    with pytest.raises(UserError, match=r"at least [\d,]+\.\d GB of memory, and there are"):
        check_work((40_000, 40_000), EvaluationProtocol(), spec, CPU)


@pytest.mark.parametrize(
    ("size", "protocol"),
    [
        ((1, 1), {}),
        ((1, 4000), {"short_side": 32, "window": 64, "stride": 48, "flip": True}),
        ((60_000, 60_000), {"window": 512, "stride": 384}),
        ((64, 64), {"short_side": 512, "window": 512, "stride": 256, "flip": True}),
        (
            (8_000, 12_000),
            {"window": 512, "stride": 256, "flip": True, "scales": (0.5, 0.75, 1, 1.25, 1.5, 1.75)},
        ),
    ],
)
def test_what_only_takes_long_is_not_refused(
    size: tuple[int, int], protocol: dict[str, Any]
) -> None:
    check_work(size, EvaluationProtocol(**protocol), make_spec(150, embed_dim=1024, depth=24), CPU)


def test_windows_are_counted_as_they_are_laid() -> None:
    work = count_work((100, 200), EvaluationProtocol(window=64, stride=48, flip=True), make_spec())
    assert work.windows == 2 * 2 * 4
    assert work.pixels == work.windows * 64 * 64


@pytest.mark.parametrize(
    ("decoder", "figure"),
    [
        (
            {"kind": "mask", "dim": 8192, "depth": 200},
            r"a model of 16\d,\d+,\d+,\d+ weights takes at least 6\d\d\.\d GB",
        ),
        ({"kind": "mask"}, r"a step on 65,536 crops of 8192x8192 takes at least [\d,]+\.\d GB"),
    ],
)
def test_a_run_that_no_memory_holds_is_refused_at_once(
    decoder: dict[str, object], figure: str
) -> None:
    content = read_recipe("finetune").model_dump(mode="json")
    content["model"] |= {"encoder": "vit_tiny_patch16_384", "weights": None}
    content["model"] |= {"decoder": decoder}
    content |= {"batch_size": 65536, "accumulate": 1}
    content["augment"]["crop_size"] = 8192
    recipe = make_recipe(content, "test")
    with pytest.raises(UserError, match=figure):
        build_model(recipe, make_classes(3), starting_model(recipe.model), print)
