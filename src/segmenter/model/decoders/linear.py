"""The paper's baseline decoder: one linear layer on each patch token (section 3.2)."""

from jaxtyping import Float
from torch import Tensor, nn

from segmenter.model.decoders import LinearDecoderSpec
from segmenter.model.decoders.decoder import Decoder
from segmenter.model.encoder import Grid
from segmenter.model.spec import EncoderSpec
from segmenter.model.transformer import initialize_linear_and_norm


class LinearDecoder(Decoder):
    """Score each patch token by one linear layer: `s = W z + b`."""

    def __init__(
        self,
        spec: LinearDecoderSpec,  # noqa: ARG002 - nothing to set
        encoder: EncoderSpec,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.out_indices = (encoder.depth - 1,)
        self.project = nn.Linear(encoder.embed_dim, num_classes)
        initialize_linear_and_norm(self)

    def forward(
        self,
        features: Float[Tensor, "batch patches dim"],
        grid: Grid,
        drop_path_scales: Float[Tensor, "branches batch"] | None = None,  # noqa: ARG002 - no branch
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score each patch."""
        return self.project(features).transpose(1, 2).unflatten(2, grid)

    @property
    def class_embeddings(self) -> Float[Tensor, "classes dim"]:
        """The rows of the linear layer."""
        return self.project.weight
