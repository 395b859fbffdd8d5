"""Starting a new model from a trained one: the encoder is fitted, the decoder may be new."""

import torch

from segmenter.checkpoints.encoders.matching_weights import account, choose
from segmenter.checkpoints.encoders.patch_embedding import fit_patch_embedding, tell_resize
from segmenter.model.decoders.decoder import build_decoder
from segmenter.model.encoder import resize_table
from segmenter.model.segmenter import Segmenter


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
    all that has the same name and shape is copied, but tensors with a place for each class only if
    the classes are the same.

    Args:
        model: Whose parameters are replaced.
        start: A trained model.
        source: What to call it.
        partial: Take from the encoder, too, only tensors of the same name and shape.

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
    of_single_classes = set() if same_classes else _of_single_classes(model)
    kept |= {
        name: tensor
        for name, tensor in decoder.items()
        if name in wanted and wanted[name].shape == tensor.shape and name not in of_single_classes
    }
    said = account(source, wanted, kept, [*encoder, *decoder])
    said += tell_resize(weights[embedding], spec)
    model.load_state_dict(kept, strict=False)
    return said


def _of_single_classes(model: Segmenter) -> set[str]:
    """Name the decoder's tensors whose shape depends on the number of classes.

    Their rows are single classes, and mean nothing for other ones.
    """
    spec = model.spec
    with torch.device("meta"):
        other = build_decoder(spec.decoder, spec.encoder, len(spec.classes.classes) + 1)
    shapes = {name: tensor.shape for name, tensor in other.state_dict().items()}
    own = model.decoder.state_dict().items()
    return {f"decoder.{name}" for name, tensor in own if tensor.shape != shapes.get(name)}
