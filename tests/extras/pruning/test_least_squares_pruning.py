"""A pruned model keeps what mattered: exactly where nothing was lost, nearly where little was."""

import itertools

import pytest
import torch
from torch import Tensor

from segmenter import UserError
from segmenter.extras.pruning.least_squares_pruning import (
    LeastSquares,
    _cheapest_path,
    choose_blocks,
    patch_weights,
    prune,
)
from segmenter.model import Segmenter
from segmenter.model.decoders import JoinedClassTokensSpec
from segmenter.model.transformer import Block, Mlp
from tests.helpers.models import ROTARY, make_spec

ENCODERS = {
    "plain": {},
    "layer scale": {"layer_scale": True},
    "rotary": ROTARY | {"num_prefix_tokens": 3, "layer_scale": True},
    "swiglu": {"mlp": "swiglu", "mlp_ratio": 2.0},
}


def make_model(**changes: object) -> Segmenter:
    """Four blocks whose weights are large enough that each matters."""
    model = Segmenter(make_spec(patch_size=4, **{"depth": 4} | changes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 or name.endswith(".bias"):
                parameter.normal_(std=0.1)
            elif name.endswith("gamma"):
                parameter.uniform_(0.5, 1.5)
    return model


def make_images(count: int = 6) -> list[Tensor]:
    """Of several sizes, one no multiple of the patch."""
    sizes = itertools.cycle([(16, 16), (12, 20), (15, 18)])
    return [torch.randn(1, 3, *size) for size in itertools.islice(sizes, count)]


def silence(block: Block) -> None:
    """Make a block that changes nothing."""
    for layer in (block.attention.project, block.mlp.reduce):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)


def difference(one: Segmenter, other: Segmenter, images: list[Tensor]) -> float:
    """The root mean square difference of their logits, relative to that of the first's."""
    with torch.no_grad():
        pairs = [(one.patch_logits(image), other.patch_logits(image)) for image in images]
    wrong = sum(float((a - b).square().sum()) for a, b in pairs)
    return (wrong / sum(float((a - a.mean()).square().sum()) for a, _ in pairs)) ** 0.5


@pytest.mark.parametrize("decoder", ["linear", "mask", "joined-class-tokens", "eomt"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_a_model_of_which_all_stays_says_the_same(kind: str, decoder: str) -> None:
    model = make_model(decoder=decoder, **ENCODERS[kind])
    same = prune(model, make_images(), range(4), model.spec.encoder.mlp_ratio)
    assert difference(model, same, make_images(2)) < 1e-4
    assert same.spec == model.spec


@pytest.mark.parametrize("decoder", ["linear", "joined-class-tokens", "eomt"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_what_changes_nothing_is_found_and_left_out_without_loss(kind: str, decoder: str) -> None:
    model = make_model(decoder=decoder, **ENCODERS[kind])
    silence(model.encoder.blocks[2])
    with torch.no_grad():
        for block in model.encoder.blocks:  # half of the hidden channels go nowhere
            block.mlp.reduce.weight[:, ::2] = 0
    images = make_images()
    ratio = model.spec.encoder.mlp_ratio / 2
    kept = choose_blocks(model, images, 3, ratio)
    assert kept == [0, 1, 3]
    small = prune(model, images, kept, ratio)
    assert difference(model, small, make_images(2)) < 1e-3
    assert small.encoder.spec.depth == len(small.encoder.blocks) == 3
    hidden = small.encoder.blocks[0].mlp.reduce.in_features
    assert hidden == 64 * ratio == model.encoder.blocks[0].mlp.reduce.in_features / 2


def test_a_block_stands_for_those_left_out_after_it() -> None:
    model = make_model()
    for block in model.encoder.blocks[2:]:  # linear in what the MLP before them gives
        silence(block)
        block.mlp = Mlp(64, 256)
        torch.nn.init.zeros_(block.mlp.reduce.weight)
        torch.nn.init.normal_(block.mlp.reduce.bias)
    kept_as_it_is = prune(model, make_images(), range(4), 4.0)
    del kept_as_it_is.encoder.blocks[2:]
    kept_as_it_is.decoder.out_indices = (1,)
    small = prune(model, make_images(), [0, 1], 4.0)
    others = make_images(2)
    assert difference(model, small, others) < 1e-4
    assert difference(model, kept_as_it_is, others) > 0.1


def test_the_model_itself_stays_as_it_was() -> None:
    model = make_model(layer_scale=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prune(model, make_images(), [0, 2], 2.0)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_class_tokens_join_as_many_blocks_as_are_left() -> None:
    model = make_model(decoder="joined-class-tokens", depth=5)
    model.decoder.num_query_blocks = 3
    spec = model.spec.model_copy(update={"decoder": JoinedClassTokensSpec(blocks=3, cells=2)})
    model.spec = spec
    small = prune(model, make_images(), [0, 2, 4], 4.0)
    assert small.spec.decoder.blocks == small.decoder.num_query_blocks == 2
    with pytest.raises(UserError, match="join the patches before block 2, which"):
        prune(model, make_images(), [0, 3, 4], 4.0)
    assert 2 in choose_blocks(model, make_images(), 2, 4.0)


def test_sums_of_tokens_give_what_least_squares_over_all_of_them_gives() -> None:
    inputs, aim = torch.randn(200, 5), torch.randn(200, 3)
    prior, bias = torch.randn(3, 5), torch.randn(3)
    sums = LeastSquares(prior, bias)
    for part in range(0, 200, 50):
        rows = slice(part, part + 50)
        sums.add(torch.ones(50), inputs[rows], aim[rows])
    kept = torch.tensor([0, 2, 3])
    ridge = 1e-2 * inputs[:, kept].square().sum(dim=0).mean().sqrt() ** 2
    rows = torch.cat([inputs[:, kept], torch.ones(200, 1)], dim=1)
    pull = torch.cat([torch.eye(3) * ridge.sqrt(), torch.zeros(3, 1)], dim=1)
    wanted = torch.cat([aim, ridge.sqrt() * prior[:, kept].T])
    naive = torch.linalg.lstsq(torch.cat([rows, pull]), wanted).solution
    torch.testing.assert_close(sums.solve(kept).float(), naive, atol=1e-4, rtol=1e-4)
    left = float((rows @ naive - aim).square().sum())
    assert sums.error(kept) == pytest.approx(left, rel=1e-4)


def test_a_token_that_weighs_three_counts_as_three_tokens() -> None:
    inputs, aim = torch.randn(6, 5), torch.randn(6, 3)
    counts = torch.tensor([1, 3, 2, 1, 1, 3])
    weighed, repeated = (LeastSquares(torch.randn(3, 5), torch.zeros(3)) for _ in range(2))
    repeated._prior = weighed._prior
    weighed.add(counts.float(), inputs, aim)
    each = torch.ones(int(counts.sum()))
    repeated.add(each, *(part.repeat_interleave(counts, dim=0) for part in (inputs, aim)))
    kept = torch.arange(5)
    torch.testing.assert_close(weighed.solve(kept), repeated.solve(kept), atol=1e-4, rtol=1e-4)
    assert weighed.error(kept) == pytest.approx(repeated.error(kept), rel=1e-4)


def test_patches_of_rare_classes_weigh_more_and_one_on_average() -> None:
    labels = [torch.tensor([0, 0, 0, 3]), torch.tensor([0, 1, 0, 0, 0, 0])]
    weights = torch.cat(patch_weights(labels))
    shares = torch.tensor([8, 8, 8, 1, 8, 1, 8, 8, 8, 8]) / 10
    expected = shares**-0.5
    torch.testing.assert_close(weights, expected / expected.mean())


def test_the_most_important_inputs_vary_and_are_heard() -> None:
    inputs = torch.randn(100, 4) * torch.tensor([1.0, 1.0, 3.0, 0.0]) + torch.tensor([0, 0, 0, 9.0])
    weight = torch.tensor([[1.0, 0.0, 1.0, 5.0]])
    sums = LeastSquares(weight, torch.zeros(1))
    sums.add(torch.ones(100), inputs, torch.zeros(100, 1))
    assert sums.most_important(2).tolist() == [0, 2]


def test_the_cheapest_path_is_that_of_trying_all() -> None:
    losses = {
        (start, end): float(torch.rand(())) for start, end in itertools.combinations(range(7), 2)
    }
    for steps in range(1, 7):
        paths = [(0, *inner) for inner in itertools.combinations(range(1, 6 + 1), steps - 1)]
        costs = {
            path: sum(losses[pair] for pair in itertools.pairwise([*path, 6]))
            for path in paths
            if 6 not in path
        }
        assert _cheapest_path(losses, steps, 6) == list(min(costs, key=costs.__getitem__))


@pytest.mark.parametrize("blocks", [[], [1, 2], [0, 0], [0, 2, 1], [0, 4], [-1, 0]])
def test_blocks_that_cannot_stay_are_refused(blocks: list[int]) -> None:
    with pytest.raises(UserError, match="numbers from 0 to 3 in rising order"):
        prune(make_model(), make_images(), blocks, 4.0)


@pytest.mark.parametrize("ratio", [0.0, -1.0, 4.5, 0.001, float("nan"), float("inf")])
def test_ratios_that_no_mlp_can_have_are_refused(ratio: float) -> None:
    with pytest.raises(UserError, match=r"mlp_ratio is at least 0\.016 and at most"):
        prune(make_model(), make_images(), [0], ratio)


@pytest.mark.parametrize("depth", [0, 5])
def test_depths_beyond_the_model_are_refused(depth: int) -> None:
    with pytest.raises(UserError, match=f"depth is from 1 to 4 blocks, got {depth}"):
        choose_blocks(make_model(), make_images(), depth, 4.0)


def test_blocks_that_do_nothing_at_all_cost_nothing() -> None:
    model = make_model(layer_scale=True)
    with torch.no_grad():
        for parameter in model.encoder.blocks[2].parameters():
            parameter.zero_()
    kept = choose_blocks(model, make_images(), 3, 2.0)
    assert kept == [0, 1, 3]
    whole = prune(model, make_images(), range(4), 4.0)
    assert difference(model, whole, make_images(2)) < 1e-3


def test_a_model_that_is_not_finite_is_refused() -> None:
    model = make_model()
    torch.nn.init.constant_(model.encoder.blocks[1].mlp.reduce.bias, float("nan"))
    with pytest.raises(UserError, match="not finite"):
        prune(model, make_images(), [0, 1], 4.0)


def test_decoders_that_read_several_blocks_are_refused() -> None:
    with pytest.raises(UserError, match="multi-linear uses several blocks"):
        prune(make_model(decoder="multi-linear"), make_images(), [0], 4.0)


def test_mlps_with_a_norm_are_not_made_narrower() -> None:
    model = make_model(mlp="swiglu", mlp_norm=True)
    with pytest.raises(UserError, match="cannot be made narrower"):
        prune(model, make_images(), [0, 1], 2.0)
    assert len(prune(model, make_images(), [0, 1], 4.0).encoder.blocks) == 2
