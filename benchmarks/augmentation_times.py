"""CPU time of each augmentation on a crop of 512 x 512, of an RGB image of 8 bits.

    python benchmarks/augmentation_times.py IMAGE

Makes crops of the image, resized to 683 x 512, with and without each operation, in turn, on one
core, and takes the median of the CPU times. For `rotate`, which resamples the crop's window, that
is the difference of whole crops; for the others, the time of the operation alone. `mix` and `paste`
need another crop beside, which is not counted. docs/how-to/augment.md has the table.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from PIL import Image
from results_file import save

from segmenter.data.mixing import mix_in, paste_class
from segmenter.data.operations import CHANGES, TURNS, WARPS, change_pixels, cut_out, turn, warp
from segmenter.data.sample import Sample
from segmenter.data.transforms import CropTransform
from segmenter.recipe import AugmentRecipe

SIDE, IGNORED = 512, 255
AUGMENT = AugmentRecipe(crop_size=SIDE, scale=(1.0, 1.0), flip=0.0, color="none", rotate_degrees=45)
FILL = np.full(3, 120)


def main() -> None:
    """Time each operation, and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("--rounds", type=int, default=60)
    given = parser.parse_args()
    cv2.setNumThreads(0)
    pixels = np.asarray(Image.open(given.image).convert("RGB").resize((683, SIDE)))
    sample = Sample(pixels, (pixels[:, :, 0] // 32).astype(np.uint8))
    found = {name: timed(operation, given.rounds) for name, operation in operations(sample).items()}
    found["rotate"] -= found.pop("crop")
    save(Path("results/augmentation-times.json"), found, precision="uint8")


def operations(sample: Sample) -> dict[str, Callable[[np.random.Generator], object]]:
    """Return each operation, as a function of random numbers alone."""
    image, labels = crop = Sample(*(np.ascontiguousarray(part[:, :SIDE]) for part in sample))
    other = Sample(image[::-1].copy(), labels[::-1].copy())
    plain = CropTransform(AUGMENT, (120.0,) * 3, IGNORED)
    turned = CropTransform(AUGMENT.model_copy(update={"rotate": 1.0}), (120.0,) * 3, IGNORED)
    return {
        "crop": lambda rng: plain(sample, rng),
        "rotate": lambda rng: turned(sample, rng),
        **{row.name: lambda rng, row=row: turn(image, labels, {row.name: rng}) for row in TURNS},
        **{
            row.name: lambda rng, row=row: warp(image, labels, AUGMENT, IGNORED, {row.name: rng})
            for row in WARPS
        },
        **{
            row.name: lambda rng, row=row: change_pixels(image, AUGMENT, FILL, {row.name: rng})
            for row in CHANGES
        },
        "cutout": lambda rng: cut_out(image, labels, AUGMENT, (FILL, IGNORED), rng),
        "mix": lambda rng: mix_in(crop, other, AUGMENT.mix_area, rng),
        "paste": lambda _: paste_class(crop, other, int(labels[0, 0])),
    }


def timed(operation: Callable[[np.random.Generator], object], rounds: int) -> float:
    """Return the median CPU time, in milliseconds."""
    times = []
    for seed in range(rounds):
        rng = np.random.default_rng(seed)
        start = time.process_time()
        operation(rng)
        times.append(1000 * (time.process_time() - start))
    return median(times)


if __name__ == "__main__":
    main()
