"""Colours of classes, as exports write them."""

import re

from segmenter.classes import Color

_HEX = re.compile(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})?")


def read_hex(text: str) -> Color | None:
    """Return the colour of `#2a6fca`; None if the text is none."""
    match = _HEX.fullmatch(text.strip())
    if match is None:
        return None
    red, green, blue = (int(match[place], 16) for place in (1, 2, 3))
    return red, green, blue
