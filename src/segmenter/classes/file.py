"""Bring a `classes.yaml` as people write it to its strict form, or refuse it plainly."""

import math
import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

_EXAMPLE = 'such as "classes: [{name: road, color: [128, 64, 128], values: [1]}]"'
_HEX = re.compile(r"#(?:[0-9a-f]{3}|[0-9a-f]{6})", re.IGNORECASE)
_MAX_VALUE = 65535
_LEAST_IGNORED = 1 - (1 << 31)
_MAX_BITS = 16
_SHOWN = 40
"""Characters of what was given that a message shows."""


def strict_content(content: object) -> object:
    """Return the strict form of what a file holds: colours as three numbers, values as lists.

    Keys that are unknown or missing are left to whoever checks the form.

    Raises:
        ValueError: If something has a form that is not read; what and where, in one line.
    """
    if content is None:
        raise ValueError(f"it is empty; it lists the classes, {_EXAMPLE}")
    if isinstance(content, list):
        raise ValueError('it is a list; write "classes:" in the line above it, and indent the list')
    if not isinstance(content, dict):
        raise ValueError(f"it holds {_short(content)}, no keys; it lists the classes, {_EXAMPLE}")
    if "classes" not in content and "names" in content:
        raise ValueError(_of_yolo(content["names"]))
    strict = {str(key): value for key, value in content.items()}
    if "background" in strict:
        strict["background"] = _values(strict["background"], "background")
    if "ignore" in content:
        strict["ignore"] = _values(content["ignore"], "ignore", least=_LEAST_IGNORED)
    if "image_bits" in strict:
        strict["image_bits"] = _number(strict["image_bits"], "image_bits", 8, _MAX_BITS)
    if "classes" in strict:
        strict["classes"] = _classes(strict["classes"])
    return strict


def _classes(given: object) -> list[object]:
    if not isinstance(given, list) or not given:
        raise ValueError(f"classes: a list with an entry for each class, {_EXAMPLE}{_got(given)}")
    return _with_colors([_entry(entry, f"classes.{index}") for index, entry in enumerate(given)])


def _with_colors(entries: list[dict[str, Any]]) -> list[object]:
    """Choose the colours that are left out: of colour masks the mask's own, else distinct ones."""
    drawn = [
        {"color": color} | entry if (color := _mask_color(entry)) else entry for entry in entries
    ]
    if all("color" in entry for entry in drawn):
        return list(drawn)
    from segmenter.classes.colors import distinct_colors  # OpenCV, which most files do not need

    colors = (entry["color"] for entry in drawn if "color" in entry)
    given = [(red, green, blue) for red, green, blue in colors]
    chosen = iter(distinct_colors(len(drawn) - len(given), given).tolist())
    return [entry if "color" in entry else entry | {"color": next(chosen)} for entry in drawn]


def _mask_color(entry: dict[str, Any]) -> list[int] | None:
    first = next(iter(entry.get("values", ())), None)
    return first if isinstance(first, list) else None


