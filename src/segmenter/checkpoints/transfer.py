"""Starting a new model from a trained one: the encoder is fitted, the decoder may be new."""

from torch.nn import functional as F

from segmenter.checkpoints.encoder_weights import inflate_patch_embedding
from segmenter.checkpoints.own import check_fit
from segmenter.model.segmenter import Segmenter

# Their rows are single classes, and mean nothing for other ones.
_PER_CLASS = ("decoder.project.", "decoder.class_tokens", "decoder.norm_logits.")


def start_from(model: Segmenter, start: Segmenter, source: str) -> str:
    """Copy into `model` what it shares with `start`.

    The whole encoder is copied: blocks beyond the new depth are left out, the position table is
    resized, the patch embedding inflated to other channels. Of the decoder all that has the same
    name and shape is copied, but what speaks of single classes only if the classes are the same.

    Args:
        model: Whose parameters are replaced.
        start: A trained model.
        source: What to call it.

    Returns:
        One line that says what was kept, what starts fresh, and under which terms.

    Raises:
        UserError: If the encoders do not fit; naming every tensor that does not.
    """
    wanted = model.state_dict()
    spec = model.spec.encoder
    weights = start.state_dict()
    encoder = {
        name: tensor
        for name, tensor in weights.items()
        if name.startswith("encoder.") and _block(name) < spec.depth
    }
    table = "encoder.position_table"
    if table in encoder and table in wanted and encoder[table].shape != wanted[table].shape:
        encoder[table] = F.interpolate(
            encoder[table], wanted[table].shape[2:], mode=spec.table_resize, align_corners=False
        )
    embedding = "encoder.patch_embed.weight"
    encoder[embedding] = inflate_patch_embedding(encoder[embedding], spec.in_channels)
    check_fit({n: t for n, t in wanted.items() if n.startswith("encoder.")}, encoder, source)

    same_classes = start.spec.classes.names == model.spec.classes.names
    decoder = {
        name: tensor
        for name, tensor in weights.items()
        if name.startswith("decoder.")
        and name in wanted
        and wanted[name].shape == tensor.shape
        and (same_classes or not name.startswith(_PER_CLASS))
    }
    kept = encoder | decoder
    model.load_state_dict(kept, strict=False)
    fresh = [name for name in wanted if name not in kept]
    said = f"starting from {source}: {len(kept)} tensors kept"
    if fresh:
        said += f", {len(fresh)} start fresh: {', '.join(fresh)}"
    if start.spec.license:
        said += f"; terms of what grows from it: {start.spec.license}"
    return said


def _block(name: str) -> int:
    """The number of the encoder block that a tensor belongs to; -1 outside of blocks."""
    parts = name.split(".")
    return int(parts[2]) if parts[1] == "blocks" else -1
