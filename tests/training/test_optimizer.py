"""Which parameter learns how fast, and when."""

import pytest
import torch

from segmenter.model import Segmenter
from segmenter.recipe import OptimizerRecipe, ScheduleRecipe
from segmenter.training.optimizer import (
    encoder_share,
    freeze,
    layer_level,
    learning_rate,
    make_optimizer,
    set_learning_rate,
)
from tests.helpers.models import make_spec


def rates(model: Segmenter, recipe: OptimizerRecipe) -> dict[str, float]:
    freeze(model, recipe)
    optimizer = make_optimizer(model, recipe)
    set_learning_rate(optimizer, recipe.lr)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: g["lr"] for g in optimizer.param_groups for p in g["params"]}


def test_layer_decay_slows_lower_blocks_and_the_decoder_has_its_own_rate() -> None:
    recipe = OptimizerRecipe(name="adamw", lr=1.0, layer_decay=0.5, decoder_lr_factor=3)
    found = rates(Segmenter(make_spec(depth=2)), recipe)
    assert found["encoder.blocks.1.mlp.expand.weight"] == 1.0
    assert found["encoder.norm.weight"] == 1.0
    assert found["encoder.blocks.0.mlp.expand.weight"] == 0.5
    assert found["encoder.patch_embed.weight"] == found["encoder.position_table"] == 0.25
    assert found["decoder.project.weight"] == 3.0


def test_a_relative_rate_is_a_share_of_each_tensor_as_it_is_at_the_start() -> None:
    model = Segmenter(make_spec())
    with torch.no_grad():
        model.encoder.norm.weight.view(-1, 2).copy_(torch.tensor([3.0, -4.0]))
        model.encoder.norm.bias.zero_()
    recipe = OptimizerRecipe(name="adamw", lr=0.1, relative_lr=True, decoder_lr_factor=2)
    found = rates(model, recipe)
    assert found["encoder.norm.weight"] == pytest.approx(0.1 * 12.5**0.5)
    assert found["encoder.norm.bias"] == pytest.approx(0.1 * 1e-3)
    size = float(model.decoder.project.weight.detach().square().mean().sqrt())
    assert found["decoder.project.weight"] == pytest.approx(0.1 * 2 * size)


def test_a_relative_rate_without_a_magnitude_is_the_smallest() -> None:
    recipe = OptimizerRecipe(name="adamw", lr=0.1, relative_lr=True)
    groups = make_optimizer(Segmenter(make_spec()), recipe, magnitudes={}).param_groups
    assert {group["lr_factor"] for group in groups} == {1e-3}


def test_every_parameter_is_in_one_group() -> None:
    model = Segmenter(make_spec(decoder="mask"))
    found = rates(model, OptimizerRecipe(name="sgd", lr=1.0, weight_decay=0.1, layer_decay=0.9))
    assert found.keys() == dict(model.named_parameters()).keys()


def test_frozen_blocks_and_all_below_stay_as_they_are() -> None:
    model = Segmenter(make_spec(depth=3))
    found = rates(model, OptimizerRecipe(name="sgd", lr=1.0, frozen_blocks=2))
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {
        n
        for n in dict(model.named_parameters())
        if layer_level(n, 3) <= 2 and n.startswith("encoder.")
    }
    assert frozen.isdisjoint(found)
    assert "encoder.norm.weight" in found


def test_all_freezes_the_whole_encoder_and_nothing_else() -> None:
    model = Segmenter(make_spec())
    found = rates(model, OptimizerRecipe(name="sgd", lr=1.0, frozen_blocks="all"))
    assert set(found) == {n for n in dict(model.named_parameters()) if n.startswith("decoder.")}
    model(torch.randn(1, 3, 32, 32)).sum().backward()
    assert all(p.grad is None for p in model.encoder.parameters())


def test_only_matrices_decay() -> None:
    model = Segmenter(make_spec(decoder="mask"))
    optimizer = make_optimizer(model, OptimizerRecipe(name="adamw", lr=1.0, weight_decay=0.1))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying = {
        names[id(p)] for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]
    }
    assert "encoder.blocks.0.mlp.expand.weight" in decaying
    assert decaying.isdisjoint(
        {"decoder.class_tokens", "encoder.position_table", "encoder.norm.weight"}
    )


def test_poly_schedule_follows_its_formula_to_the_final_rate() -> None:
    schedule = ScheduleRecipe(steps=160_000, power=0.9, final_lr=1e-5)
    assert learning_rate(1e-3, schedule, 0) == pytest.approx(1e-3)
    halfway = (1e-3 - 1e-5) * 0.5**0.9 + 1e-5
    assert learning_rate(1e-3, schedule, 80_000) == pytest.approx(halfway, rel=1e-12)
    assert learning_rate(1e-3, schedule, 160_000) == pytest.approx(1e-5)


def test_warmup_rises_linearly() -> None:
    schedule = ScheduleRecipe(steps=1000, warmup_steps=10)
    plain = ScheduleRecipe(steps=1000)
    factors = [learning_rate(1.0, schedule, s) / learning_rate(1.0, plain, s) for s in range(12)]
    torch.testing.assert_close(factors[:11], [*(i / 10 for i in range(1, 11)), 1.0])


def test_the_encoder_learns_after_the_decoder_has_warmed_up() -> None:
    schedule = ScheduleRecipe(steps=100, warmup_steps=10, encoder_warmup_steps=20)
    shares = [encoder_share(schedule, step) for step in (0, 10, 20, 30, 99)]
    assert shares == [0, 0, 0.5, 1, 1]
    assert encoder_share(ScheduleRecipe(steps=100, warmup_steps=10), 0) == 1
    model = Segmenter(make_spec())
    optimizer = make_optimizer(model, OptimizerRecipe(name="adamw", lr=1.0))
    set_learning_rate(optimizer, 0.5, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            is_encoder = names[id(parameter)].startswith("encoder.")
            assert group["lr"] == (0 if is_encoder else 0.5)


def test_two_warm_ups_longer_than_the_run_are_refused() -> None:
    with pytest.raises(ValueError, match="together must be less than steps"):
        ScheduleRecipe(steps=30, warmup_steps=10, encoder_warmup_steps=20)
