"""`segmenter prune`: a smaller model, and how much it keeps of what the whole one says."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segmenter.checkpoints import load, save
from segmenter.checkpoints.license import terms_note
from segmenter.checkpoints.open import resolve
from segmenter.data.decoding.decode import decode_image
from segmenter.data.pairing.find_images import walk_inputs
from segmenter.data.trained_on import own_list, write_own_list
from segmenter.errors import UserError
from segmenter.extras.pruning.least_squares_pruning import choose_blocks, prune
from segmenter.files.outputs import check_new
from segmenter.inference.resizing import resize_image, view_sizes
from segmenter.model import Segmenter
from segmenter.options import Device, SmallerModel
from segmenter.runtimes.devices import device_line, usable_device
from segmenter.runtimes.parity import best_class_agreement

_HELD_OUT = 5
"""One image in this number is not fitted to, and shows what is lost."""
_TO_CHOOSE_BY = 8
"""Images by which blocks are chosen; the order of their losses shows with few."""


def run_pruning(
    source: str,
    images: Sequence[str],
    out: Path,
    smaller: SmallerModel,
    device: Device,
    *,
    overwrite: bool,
) -> None:
    """Prune a model, write it, and say what became of it.

    Raises:
        UserError: If model, images or what is asked for do not allow it.
    """
    for path in (out, own_list(out)):
        check_new(path, overwrite=overwrite)
    _check(smaller)
    torch_device = usable_device(device.device)
    model = load(source, torch_device)
    print(device_line(torch_device, device.device))
    spec = model.spec
    spec.require_files()
    paths = _spread(sorted({path for path, _ in walk_inputs(images)}), smaller.max_images)
    if len(paths) < 2:
        raise UserError("give at least 2 images: one for the fit, one to measure the loss")
    held_out = paths[_HELD_OUT - 1 :: _HELD_OUT] or paths[-1:]
    fitted = [path for path in paths if path not in held_out]
    ratio = spec.encoder.mlp_ratio if smaller.mlp_ratio is None else smaller.mlp_ratio
    blocks = smaller.blocks
    if smaller.depth is not None:
        shown = _shown(model, _spread(fitted, _TO_CHOOSE_BY))
        blocks = choose_blocks(model, shown, smaller.depth, ratio)
    kept = list(range(spec.encoder.depth) if blocks is None else blocks)
    small = prune(model, _shown(model, fitted), kept, ratio)
    change = f"Pruned to blocks {', '.join(map(str, kept))} and an MLP ratio of {ratio:g}."
    provenance = f"{spec.provenance} {change}".strip()
    small.spec = small.spec.model_copy(update={"provenance": provenance})
    save(small, out, overwrite=overwrite)
    write_own_list(out, fitted, resolve(source), overwrite=overwrite)

    before, after = (sum(each.numel() for each in m.parameters()) for m in (model, small))
    print(f"blocks that stay: {', '.join(map(str, kept))} of {spec.encoder.depth}")
    print(f"parameters: {before / 1e6:.2f} M before, {after / 1e6:.2f} M now")
    kept_labels = best_class_agreement(model, small, _shown(model, held_out))
    print(
        f"fitted to {len(fitted)} images; in those held out ({len(held_out)}), "
        f"{kept_labels:.1%} of the patches keep their label"
    )
    if note := terms_note(str(out), spec.license):
        print(note)
    print(f"written: {out}; next: `segmenter evaluate`, or `segmenter train --from`")


def _check(smaller: SmallerModel) -> None:
    """Refuse what does not say which blocks stay, or says it twice."""
    if smaller.depth is not None and smaller.blocks is not None:
        raise UserError("give --depth or --blocks, not both")
    if (smaller.depth, smaller.blocks, smaller.mlp_ratio) == (None, None, None):
        raise UserError("nothing to prune: give --depth, --blocks or --mlp-ratio")
    if smaller.max_images < 2:
        raise UserError(f"--max-images is at least 2, got {smaller.max_images}")


def _spread(paths: list[Path], count: int) -> list[Path]:
    """Return this number of images, evenly spread, or all."""
    count = min(count, len(paths))
    return [paths[number * len(paths) // count] for number in range(count)]


def _shown(model: Segmenter, paths: Iterable[Path]) -> Iterator[Tensor]:
    """Yield images as the model's protocol first shows them; one random window of several."""
    protocol = model.spec.protocol
    device = next(model.parameters()).device
    for number, path in enumerate(paths):
        classes = model.spec.classes
        decoded = decode_image(path, image_bits=classes.image_bits, image=classes.image)
        sizes = view_sizes(decoded.shape[:2], protocol)[0]
        resized = resize_image(decoded, sizes.image, protocol.resize_dtype, protocol.resize_filter)
        pixels = resize_image(resized, sizes.view, "float32")[:]
        if protocol.window is not None:
            rng = np.random.default_rng(number)
            top, left = (
                int(rng.integers(max(side - protocol.window, 0) + 1)) for side in sizes.view
            )
            pixels = pixels[top : top + protocol.window, left : left + protocol.window]
        image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
        yield model.normalize(image.to(device))
