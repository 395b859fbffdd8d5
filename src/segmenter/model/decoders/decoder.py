"""What every decoder is: the interface that the model, training and the viewers rely on."""

from collections.abc import Callable, Sequence
from importlib import import_module

from jaxtyping import Float
from torch import Tensor, nn

from segmenter.errors import UserError
from segmenter.model.decoders import DecoderSettings
from segmenter.model.encoder import EncoderParts, Grid, intermediate_features, run_blocks
from segmenter.model.spec import EncoderSpec
from segmenter.model.transformer import Rotation

AllReduce = Callable[[Tensor], Tensor]
"""Sums a tensor over the processes of a run."""


class Decoder(nn.Module):
    """Turn an encoder's features into one logit for each class and patch.

    A new decoder is a subclass with `forward` and `class_embeddings`; its settings stand in
    `model/decoders/__init__.py`. What it does not override stays as it is here.
    """

    out_indices: Sequence[int]
    """Blocks of the encoder whose features it takes, counted from 0, in rising order."""
    drop_rates: Sequence[float] = ()
    """Stochastic depth of each residual branch, in the order of `drop_path_scales`."""
    num_attention_blocks = 0
    """Blocks of its own with attention between class tokens and patches."""
    num_query_blocks = 0
    """The encoder's last blocks that its class tokens go through with the patches."""

    def forward(
        self,
        features: Float[Tensor, "batch tokens features"],
        grid: Grid,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score each patch, or each of its cells, from what `encode` returned."""
        raise NotImplementedError

    @property
    def class_embeddings(self) -> Float[Tensor, "classes dim"]:
        """What patches are compared with: one vector for each class."""
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

    def tokens_before(
        self,
        encoder: EncoderParts,
        images: Float[Tensor, "batch channels height width"],
        block: int,
    ) -> tuple[Float[Tensor, "batch tokens dim"], Grid, Rotation | None]:
        """Return what one block of the encoder is given, counted from 0; see `Encoder.embed`."""
        tokens, grid, rotation = encoder.embed(images)
        return run_blocks(encoder, tokens, range(block), rotation), grid, rotation

    def append_queries(
        self, tokens: Float[Tensor, "batch tokens dim"], rotation: Rotation | None
    ) -> tuple[Float[Tensor, "batch _ dim"], Rotation | None]:
        """Put the class tokens after the tokens of an encoder that they go through."""
        raise NotImplementedError

    def attention_weights(
        self,
        features: Float[Tensor, "batch patches features"],  # noqa: ARG002
        block: int,  # noqa: ARG002
    ) -> Float[Tensor, "batch heads tokens tokens"]:
        """Return how much each token takes from each in one of `num_attention_blocks`.

        Raises:
            UserError: If the decoder has no attention.
        """
        raise UserError("this decoder has no attention; ask for part='encoder'")

    def before_step(self, progress: float) -> None:
        """Prepare a training step, at a point of the run from 0 (its start) to 1 (its end)."""

    def after_step(self, all_reduce: AllReduce, *, is_finite: bool) -> None:
        """Finish a training step; `is_finite` says whether it moved the weights."""


def build_decoder(settings: DecoderSettings, encoder: EncoderSpec, num_classes: int) -> Decoder:
    """Build a decoder for an encoder, with random weights."""
    module, _, name = settings.implementation.partition(".")
    decoder = getattr(import_module(f"segmenter.model.decoders.{module}"), name)
    return decoder(settings, encoder, num_classes)


def evenly_spaced(count: int, depth: int) -> list[int]:
    """Choose blocks of an encoder, counted from 0: evenly spaced, the last one among them."""
    return [depth * (number + 1) // count - 1 for number in range(count)]
