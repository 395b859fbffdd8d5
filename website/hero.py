"""Draw the picture of Home and README: an image beside its classes, legible on a phone.

    python -m website.hero

predicts an example with `street`, and writes `docs/images/hero.jpg`.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import segmenter
from segmenter.drawing import overlay, recolored
from segmenter.text import percent
from website.links import REPOSITORY

IMAGE = REPOSITORY / "examples/gallery/campus.jpg"
OUT = REPOSITORY / "docs/images/hero.jpg"
_WIDTH = 1200
_GAP = 12
_TEXT = 44
"""Height of the text in pixels: 14 if the picture is 390 pixels wide."""
_LEAST_SHARE = 0.01


def main() -> None:
    """Draw and write the picture."""
    segmentation = segmenter.Predictor("street").segment(IMAGE)
    classes = recolored(segmentation.classes, "distinct")
    image = np.asarray(Image.open(IMAGE).convert("RGB"))
    drawn = overlay(image, segmentation.labels, classes.colors, opacity=0.7)
    side = (_WIDTH - _GAP) // 2
    height = round(side * image.shape[0] / image.shape[1])
    shares = {name: share for name, share in segmentation.shares.items() if share >= _LEAST_SHARE}
    colors = {each.name: each.color for each in classes.classes}
    entries = [(f"{name} {percent(share, 0)} %", colors[name]) for name, share in shares.items()]
    rows = _rows([entry for entry, _ in entries])
    picture = Image.new("RGB", (_WIDTH, height + round((1.5 * len(rows) + 0.5) * _TEXT)), "white")
    for left, part in ((0, image), (side + _GAP, drawn)):
        picture.paste(
            Image.fromarray(part).resize((side, height), Image.Resampling.LANCZOS), (left, 0)
        )
    _draw_legend(picture, height, entries, rows)
    picture.save(OUT, quality=88)


def _rows(texts: list[str]) -> list[list[int]]:
    """Divide the entries of a legend into rows that fit."""
    rows: list[list[int]] = [[]]
    used = 0.0
    for index, text in enumerate(texts):
        if used + _width(text) > _WIDTH and rows[-1]:
            rows.append([])
            used = 0.0
        rows[-1].append(index)
        used += _width(text)
    return rows


def _width(text: str) -> float:
    return ImageFont.load_default(_TEXT).getlength(text) + 2.6 * _TEXT


def _draw_legend(
    picture: Image.Image,
    top: int,
    entries: list[tuple[str, tuple[int, int, int]]],
    rows: list[list[int]],
) -> None:
    canvas = ImageDraw.Draw(picture)
    for line, row in enumerate(rows):
        left, middle = 0.0, top + round((1.5 * line + 1) * _TEXT)
        for index in row:
            text, color = entries[index]
            box = (left, middle - _TEXT // 2, left + _TEXT, middle + _TEXT // 2)
            canvas.rectangle(box, fill=color, outline="#444")
            canvas.text(
                (left + 1.4 * _TEXT, middle),
                text,
                "#111",
                ImageFont.load_default(_TEXT),
                anchor="lm",
            )
            left += _width(text)


if __name__ == "__main__":
    main()