def _entry(given: object, where: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(
            f"{where}: an entry has a name, values and, if you like, a color, such as "
            f'"{{name: road, color: [128, 64, 128], values: [1]}}"{_got(given)}'
        )
    readers: dict[str, Callable[[object, str], object]] = {
        "name": _name,
        "color": _color,
        "values": _values,
    }
    return {
        str(key): readers[key](value, f"{where}.{key}") if key in readers else value
        for key, value in given.items()
    }


def _name(given: object, where: str) -> str:
    if isinstance(given, bool):
        word, truth = ("yes", "yes, on and true") if given else ("no", "no, off and false")
        raise ValueError(
            f'{where}: YAML takes {truth} for a truth value; put the name in quotes: "{word}"'
        )
    if given is None:
        raise ValueError(f"{where} is empty; give a name, in quotes if it is null or begins with #")
    if not isinstance(given, str):
        raise ValueError(f'{where}: a name is text; put it in quotes: "{_short(given)}"')
    if not given.strip():
        raise ValueError(f"{where} is blank; give a name")
    if len(given) > 100:
        raise ValueError(f"{where} has {len(given)} characters, and a name at most 100")
    if any(ord(character) < 32 or ord(character) == 127 for character in given):
        raise ValueError(f"{where}: {given[:_SHOWN]!r} holds a line break or control character")
    return given


def _color(given: object, where: str) -> list[int]:
    if isinstance(given, str) and _HEX.fullmatch(given.strip()):
        return _hex(given)
    rule = f'{where}: a colour is three numbers, such as [128, 128, 128], or "#808080" in quotes'
    if given is None:
        raise ValueError(f"{rule}; there is none, and without quotes # begins a comment")
    if not isinstance(given, list) or len(given) != 3:
        alpha = isinstance(given, list) and len(given) == 4
        alpha = alpha or (isinstance(given, str) and re.fullmatch(r"#[0-9a-fA-F]{8}", given))
        raise ValueError(f"{rule}{_got(given)}{', which has a fourth for alpha' if alpha else ''}")
    return [_number(each, where, 0, 255) for each in given]


def _values(given: object, where: str, least: int = 0) -> list[object]:
    """Return a list of mask values, also for a single one. NaN is always ignored, so left out."""
    if given is None:
        raise ValueError(f"{where} is empty; give a list, such as [255], or [] for none")
    values = given if isinstance(given, list) else [given]
    return [
        _value(value, where, least)
        for value in values
        if least == 0 or not (isinstance(value, float) and math.isnan(value))
    ]


def _value(given: object, where: str, least: int) -> object:
    if isinstance(given, list) or (isinstance(given, str) and given.startswith("#")):
        return _color(given, where)
    if least < 0 and isinstance(given, float) and given.is_integer():
        given = int(given)
    return _number(given, where, least, _MAX_VALUE)


def _number(given: object, where: str, least: int, most: int) -> int:
    if isinstance(given, str) and re.fullmatch(r"-?\d+", given.strip()):
        raise ValueError(f"{where}: {given!r} is text; omit the quotes")
    if isinstance(given, bool) or not isinstance(given, int):
        raise ValueError(f"{where}: whole numbers from {least} to {most}{_got(given)}")
    if not least <= given <= most:
        raise ValueError(f"{where}: whole numbers from {least} to {most}, got {_short(given)}")
    return given


def _hex(given: str) -> list[int]:
    digits = given.strip()[1:]
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    return [int(digits[at : at + 2], 16) for at in (0, 2, 4)]


def _of_yolo(names: object) -> str:
    """Return the message on a file with `names`, as YOLO writes them."""
    pairs: Sequence[tuple[Any, Any]] = ()
    if isinstance(names, dict):
        pairs = list(islice(names.items(), 2))
    elif isinstance(names, list):
        pairs = list(islice(enumerate(names), 2))
    entries = ", ".join(
        f"{{name: {_short(name)}, color: [{70 * index + 60}, 0, 0], values: [{_short(value)}]}}"
        for index, (value, name) in enumerate(pairs)
    )
    more = ", ..." if pairs and isinstance(names, dict | list) and len(names) > len(pairs) else ""
    return (
        "it has `names`, as the data.yaml of YOLO does; here each class has a name, a colour and "
        f'the values that stand for it in the masks: "classes: [{entries}{more}]"'
        if pairs
        else f"unknown key 'names'; it lists the classes, {_EXAMPLE}"
    )


def _got(given: object) -> str:
    return f", got {_short(given)}"


def _short(given: object) -> str:
    """Return a value as it was given, shortened if it is long."""
    if given is None:
        return "nothing"
    if isinstance(given, dict):
        return "a mapping (key: value)" if given else "an empty mapping"
    if isinstance(given, list):
        shown = ", ".join(_short(each) for each in given[:4])
        return f"[{shown}{', ...' if len(given) > 4 else ''}]"[: 2 * _SHOWN]
    text = str(given) if isinstance(given, str | int | float) else type(given).__name__
    return ascii(text[:_SHOWN])[1:-1] + ("..." if len(text) > _SHOWN else "")
