"""A smaller model out of a trained one, by images without labels and without training.

Whole blocks are left out, and the hidden channels of each MLP that matter least (structured
pruning). Then the last layer of each MLP that stays is solved anew: after it, tokens shall be as
near as can be, by least squares, to what the whole model has there. So each block also stands for
those that are left out after it, and corrects the errors before it. Patches of rare classes weigh
more than those of common ones, as in mIoU. Reconstruction by least squares is that of He et
al., "Channel Pruning for Accelerating Very Deep Neural Networks" (ICCV 2017); that a linear layer
can stand for whole blocks is ReplaceMe's (Shopkhoev et al. 2025).
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from segmenter.errors import UserError
from segmenter.model.decoders.decoder import Decoder
from segmenter.model.segmenter import Segmenter
from segmenter.model.transformer import Block, LayerScale, Rotation

_RIDGE = 1e-2
"""Cost of changing a weight, as a share of the mean square of the inputs."""
_LEAST = 1e-6
"""In place of 0 where nothing moves: an MLP without any effect, or a layer scale of zeros."""


class LeastSquares:
    """The sums from which a linear layer is found, whatever the number of tokens.

    Args:
        weight: (outputs, inputs) of the layer as it is; what is found stays near it.
        bias: Bias of the layer as it is.
        num_aims: For how many different aims a layer is to be found.
    """

    def __init__(self, weight: Tensor, bias: Tensor, num_aims: int = 1) -> None:
        # On the CPU, as some devices have no float64.
        self._prior = torch.cat([weight, bias[:, None]], dim=1).T.cpu().double()
        num_inputs = len(self._prior)
        self._inputs = self._prior.new_zeros(num_inputs, num_inputs)
        """Sums of products of the inputs, of which the last is 1."""
        self._both = [torch.zeros_like(self._prior) for _ in range(num_aims)]
        self._aimed = [0.0] * num_aims

    def add(
        self,
        weights: Float[Tensor, " tokens"],
        inputs: Float[Tensor, "tokens inputs"],
        *aims: Float[Tensor, "tokens outputs"],
    ) -> None:
        """Count in tokens, as much as they weigh, and for each aim what is to be made of them."""
        inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)
        weighed = (inputs * weights[:, None]).T
        self._inputs += (weighed @ inputs).cpu().double()
        for number, aim in enumerate(aims):
            self._both[number] += (weighed @ aim).cpu().double()
            self._aimed[number] += float((aim**2).sum(dim=1) @ weights)

    def most_important(self, count: int) -> Int64[Tensor, " kept"]:
        """Return the inputs that move the outputs most, by their variance and their weights."""
        num_tokens = self._inputs[-1, -1]
        variances = self._inputs.diagonal() / num_tokens - (self._inputs[-1] / num_tokens) ** 2
        importance = variances * (self._prior**2).sum(dim=1)
        return importance[:-1].topk(count).indices.sort().values

    def solve(
        self, kept: Int64[Tensor, " kept"], aim: int = 0
    ) -> Float64[Tensor, "kept_and_bias outputs"]:
        """Return the best weights of some of the inputs, and below them the bias."""
        rows = self._rows(kept)
        products, prior = self._inputs[rows][:, rows], self._prior[rows]
        mean_square = float(products.diagonal()[:-1].mean())
        ridge = torch.full_like(products[0], max(mean_square * _RIDGE, _LEAST))
        ridge[-1] = 0  # the bias is free
        missing = self._both[aim][rows] - products @ prior
        return prior + torch.linalg.solve(products + ridge.diag(), missing)

    def error(self, kept: Int64[Tensor, " kept"], aim: int = 0) -> float:
        """Return the sum of squares that is left, with the best weights of some of the inputs."""
        rows = self._rows(kept)
        solved = self.solve(kept, aim)
        explained = solved * (2 * self._both[aim][rows] - self._inputs[rows][:, rows] @ solved)
        return max(self._aimed[aim] - float(explained.sum()), 0.0)

    def _rows(self, kept: Int64[Tensor, " kept"]) -> Int64[Tensor, " kept_and_bias"]:
        return torch.cat([kept, kept.new_tensor([len(self._inputs) - 1])])


@dataclass
class _Tokens:
    """Tokens of one image after some blocks, in the whole model and in the pruned one."""

    whole: Float[Tensor, "1 tokens dim"]
    small: Float[Tensor, "1 tokens dim"]
    rotation: Rotation | None
    weights: Float[Tensor, " tokens"]
    """Weight of each token; 1 on average."""

    def append_queries(self, decoder: Decoder) -> None:
        """Put the decoder's class tokens after the patches."""
        self.small, _ = decoder.append_queries(self.small, self.rotation)
        self.whole, self.rotation = decoder.append_queries(self.whole, self.rotation)
        num_queries = self.whole.shape[1] - len(self.weights)
        self.weights = F.pad(self.weights, (0, num_queries), value=1.0)


