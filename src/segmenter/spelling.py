"""Options in messages: flags on the command line, keywords in Python.

A message names each option as a flag, such as `--short-side 560`. On the command line it is shown
so. Anywhere else it is shown as it is written in Python: `short_side=560`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Literal, get_args

from segmenter import options

Kind = Literal["flags", "keywords"]

_shown: Kind = "keywords"
"""Form that messages show; one for the whole process, since messages also come from threads."""
_RENAMED = {"from": "start"}
_SWITCHES = {"draft", "normalize", "partial"}
"""Flags without a value, besides those in `options.py`."""
_WORDS = {
    *(word for kind in (options.LabelRule, options.Ids) for word in get_args(kind)),
    *(word for kind in (options.GraphOutput, options.Unlabelled) for word in get_args(kind)),
    *get_args(options.Symmetry),
    *("auto", "cpu", "cuda", "mps", "float32", "bfloat16", "onnx", "triton", "web"),
    *("torch", "openvino", "onnxruntime"),
}
"""Values that are words."""
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?\b"
_VALUE = rf"'[^']*'|{_NUMBER}(?: {_NUMBER})*|(?:[A-Z]{{2,}}|N)\b|(?:{'|'.join(sorted(_WORDS))})\b"
_TOKEN = re.compile(
    r"(?P<code>`[^`]*`)"
    r"|(?P<command>\bsegmenter [a-z]+ [^;,)]*)"
    r"|(?<![\w/-])--(?P<no>no-)?(?P<name>[a-z]+(?:[-_][a-z]+)*)(?:\.(?P<field>[a-z]+(?:_[a-z]+)*))?"
    rf"(?: (?P<value>{_VALUE}))?"
)


@contextmanager
def messages_name(kind: Kind) -> Iterator[None]:
    """Have messages name options as flags or as keywords, until the block ends."""
    global _shown
    before, _shown = _shown, kind
    try:
        yield
    finally:
        _shown = before


def spelled(message: str) -> str:
    """Return a message with its options as this process names them.

    Example:
        >>> spelled("a.png exists; give another name, or allow it with --overwrite")
        'a.png exists; give another name, or allow it with overwrite=True'
    """
    return message if _shown == "flags" else as_keywords(message)


def as_keywords(text: str) -> str:
    """Return a text with its flags as keywords.

    Example:
        >>> as_keywords("average over sizes, such as `--scales 0.75 1`")
        'average over sizes, such as `scales=[0.75, 1]`'
    """
    return _TOKEN.sub(_keyword, text) if "--" in text else text


def _keyword(found: re.Match[str]) -> str:
    """Return an option as a keyword; a whole command, which is typed in a shell, stays."""
    if code := found["code"]:
        return f"`{_TOKEN.sub(_keyword, code[1:-1])}`" if code.startswith("`--") else code
    if found["command"]:
        return found["command"]
    name = found["name"].replace("-", "_")
    name = _RENAMED.get(name, name)
    if found["field"]:
        value = _value(found["value"]) if found["value"] else "..."
        return f'{name}={{"{found["field"]}": {value}}}'
    if found["no"] or name in _switches():
        kept = f" {found['value']}" if found["value"] else ""
        return f"{name}={not found['no']}{kept}"
    return f"{name}={_value(found['value'])}" if found["value"] else name


def _value(text: str) -> str:
    """Return a value in Python's syntax; a list comes in quotes or as words from a shell."""
    if text in _WORDS:
        return f'"{text}"'
    if not text.startswith("'") and " " in text:
        return f"[{text.replace(' ', ', ')}]"
    return text.strip("'") if text.startswith("'[") else text


@cache
def _switches() -> set[str]:
    kinds = [each for each in vars(options).values() if is_dataclass(each)]
    found = {field.name for kind in kinds for field in fields(kind) if field.type is bool}
    return found | _SWITCHES
