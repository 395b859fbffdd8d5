"""A new model starts from a trained one."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from segmenter import UserError
from segmenter.checkpoints.encoders.matching_weights import account
from segmenter.checkpoints.encoders.patch_embedding import resize_patch_embedding
from segmenter.checkpoints.encoders.transfer import start_from
from segmenter.model import Segmenter
from segmenter.model.encoder import resize_table
from tests.helpers.models import DECODERS, make_classes, make_spec


def test_the_same_classes_keep_everything() -> None:
    start, model = Segmenter(make_spec(decoder="mask")), Segmenter(make_spec(decoder="mask"))
    said = start_from(model, start, "start")
    assert said == f"starting from start: {len(model.state_dict())} tensors kept"
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(model(images), start(images), rtol=0, atol=0)


@pytest.mark.parametrize("decoder", ["linear", "mask"])
def test_another_number_of_classes_starts_only_what_speaks_of_classes_fresh(decoder: str) -> None:
    start = Segmenter(make_spec(3, decoder=decoder))
    model = Segmenter(make_spec(5, decoder=decoder))
    said = start_from(model, start, "start")
    count, names = {
        "linear": (2, "decoder.project.*"),
        "mask": (3, "decoder.class_tokens, decoder.norm_logits.*"),
    }[decoder]
    assert f"; {count} start fresh: {names}; " in said
    assert said.endswith(f"; {count} of start are left unused: {names}")


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


@pytest.mark.parametrize("decoder", DECODERS)
def test_other_classes_take_nothing_whose_shape_depends_on_their_number(decoder: str) -> None:
    classes = make_classes(3)
    renamed = [each.model_copy(update={"name": f"other {each.name}"}) for each in classes.classes]
    others = classes.model_copy(update={"classes": tuple(renamed)})
    spec = make_spec(3, decoder=decoder)
    start, model = Segmenter(spec), Segmenter(spec.model_copy(update={"classes": others}))
    more = Segmenter(make_spec(5, decoder=decoder)).state_dict()
    of_classes = [n for n, each in model.state_dict().items() if each.shape != more[n].shape]
    fresh = {name: model.state_dict()[name].clone() for name in of_classes}
    start_from(model, start, "start")
    assert of_classes
    assert all(torch.equal(model.state_dict()[name], each) for name, each in fresh.items())


def test_table_depth_and_channels_are_fitted() -> None:
    start = Segmenter(make_spec(depth=3, table_grid=(4, 4)))
    model = Segmenter(make_spec(depth=2, table_grid=(6, 6), in_channels=5))
    said = start_from(model, start, "start")
    assert torch.equal(
        model.encoder.blocks[1].mlp.expand.weight, start.encoder.blocks[1].mlp.expand.weight
    )
    assert "fresh" not in said
    unused = [name for name in start.state_dict() if name.startswith("encoder.blocks.2.")]
    assert said.endswith(f"; {len(unused)} of start are left unused: encoder.blocks.2.*")


@pytest.mark.parametrize("partial", [False, True])
def test_another_patch_size_resizes_the_patch_embedding_and_says_so(partial: bool) -> None:
    start, model = Segmenter(make_spec()), Segmenter(make_spec(patch_size=8))
    said = start_from(model, start, "start", partial=partial)
    assert said.endswith("tensors kept; its patches of 16 pixels are resized to 8")
    resized = resize_patch_embedding(start.encoder.patch_embed.weight, 8)
    assert torch.equal(model.encoder.patch_embed.weight, resized)


def test_another_width_is_refused_by_name_and_partial_is_named() -> None:
    model = Segmenter(make_spec())
    before = weights_of(model)
    with pytest.raises(
        UserError, match=r"start does not fit .* encoder\.norm\.weight is \(128,\).*`--partial`"
    ):
        start_from(model, Segmenter(make_spec(embed_dim=128)), "start")
    assert_same(model, before, before)


def weights_of(model: Segmenter) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(model: Segmenter, expected: dict[str, Tensor], names: Iterable[str]) -> None:
    for name in names:
        assert torch.equal(model.state_dict()[name], expected[name]), name


BLOCK = [name for name in Segmenter(make_spec()).state_dict() if ".blocks.1." in name]
OTHERS: dict[str, tuple[dict, dict, list[str], list[str]]] = {
    "more blocks": ({"depth": 2}, {"depth": 1}, BLOCK, []),
    "fewer blocks": ({"depth": 1}, {"depth": 2}, [], BLOCK),
    "another MLP": (
        {"mlp_ratio": 2.0},
        {},
        *2
        * [
            [
                f"encoder.blocks.{number}.mlp.{name}"
                for number in (0, 1)
                for name in ("expand.weight", "expand.bias", "reduce.weight")
            ]
        ],
    ),
    "another token": (
        {"num_prefix_tokens": 2},
        {},
        *2 * [["encoder.prefix_tokens", "encoder.prefix_positions"]],
    ),
    "no positions of tokens": ({"prefix_positions": False}, {}, [], ["encoder.prefix_positions"]),
    "rotary": (
        {"position": "rotary", "table_grid": None},
        {},
        [],
        ["encoder.prefix_positions", "encoder.position_table"],
    ),
    "layer scale": (
        {"layer_scale": True},
        {},
        [f"encoder.blocks.{number}.scale{n}.gamma" for number in (0, 1) for n in (1, 2)],
        [],
    ),
    "another decoder": (
        {"decoder": "mask", "depth": 2},
        {"decoder": "linear"},
        [n for n in Segmenter(make_spec(decoder="mask")).state_dict() if n.startswith("decoder.")],
        ["decoder.project.weight", "decoder.project.bias"],
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_partial_takes_what_fits_and_counts_every_other_tensor(name: str) -> None:
    changes, start_changes, fresh, unused = OTHERS[name]
    model, start = Segmenter(make_spec(**changes)), Segmenter(make_spec(**start_changes))
    before, given = weights_of(model), weights_of(start)
    said = start_from(model, start, "start", partial=True)
    kept = [tensor for tensor in before if tensor not in fresh]
    assert_same(model, given, kept)
    assert_same(model, before, fresh)
    assert said.startswith(f"starting from start: {len(kept)} tensors kept")
    assert (f"; {len(fresh)} start fresh: " in said) == bool(fresh)
    assert (f"; {len(unused)} of start are left unused: " in said) == bool(unused)


def test_tensors_that_are_not_taken_are_named_by_their_blocks_and_layers() -> None:
    block = [f"mlp.{name}" for name in ("expand.weight", "expand.bias", "reduce.weight")]
    names = ["encoder.prefix_tokens", "head.weight", "head.bias", "encoder.position_table"]
    names += [f"encoder.blocks.{number}.{each}" for number in (2, 6, 7, 8) for each in block]
    assert account("x", {}, {}, names) == (
        "starting from x: 0 tensors kept; 16 of x are left unused: encoder.prefix_tokens, head.*, "
        "encoder.position_table, encoder.blocks.2.*, encoder.blocks.6-8.*"
    )


def test_of_many_unused_parts_the_line_names_six() -> None:
    said = account("x", {}, {}, [f"layer-{number}.weight" for number in range(100)])
    assert said.endswith("layer-4.weight, layer-5.weight and 94 more")


def test_partial_still_resizes_the_table_and_inflates_the_embedding() -> None:
    start = Segmenter(make_spec(depth=1, table_grid=(4, 4)))
    model = Segmenter(make_spec(table_grid=(6, 5), in_channels=6))
    start_from(model, start, "start", partial=True)
    embedding = start.encoder.patch_embed.weight
    assert torch.equal(model.encoder.patch_embed.weight, torch.cat([embedding] * 2, dim=1) / 2)
    expected = resize_table(start.encoder.position_table, (6, 5), model.spec.encoder)
    assert torch.equal(model.encoder.position_table, expected)


def test_partial_with_nothing_that_fits_is_refused() -> None:
    start = Segmenter(make_spec(5, embed_dim=128))
    with pytest.raises(UserError, match="nothing in start fits"):
        start_from(Segmenter(make_spec()), start, "start", partial=True)


def test_partial_does_not_take_what_is_not_finite() -> None:
    start, model = Segmenter(make_spec(depth=1)), Segmenter(make_spec())
    torch.nn.init.constant_(start.encoder.norm.bias, float("inf"))
    with pytest.raises(UserError, match=r"NaN or infinity in encoder\.norm\.bias"):
        start_from(model, start, "start", partial=True)
