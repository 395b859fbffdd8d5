"""`segmenter prune`: a smaller model, and how much it keeps of what the whole one says."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segmenter.checkpoints import load, save
from segmenter.data.decode import decode_image
from segmenter.errors import UserError
from segmenter.inference.find_images import find_images
from segmenter.inference.views import resize_photo, view_sizes
from segmenter.model import Segmenter
from segmenter.model.pruning import choose_blocks, prune
from segmenter.outputs import check_new

_HELD_OUT = 5
"""Every so many photos one is not fitted to, and shows what is lost."""
_TO_CHOOSE_BY = 8
"""Photos by which blocks are chosen; the order of their losses shows with few."""


def run_pruning(
    source: str,
    photos: Sequence[str],
    out: Path,
    *,
    depth: int | None,
    blocks: Sequence[int] | None,
    mlp_ratio: float | None,
    max_photos: int,
    device: str,
    overwrite: bool,
) -> None:
    """Prune a model, write it, and say what became of it.

    Raises:
        UserError: If model, photos or what is asked for do not allow it.
    """
    check_new(out, overwrite=overwrite)
    if depth is not None and blocks is not None:
        raise UserError("give --depth, or say which blocks stay by --blocks, not both")
    if depth is None and blocks is None and mlp_ratio is None:
        raise UserError("nothing to prune: give --depth or --blocks, or --mlp-ratio, or both kinds")
    if max_photos < 2:
        raise UserError(f"--max-photos is at least 2, got {max_photos}")
    model = load(source, device)
    spec = model.spec
    if spec.encoder.in_channels != 3:
        raise UserError(f"photos have 3 channels, this model takes {spec.encoder.in_channels}")
    paths = [path for path, _ in find_images(photos)]
    if len(paths) < 2:
        raise UserError("one photo is not enough: one is fitted to, another shows what is lost")
    step = max(1.0, len(paths) / max_photos)
    images = [
        _shown(model, path, number)
        for number, path in enumerate(paths[int(i * step)] for i in range(int(len(paths) / step)))
    ]
    held_out = images[_HELD_OUT - 1 :: _HELD_OUT] or images[-1:]
    fitted = [image for image in images if not any(image is other for other in held_out)]
    ratio = spec.encoder.mlp_ratio if mlp_ratio is None else mlp_ratio
    if depth is not None:
        chosen_by = fitted[:: -(-len(fitted) // _TO_CHOOSE_BY)]
        blocks = choose_blocks(model, chosen_by, depth, ratio)
    kept = range(spec.encoder.depth) if blocks is None else blocks
    small = prune(model, fitted, kept, ratio)
    save(small, out, overwrite=overwrite)

    before, after = (sum(each.numel() for each in m.parameters()) for m in (model, small))
    print(f"blocks that stay: {', '.join(map(str, kept))} of {spec.encoder.depth}")
    print(f"parameters: {before / 1e6:.2f} M before, {after / 1e6:.2f} M now")
    print(
        f"fitted to {len(fitted)} photos; in those held out ({len(held_out)}), "
        f"{same_labels(model, small, held_out):.1%} of the patches keep their label"
    )
    print(f"written: {out}; `segmenter evaluate` scores it, `segmenter train --from` goes on")


@torch.no_grad()
def same_labels(one: Segmenter, other: Segmenter, images: Sequence[Tensor]) -> float:
    """Share of the patches that two models give the same label."""
    same = total = 0
    for image in images:
        labels, others = (m.patch_logits(image).argmax(dim=1) for m in (one, other))
        same += int((labels == others).sum())
        total += labels.numel()
    return same / total


def _shown(model: Segmenter, path: Path, number: int) -> Tensor:
    """A photo as the model's protocol shows it; of several windows one, another in each photo."""
    protocol = model.spec.protocol
    photo = decode_image(path)
    view = view_sizes(photo.shape[:2], protocol)[0].view
    pixels = resize_photo(photo, view, "float32")[:]
    if protocol.window is not None:
        rng = np.random.default_rng(number)
        top, left = (int(rng.integers(max(side - protocol.window, 0) + 1)) for side in view)
        pixels = pixels[top : top + protocol.window, left : left + protocol.window]
    image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
    return model.normalize(image.to(next(model.parameters()).device))
