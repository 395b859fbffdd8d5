"""Starting a new model from a trained one: the encoder is fitted, the decoder may be new."""

from segmenter.checkpoints.encoders.matching_weights import account, choose
from segmenter.checkpoints.encoders.patch_embedding import fit_patch_embedding, tell_resize
from segmenter.model.encoder import resize_table
from segmenter.model.segmenter import Segmenter

# Their rows are single classes, and mean nothing for other ones.
_PER_CLASS = (
    "decoder.project.",
    "decoder.class_tokens",
    "decoder.norm_logits.",
    "decoder.classify.",
    "decoder.head.classify.",
)


def start_from(
    model: Segmenter,
    start: Segmenter,
    source: str,
    *,
    partial: bool = False,
) -> str:
    """Copy into `model` what it shares with `start`.

    The whole encoder is copied: blocks beyond the new depth are left out, the position table is
    resized, and the patch embedding fitted to another patch and to other channels. Of the decoder
    all that has the same name and shape is copied, but what speaks of single classes only if the
    classes are the same.

    Args:
        model: Whose parameters are replaced.
        start: A trained model.
        source: What to call it.
        partial: Of the encoder, too, take only what has the same name and shape.

    Returns:
        One line that says what was kept, what starts fresh, and what is left unused.

    Raises:
        UserError: If the encoders do not fit, naming every tensor that does not; with `partial`,
            if nothing of them fits.
    """
    wanted = model.state_dict()
    spec = model.spec.encoder
    weights = start.state_dict()
    decoder = {name: tensor for name, tensor in weights.items() if name.startswith("decoder.")}
    encoder = {name: tensor for name, tensor in weights.items() if name.startswith("encoder.")}
    table, embedding = "encoder.position_table", "encoder.patch_embed.weight"
    if table in encoder and spec.table_grid is not None:
        encoder[table] = resize_table(encoder[table], spec.table_grid, spec)
    encoder[embedding] = fit_patch_embedding(encoder[embedding], spec)
    wanted_encoder = {n: tensor for n, tensor in wanted.items() if n.startswith("encoder.")}
    kept = choose(wanted_encoder, encoder, source, partial=partial)

    same_classes = start.spec.classes.names == model.spec.classes.names
    kept |= {
        name: tensor
        for name, tensor in decoder.items()
        if name in wanted
        and wanted[name].shape == tensor.shape
        and (same_classes or not name.startswith(_PER_CLASS))
    }
    said = account(source, wanted, kept, [*encoder, *decoder])
    said += tell_resize(weights[embedding], spec)
    model.load_state_dict(kept, strict=False)
    return said
