"""Telling images that are alike: equal pixels by a digest, similar ones by a perceptual hash.

The hash is the field's pHash with 256 bits: a grey copy of 64 x 64 pixels, its cosine transform,
and of the 16 x 16 lowest frequencies whether each is above their median. Size, compression and
brightness hardly change it. A mirrored image has a hash of its own, kept beside the first.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt8
from numpy import ndarray

NUM_BITS = 256
MAX_DISTANCE = 32
"""Images whose hashes differ in at most this number of bits are alike; see docs/how-to/check.md."""

_REDUCED_SIDE, _NUM_FREQUENCIES = 64, 16
_MIN_CONTRAST = 2.0
"""Standard deviation, of 255, under which an image is too even to have a meaningful hash."""
_BLOCK = 2048
"""Images compared with as many others at a time: 16 MB a table."""


@dataclass(frozen=True)
class Fingerprint:
    """Fingerprint by which images are compared."""

    digest: bytes
    """Digest of all pixels: equal only for equal images."""
    bits: UInt8[ndarray, " bytes"] | None
    """The perceptual hash, packed; None for an image of one colour."""
    mirrored_bits: UInt8[ndarray, " bytes"] | None
    """The perceptual hash of the mirrored image."""


class Match(NamedTuple):
    """An image and the one it is most like, by their places in a sequence."""

    place: int
    other: int
    """Before `place`."""
    distance: int
    """Bits in which the hashes differ."""
    is_mirrored: bool


def fingerprint(
    image: UInt8[ndarray, "height width 3"],
    pixels: Shaped[ndarray, "height width channels"] | None = None,
) -> Fingerprint:
    """Compute the fingerprint of an image, upright and RGB.

    Args:
        image: The picture that is hashed.
        pixels: All values of the image; None: the picture itself.
    """
    digest = digest_pixels(image if pixels is None else pixels)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    size = (_REDUCED_SIDE, _REDUCED_SIDE)
    reduced = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    if reduced.std() < _MIN_CONTRAST:
        return Fingerprint(digest, None, None)
    return Fingerprint(digest, _hash(reduced), _hash(reduced[:, ::-1].copy()))


def digest_pixels(image: Shaped[ndarray, "height width channels"]) -> bytes:
    """16 bytes that only images of the same size and pixels share."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def find_alike(
    fingerprints: Sequence[Fingerprint],
    splits: Sequence[int],
    *,
    across: bool,
    max_distance: int = MAX_DISTANCE,
) -> list[Match]:
    """For each image, the earlier one it is most like, as it is or mirrored, if it is like any.

    Every image is compared with every other, in blocks, and the nearest is kept: memory does not
    grow with the number of pairs. Images of equal pixels are not compared.

    Args:
        fingerprints: Fingerprints of the images, those of one split after those of the other.
        splits: The split of each.
        across: Compare images of different splits only; else of the same split only.
        max_distance: Most bits that may differ.
    """
    places = [place for place, each in enumerate(fingerprints) if each.bits is not None]
    bits = _signs([fingerprints[place].bits for place in places])
    mirrored = _signs([fingerprints[place].mirrored_bits for place in places])
    split = np.array([splits[place] for place in places])
    numbers: dict[bytes, int] = {}
    equal = np.array(
        [numbers.setdefault(fingerprints[place].digest, len(numbers)) for place in places]
    )
    matches = []
    for start in range(0, len(places), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(places)))
        best = np.full(len(rows), 2 * max_distance + 1, dtype=np.float32)
        found = np.full((len(rows), 2), -1)
        for first in range(0, start + len(rows), _BLOCK):
            columns = np.arange(first, min(first + _BLOCK, len(places)))
            others = bits[columns].T.astype(np.float32)
            # Twice the bits that differ.
            plain = NUM_BITS - bits[rows].astype(np.float32) @ others
            turned = NUM_BITS - mirrored[rows].astype(np.float32) @ others
            distance = np.minimum(plain, turned)
            is_other_split = split[rows][:, None] != split[columns]
            barred = (columns >= rows[:, None]) | (equal[rows][:, None] == equal[columns])
            distance[barred | (is_other_split != across)] = np.inf
            nearest = distance.argmin(axis=1)
            row = np.arange(len(rows))
            is_better = distance[row, nearest] < best
            best[is_better] = distance[row, nearest][is_better]
            is_mirrored = turned[row, nearest] < plain[row, nearest]
            found[is_better] = np.stack([columns[nearest], is_mirrored], axis=1)[is_better]
        for row, (column, is_mirrored) in enumerate(found.tolist()):
            if column >= 0:
                pair = places[start + row], places[column]
                matches.append(Match(*pair, int(best[row]) // 2, bool(is_mirrored)))
    return matches


def _hash(reduced: Float32[ndarray, "side side"]) -> UInt8[ndarray, " bytes"]:
    frequencies = cv2.dct(reduced)[:_NUM_FREQUENCIES, :_NUM_FREQUENCIES].ravel()
    frequencies[0] = 0  # the mean: brightness
    above: Bool[ndarray, " bits"] = frequencies > np.median(frequencies)
    return np.packbits(above)


def _signs(packed: Sequence[UInt8[ndarray, " bytes"] | None]) -> ndarray:
    """Bits as +1 and -1, so that a product of matrices counts those that agree."""
    table = np.array(packed, dtype=np.uint8).reshape(len(packed), NUM_BITS // 8)
    return np.unpackbits(table, axis=1).astype(np.int8) * 2 - 1