@torch.no_grad()
def prune(
    model: Segmenter, images: Iterable[Tensor], blocks: Sequence[int], mlp_ratio: float
) -> Segmenter:
    """Make a model of some of another's blocks, with narrower MLPs.

    Args:
        model: In eval mode; it stays as it is.
        images: Normalised, each (1, channels, height, width) of any size: what the model is to be
            good at. Some tens of thousands of patches together; the tokens of all are kept at
            once, images are not.
        blocks: Which of the encoder's blocks stay, counted from 0, in rising order.
        mlp_ratio: Hidden channels of each MLP, relative to the encoder's width.

    Raises:
        UserError: If the model cannot be pruned so.
    """
    first_query_block, hidden_dim = _check_model(model, mlp_ratio)
    encoder, decoder = model.encoder, model.spec.decoder
    _check_blocks(blocks, len(encoder.blocks), first_query_block)
    tensors = {n: t for n, t in model.state_dict().items() if not n.startswith("encoder.blocks.")}
    states = _first_tokens(model, images)
    ends = [*blocks[1:], len(encoder.blocks)]
    for index, (number, end) in enumerate(zip(blocks, ends, strict=True)):
        block = cast(Block, encoder.blocks[number])
        sums = LeastSquares(*_last_layer(block))
        for state in states:
            if number == first_query_block:
                state.append_queries(model.decoder)
            for passed in range(number, end):
                state.whole = encoder.blocks[passed](state.whole, None, state.rotation)
            state.small, hidden = _attend(block, state.small, state.rotation)
            sums.add(state.weights, hidden, (state.whole - state.small)[0])
        narrow = _narrow_mlp(block, sums, hidden_dim)
        for state in states:
            state.small = state.small + narrow.scale2(narrow.mlp(narrow.norm2(state.small)))
        parts = narrow.state_dict().items()
        tensors |= {f"encoder.blocks.{index}.{name}": tensor for name, tensor in parts}

    changes = {"depth": len(blocks), "mlp_ratio": mlp_ratio}
    num_query_blocks = sum(number >= first_query_block for number in blocks)
    if num_query_blocks:
        decoder = decoder.model_copy(update={"blocks": num_query_blocks})
    encoder_spec = encoder.spec.model_copy(update=changes)
    spec = model.spec.model_copy(update={"encoder": encoder_spec, "decoder": decoder, "scores": {}})
    small = Segmenter(spec).to(next(model.parameters()).device)
    small.load_state_dict(tensors)
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise UserError("the pruned model has numbers that are not finite; check the model's own")
    return small.eval()


@torch.no_grad()
def choose_blocks(
    model: Segmenter, images: Iterable[Tensor], depth: int, mlp_ratio: float
) -> list[int]:
    """Choose which blocks of a model `prune` should keep; see there for what it is given.

    A block may stand for itself and others after it, up to the next that stays. What that loses is
    how far off tokens are at the end, relative to how far they came, where they were right at the
    start. The blocks are those with the smallest sum of such losses.

    Raises:
        UserError: If the model cannot be pruned so.
    """
    first_query_block, hidden_dim = _check_model(model, mlp_ratio)
    blocks = model.encoder.blocks
    least = 2 if 0 < first_query_block < len(blocks) else 1
    if not least <= depth <= len(blocks):
        raise UserError(f"depth is from {least} to {len(blocks)} blocks, got {depth}")
    losses: dict[tuple[int, int], float] = {}
    states = _first_tokens(model, images)
    for start in range(len(blocks)):
        block = cast(Block, blocks[start])
        last = len(blocks) if start >= first_query_block else first_query_block
        ends = range(start + 1, min(last, start + 1 + len(blocks) - depth) + 1)
        sums = LeastSquares(*_last_layer(block), num_aims=len(ends))
        moved = torch.zeros(len(ends))
        for state in states:
            if start == first_query_block:
                state.append_queries(model.decoder)
            before = after = state.whole
            attended, hidden = _attend(block, before, state.rotation)
            reached = [after := blocks[end - 1](after, None, state.rotation) for end in ends]
            sums.add(state.weights, hidden, *((tokens - attended)[0] for tokens in reached))
            moves = [(tokens - before)[0].square().sum(dim=1) for tokens in reached]
            moved += torch.stack([move @ state.weights for move in moves]).cpu()
            state.whole = reached[0]
        kept = sums.most_important(hidden_dim)
        for number, end in enumerate(ends):
            losses[start, end] = sums.error(kept, number) / max(float(moved[number]), _LEAST)
    return _cheapest_path(losses, depth, len(blocks))


def _cheapest_path(losses: dict[tuple[int, int], float], num_steps: int, goal: int) -> list[int]:
    """Return the values between 0 and the goal, for a number of steps."""
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for _ in range(num_steps):
        reached: dict[int, tuple[float, list[int]]] = {}
        for (start, end), loss in losses.items():
            if start in best:
                total, path = best[start]
                reached[end] = min(
                    (total + loss, [*path, start]), reached.get(end, (float("inf"), []))
                )
        best = reached
    return best[goal][1]


