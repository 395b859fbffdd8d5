"""The paper's baseline decoder: one linear layer on each patch token (section 3.2)."""

from jaxtyping import Float
from torch import Tensor, nn

from segmenter.model.encoder import Grid
from segmenter.model.transformer import initialize_linear_and_norm


class LinearDecoder(nn.Module):
    """Score each patch token by one linear layer."""

    num_read = 1
    guests = None
    drop_rates: tuple[float, ...] = ()

    def __init__(self, num_classes: int, encoder_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(encoder_dim, num_classes)
        initialize_linear_and_norm(self)

    def forward(
        self,
        tokens: Float[Tensor, "batch patches dim"],
        grid: Grid,
        branch_scales: Float[Tensor, "branches batch"] | None = None,  # noqa: ARG002 - has no branch
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Score each patch; `grid` is the (rows, columns) that `tokens` was flattened from."""
        return self.project(tokens).transpose(1, 2).unflatten(2, grid)

    @property
    def class_embeddings(self) -> Float[Tensor, "classes dim"]:
        """What patches are compared with: the rows of the linear layer."""
        return self.project.weight
