"""The interface of decoders, which the model, training and the attention maps rely on."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from segmenter.errors import UserError
from segmenter.model.decoders import DecoderSettings
from segmenter.model.encoder import EncoderParts, Grid, intermediate_features, run_blocks
from segmenter.model.mask_scores import MaskScores
from segmenter.model.spec import EncoderSpec
from segmenter.model.transformer import Rotation

AllReduce = Callable[[Tensor], Tensor]
"""Sums a tensor over the processes of a run."""
DrawUniform = Callable[[int], Float[Tensor, "batch count"]]
"""Draws numbers from 0 to 1 for each image of a pass, on the CPU."""


class QueryPrediction(NamedTuple):
    """Predictions of the queries at one point of a forward pass."""

    classes: Float[Tensor, "batch queries classes_and_none"]
    """Logits of the class of each query, "no object" last."""
    masks: Float[Tensor, "batch queries rows columns"]
    """Logits of the mask of each query."""


class Decoder(nn.Module):
    """Turn an encoder's features into one logit for each class and patch.

    A new decoder is a subclass with `forward` and `class_embeddings`; its settings stand in
    `model/decoders/__init__.py`. The rest has defaults for a decoder without
    attention or state.
    """

    out_indices: Sequence[int]
    """Encoder blocks whose features it takes, counted from 0, in rising order."""
    drop_rates: Sequence[float] = ()
    """Stochastic depth of each residual branch, in the order of `drop_path_scales`."""
    num_attention_blocks = 0
    """Number of its own blocks with attention between class tokens and patches."""
    num_query_blocks = 0
    """Number of the encoder's last blocks that its class tokens go through with the patches."""
    queries_are_classes = True
    """False: the tokens that go through these blocks are not one for each class."""
    num_queries = 0
    """Number of queries that have a mask and a class each: it learns from their `predictions`, by
    `training.query_loss`. 0: it learns from the logits of pixels."""

    def forward(
        self,
        features: Float[Tensor, "batch tokens features"],
        grid: Grid,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score each patch, or several rows and columns within it, from what `encode` returned."""
        raise NotImplementedError

    def mask_scores(
        self, features: Float[Tensor, "batch tokens features"], grid: Grid
    ) -> MaskScores:
        """Return what the scores are summed from, if the settings have `query_masks`."""
        raise NotImplementedError

    @property
    def class_embeddings(self) -> Float[Tensor, "classes dim"]:
        """The vector of each class that patches are compared with."""
        raise NotImplementedError

    def encode(
        self,
        encoder: EncoderParts,
        images: Float[Tensor, "batch channels height width"],
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens features"], Grid]:
        """Encode normalised images into what `forward` takes.

        Returns:
            Features of the patches, row by row, then of the class tokens if they went through the
            encoder; and the rows and columns of the patches.
        """
        return intermediate_features(encoder, images, self.out_indices, drop_path_scales)

    def predictions(
        self,
        encoder: EncoderParts,
        images: Float[Tensor, "batch channels height width"],
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch tokens features"], list[QueryPrediction]]:
        """Return the features of `encode`, and each prediction that learns; the last is final.

        For decoders with `num_queries`, in training.
        """
        raise NotImplementedError

    def scores(self, prediction: QueryPrediction) -> Float[Tensor, "batch classes rows columns"]:
        """Score each patch from a prediction of queries, as `forward` does from the final one."""
        raise NotImplementedError

    def grid_of(self, prediction: QueryPrediction) -> Grid:
        """Return the rows and columns of patches that the masks of a prediction cover."""
        raise NotImplementedError

    def tokens_before(
        self,
        encoder: EncoderParts,
        images: Float[Tensor, "batch channels height width"],
        block: int,
    ) -> tuple[Float[Tensor, "batch tokens dim"], Grid, Rotation | None]:
        """Return the input of one encoder block, counted from 0; see `Encoder.embed`."""
        tokens, grid, rotation = encoder.embed(images)
        return run_blocks(encoder, tokens, range(block), rotation), grid, rotation

    def append_queries(
        self, tokens: Float[Tensor, "batch tokens dim"], rotation: Rotation | None
    ) -> tuple[Float[Tensor, "batch _ dim"], Rotation | None]:
        """Append the class tokens to the tokens of an encoder; see `num_query_blocks`."""
        raise NotImplementedError

    def attention_weights(
        self,
        features: Float[Tensor, "batch patches features"],  # noqa: ARG002
        block: int,  # noqa: ARG002
    ) -> Float[Tensor, "batch heads tokens tokens"]:
        """Return the attention from each token to each in one of `num_attention_blocks`.

        Raises:
            UserError: If the decoder has no attention.
        """
        raise UserError("this decoder has no attention maps; ask for part='encoder'")

    def before_step(self, progress: float) -> None:
        """Prepare a training step, at a point of the run from 0 (its start) to 1 (its end)."""

    def before_pass(self, draw: DrawUniform) -> None:
        """Draw what is random in a forward pass of a training step."""

    def discard_step(self) -> None:
        """Forget what forward passes left behind for `after_step`; they will be done again."""

    def after_step(self, all_reduce: AllReduce, *, is_finite: bool) -> None:
        """Finish a training step; `is_finite` says whether it moved the weights."""


def build_decoder(settings: DecoderSettings, encoder: EncoderSpec, num_classes: int) -> Decoder:
    """Build a decoder for an encoder, with random weights."""
    module, _, name = settings.implementation.partition(".")
    decoder = getattr(import_module(f"segmenter.model.decoders.{module}"), name)
    return decoder(settings, encoder, num_classes)


def evenly_spaced(count: int, depth: int) -> list[int]:
    """Return `count` evenly spaced block indices of an encoder; the last block is always one."""
    return [depth * (number + 1) // count - 1 for number in range(count)]
