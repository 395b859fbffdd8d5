"""Text from outside, made visible: what would hide, reorder or steer it is shown by its number.

Names of classes and files, licences and scores come from whoever made the model or the data. In
them a terminal obeys escape codes, and a reader is misled by marks that reverse the order of
letters or have no width.
"""

import re
import unicodedata
from typing import Literal

_ASCII = re.compile(r"[ -~]*")
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2065\u2800\u3164\uffa0")
"""Letters and marks without ink."""
_ZERO_WIDTH_JOINERS = "\u200c\u200d"
_SYMBOLS = frozenset({"So", "Sk"})
_COLORS = re.compile("\x1b\\[[0-9;]*m")
LEAST_SHOWN_SHARE = 0.0005
"""A smaller share would be written as 0.0 per cent."""
_STYLES = re.compile("\x1b\\[[0-9;?]*[A-Za-z]|\x1b\\]8;[^\x00-\x1f]*\x1b\\\\")  # cursor, links


def visible(text: str, *, keep: str = "") -> str:
    r"""Show as `\x1b`, `\u202e` or `\U000e0041` what has no ink of its own, or hides other text.

    These are control characters, marks of direction, characters of no width, line separators,
    halves of surrogate pairs (bytes of a file name that are not UTF-8) and noncharacters. Letters
    of all scripts, accents and emoji stay as they are; so do joiners inside emoji, and those that
    Arabic and the scripts of India are spelled with.

    Args:
        text: Any text; the result is the same if it is made visible again.
        keep: Characters that stay although they belong to those, such as a newline.
    """
    lines = text.split("\n") if "\n" in keep else (text,)
    if all(_ASCII.fullmatch(line) for line in lines):
        return text
    last = len(text) - 1
    return "".join(
        character
        if character in keep
        or not _is_hidden(
            character, text[index - 1] if index else "", text[index + 1] if index < last else ""
        )
        else ascii(character)[1:-1]
        for index, character in enumerate(text)
    )


def percent(share: float | None, digits: int = 2, sign: Literal["", "+"] = "") -> str:
    """Write a share in per cent, without the unit; a dash for None.

    Args:
        share: 0 to 1, or a difference of shares.
        digits: After the point.
        sign: `+` where differences are meant.
    """
    return "-" if share is None else f"{100 * share:{sign}.{digits}f}"


def span(ends: tuple[float, float] | None, digits: int = 2, sign: Literal["", "+"] = "") -> str:
    """Write both ends of an interval of shares, as `percent` does."""
    if ends is None:
        return "-"
    return " to ".join(percent(end, digits, sign) for end in ends)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, with thousands apart: "1 image", "1,200 images"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Write a time in its two largest units, such as `45 s`, `12 min` or `1 h 20 min`."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def for_page(value: object) -> object:
    """Return a value as a page shows it: text made visible, markup and numbers unchanged.

    It is the `finalize` of each Jinja environment.
    """
    return visible(value, keep="\n\t") if type(value) is str else value


def for_terminal(text: str, obeyed: Literal["none", "colors", "styles"] = "none") -> str:
    """Text that a terminal prints but does not obey.

    Args:
        text: What is to be printed; its lines stay.
        obeyed: The escape codes that stay: none, those of colours, which libraries log with, or all
            that rich styles a terminal with.
    """
    if obeyed == "none":
        return visible(text, keep="\n\t")
    codes = _COLORS if obeyed == "colors" else _STYLES
    parts = [visible(part, keep="\n\t\r") for part in codes.split(text)]
    return "".join(map("".join, zip(parts, [*codes.findall(text), ""], strict=True)))


def for_xml(text: str) -> str:
    """XML in which what is hidden stands as a character reference: a parser reads the same text."""
    if _ASCII.fullmatch(text):
        return text
    return "".join(
        character if visible(character, keep="\n\t\r") == character else f"&#x{ord(character):x};"
        for character in text
    )


def _is_hidden(character: str, before: str, after: str) -> bool:
    """Return True if a character is invisible between these neighbours; either may be absent."""
    code = ord(character)
    if character in _ZERO_WIDTH_JOINERS:
        joins_symbols = character == "\u200d" and _is_symbol(before) and _is_symbol(after)
        return not (joins_symbols or (_is_joined(before) and _is_joined(after)))
    if 0xFE00 <= code <= 0xFE0F:  # a variation selector: text or emoji
        return not (_is_symbol(before) or after == "\u20e3")
    if 0xE0000 <= code <= 0xE0FFF:  # tags, and variants of ideographs
        return True
    is_no_character = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return (
        is_no_character
        or character in _BLANK
        or unicodedata.category(character) in _HIDDEN_CATEGORIES
    )


def _is_symbol(character: str) -> bool:
    return bool(character) and (
        unicodedata.category(character) in _SYMBOLS or character == "\ufe0f"
    )


def _is_joined(character: str) -> bool:
    """Return True for a letter of a script that joins letters: from Arabic to those of India."""
    return "\u0600" <= character <= "\u0dff" and unicodedata.category(character)[0] in "LM"
