"""Annotations of Pascal Context."""

import numpy as np


def pack(region: np.ndarray) -> str:
    """COCO's text for a region, one number after the other, as its C code writes it."""
    runs, current, length = [], False, 0
    for pixel in region.T.ravel().tolist():
        if pixel == current:
            length += 1
        else:
            runs.append(length)
            current, length = pixel, 1
    runs.append(length)
    text = ""
    for place, run in enumerate(runs):
        number = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            code = number & 31
            number >>= 5
            more = number != (-1 if code & 16 else 0)
            text += chr((code | 32 if more else code) + 48)
    return text


def annotation(image: int, category: int, region: np.ndarray) -> dict:
    packed = {"size": list(region.shape), "counts": pack(region)}
    return {"image_id": image, "category_id": category, "segmentation": packed}
