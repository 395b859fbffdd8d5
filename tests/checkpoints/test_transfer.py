"""A new model starts from a trained one."""

import pytest
import torch

from segmenter import UserError
from segmenter.checkpoints.transfer import start_from
from segmenter.model import Segmenter
from tests.conftest import make_classes, make_spec


def test_the_same_classes_keep_everything() -> None:
    start, model = Segmenter(make_spec(decoder="mask")), Segmenter(make_spec(decoder="mask"))
    said = start_from(model, start, "start")
    assert "fresh" not in said
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(model(images), start(images), rtol=0, atol=0)


@pytest.mark.parametrize("decoder", ["linear", "mask"])
def test_another_number_of_classes_starts_only_what_speaks_of_classes_fresh(decoder: str) -> None:
    start = Segmenter(make_spec(3, decoder=decoder))
    model = Segmenter(make_spec(5, decoder=decoder))
    said = start_from(model, start, "start")
    fresh = {
        "linear": "decoder.project.weight, decoder.project.bias",
        "mask": "decoder.class_tokens, decoder.norm_logits.weight, decoder.norm_logits.bias",
    }
    assert said.endswith(f"start fresh: {fresh[decoder]}")


def test_other_classes_of_the_same_number_start_fresh_too() -> None:
    start = Segmenter(make_spec(3))
    renamed = [
        info.model_copy(update={"name": f"other-{info.name}"}) for info in make_classes(3).classes
    ]
    classes = make_classes(3).model_copy(update={"classes": tuple(renamed)})
    model = Segmenter(make_spec(3).model_copy(update={"classes": classes}))
    before = model.decoder.project.weight.detach().clone()
    start_from(model, start, "start")
    assert torch.equal(model.decoder.project.weight, before)


def test_table_depth_and_channels_are_fitted() -> None:
    start = Segmenter(make_spec(depth=3, table_grid=(4, 4)))
    model = Segmenter(make_spec(depth=2, table_grid=(6, 6), in_channels=5))
    start_from(model, start, "start")
    assert torch.equal(
        model.encoder.blocks[1].mlp.expand.weight, start.encoder.blocks[1].mlp.expand.weight
    )


def test_another_width_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"start does not fit .* encoder\.norm\.weight is \(128,\)"):
        start_from(Segmenter(make_spec()), Segmenter(make_spec(embed_dim=128)), "start")


def test_the_terms_of_the_start_are_said() -> None:
    start = Segmenter(make_spec().model_copy(update={"license": "ask first"}))
    assert "ask first" in start_from(Segmenter(make_spec()), start, "start")
