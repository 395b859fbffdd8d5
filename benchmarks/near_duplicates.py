"""How far the hashes of copies, and of different images, lie apart: what the threshold rests on.

    python benchmarks/near_duplicates.py data/camvid [results/near-duplicates.json]

Prints, for changed copies of every eighth image, in how many of 256 bits their hash differs from
that of the original; and for each image the distance to its nearest in another split.
"""

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy import ndarray
from results_file import save

from segmenter.data.decoding.decode import decode_image
from segmenter.data.folder import open_folder
from segmenter.extras.checking.fingerprint import MAX_DISTANCE, NUM_BITS, find_alike, fingerprint


def _jpeg(quality: int) -> Callable[[ndarray], ndarray]:
    return lambda image: simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(image, quality))


def _resized(factor: float) -> Callable[[ndarray], ndarray]:
    return lambda image: cv2.resize(image, None, fx=factor, fy=factor)


CHANGES: dict[str, Callable[[ndarray], ndarray]] = {
    "JPEG quality 75": _jpeg(75),
    "JPEG quality 30": _jpeg(30),
    "JPEG quality 10": _jpeg(10),
    "twice the size": _resized(2),
    "half the size": _resized(0.5),
    "a quarter of the size": _resized(0.25),
    "mirrored": lambda image: image[:, ::-1],
    "mirrored, half the size, quality 75": lambda image: _jpeg(75)(
        np.ascontiguousarray(_resized(0.5)(image)[:, ::-1])
    ),
    "20 % brighter": lambda image: np.clip(image * 1.2, 0, 255).astype(np.uint8),
    "1 % cut from each side": lambda image: _cut(image, 0.01),
    "2 % cut from each side": lambda image: _cut(image, 0.02),
}


def _cut(image: ndarray, share: float) -> ndarray:
    rows, columns = round(share * image.shape[0]), round(share * image.shape[1])
    return image[rows:-rows, columns:-columns]


def main(root: Path, out: Path | None = None) -> None:
    """Measure and print both tables."""
    data = open_folder(root)
    splits = [(place, item) for place, name in enumerate(data.splits) for item in data.items(name)]
    images = [decode_image(item.image) for _, item in splits]
    prints = [fingerprint(image) for image in images]
    print(f"bits of {NUM_BITS} that differ; the threshold is {MAX_DISTANCE}\n")
    copies: list[dict[str, object]] = []
    for name, change in CHANGES.items():
        distances = []
        for image, original in list(zip(images, prints, strict=True))[::8]:
            copy = fingerprint(np.ascontiguousarray(change(image)))
            (match,) = find_alike([original, copy], [0, 1], across=True, max_distance=NUM_BITS)
            distances.append(match.distance)
        found, median = np.mean(np.array(distances) <= MAX_DISTANCE), np.median(distances)
        print(f"{name:36} median {median:3.0f}  most {max(distances):3}  found {found:.0%}")
        bits = {"median_bits": int(median), "most_bits": max(distances)}
        copies.append({"copy": name, **bits, "found": float(found)})
    results: dict[str, object] = {"copies": copies}
    neighbours = results["neighbours"] = {}
    places = [place for place, _ in splits]
    for across, what in ((True, "other_split"), (False, "same_split")):
        matches = find_alike(prints, places, across=across, max_distance=NUM_BITS)
        nearest = np.array([match.distance for match in matches])
        counts, edges = np.histogram(nearest, bins=[0, 8, 16, 24, 33, 48, 60, 72, 84, 96, 128])
        print(f"\n{what}: {len(nearest)} images, nearest {nearest.min()}")
        bits = [f"{low}-{high - 1}" for low, high in pairwise(edges)]
        neighbours[what] = dict(zip(bits, counts.tolist(), strict=True))
        print(neighbours[what])
    if out:
        save(out, results, precision="integers")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(Path, sys.argv[2:]))