def _check_model(model: Segmenter, mlp_ratio: float) -> tuple[int, int]:
    """Make sure that a model can be pruned so.

    Returns:
        The first block that class tokens go through, which is one after the last block where they
        go through none; and the hidden channels of each MLP.
    """
    encoder, decoder = model.spec.encoder, model.decoder
    if len(decoder.out_indices) > 1:
        raise UserError(
            f"the decoder {model.spec.decoder.kind} uses several blocks of the encoder, so blocks "
            "cannot be removed; models with the decoders linear, mask, eomt and "
            "joined-class-tokens can be pruned"
        )
    least = 1 / encoder.embed_dim  # one channel
    if not least <= mlp_ratio <= encoder.mlp_ratio:
        raise UserError(
            f"mlp_ratio is at least {least:.2g} and at most the model's own, "
            f"{encoder.mlp_ratio}; got {mlp_ratio}"
        )
    hidden_dim = int(encoder.embed_dim * mlp_ratio)
    if encoder.mlp_norm and hidden_dim != int(encoder.embed_dim * encoder.mlp_ratio):
        raise UserError(
            f"the MLPs of {encoder.architecture} have a norm over their hidden channels, and "
            "cannot be made narrower; omit the MLP ratio and remove blocks only"
        )
    return encoder.depth - decoder.num_query_blocks, hidden_dim


def _check_blocks(blocks: Sequence[int], depth: int, first_query_block: int) -> None:
    """Make sure that a model of that depth can keep these blocks."""
    kept = list(blocks)
    given = ", ".join(map(str, kept)) or "none"
    if not kept or kept[0] != 0 or kept != sorted(set(kept)) or kept[-1] >= depth:
        raise UserError(
            f"the blocks to keep are different numbers from 0 to {depth - 1} in rising order, "
            f"including 0; got {given}"
        )
    if first_query_block < depth and first_query_block not in kept:
        raise UserError(
            f"class tokens join the patches before block {first_query_block}, which therefore has "
            f"to stay; got {given}"
        )


def _first_tokens(model: Segmenter, images: Iterable[Tensor]) -> list[_Tokens]:
    """Return the tokens of images before any block, and how much they count."""
    states, labels = [], []
    for image in images:
        fitted = model.pad(image.to(next(model.parameters()).device))
        tokens, _, rotation = model.encoder.embed(fitted)
        logits = F.avg_pool2d(model.patch_logits(fitted), model.spec.decoder.logits_per_patch_side)
        labels.append(logits.argmax(dim=1).flatten())
        states.append(_Tokens(tokens, tokens, rotation, tokens.new_ones(tokens.shape[1])))
    for state, weights in zip(states, patch_weights(labels), strict=True):
        state.weights[-len(weights) :] = weights  # of the patches; prefix tokens are before them
    return states


def patch_weights(labels: Sequence[Tensor]) -> list[Tensor]:
    """Weight the patches of images by 1 / sqrt(share of their class in all), 1 on average."""
    counts = torch.bincount(torch.cat([*labels]))
    weights = counts.float().rsqrt()
    weights *= counts.sum() / counts.sqrt().sum()
    return [weights[each] for each in labels]


def _attend(
    block: Block, tokens: Float[Tensor, "1 tokens dim"], rotation: Rotation | None
) -> tuple[Float[Tensor, "1 tokens dim"], Float[Tensor, "tokens hidden"]]:
    """Tokens after a block's attention, and what its last linear layer is given of them."""
    attended = tokens + block.scale1(block.attention(block.norm1(tokens), rotation))
    return attended, block.mlp.hidden(block.norm2(attended))[0]


def _last_layer(block: Block) -> tuple[Float[Tensor, "dim hidden"], Float[Tensor, " dim"]]:
    """Weight and bias of a block's last linear layer, with the layer scale after it."""
    layer = cast(nn.Linear, block.mlp.reduce)
    scale = block.scale2.gamma if isinstance(block.scale2, LayerScale) else 1.0
    return (layer.weight.T * scale).T, layer.bias * scale


def _narrow_mlp(block: Block, sums: LeastSquares, hidden_dim: int) -> Block:
    """Return a block with only the most important hidden channels, and the best last layer."""
    kept = sums.most_important(hidden_dim)
    weight = block.mlp.reduce.weight
    solved = sums.solve(kept).to(weight.device, weight.dtype)
    narrow = copy.deepcopy(block)
    if isinstance(narrow.scale2, LayerScale):
        # One number for all channels: some are nearly 0, and would blow weights up.
        scale = narrow.scale2.gamma.square().mean().sqrt().clamp(min=_LEAST)
        narrow.scale2.gamma.fill_(scale)
        solved = solved / scale
    expand = block.mlp.expand
    num_hidden = block.mlp.reduce.in_features
    rows = torch.cat([kept + first for first in range(0, expand.out_features, num_hidden)])
    narrow.mlp.expand = _linear(expand.weight[rows], expand.bias[rows])
    narrow.mlp.reduce = _linear(solved[:-1].T, solved[-1])
    return narrow


def _linear(weight: Float[Tensor, "outputs inputs"], bias: Float[Tensor, " outputs"]) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
    return layer
