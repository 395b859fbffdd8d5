"""Reading YAML that a person wrote, and saying in one line what is wrong with it."""

import difflib
import itertools
import re
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from segmenter.errors import UserError
from segmenter.files.regular import read_regular

MAX_YAML_BYTES = 1 << 20
_MAX_ALIASES = 100
_MAX_MERGED_KEYS = 10_000
_MAX_DEPTH = 50
_MAX_EXAMPLE = 40
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)$")
_REAL = re.compile(
    r"[-+]?(([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$"
    r"|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"
)
_OUR_WORDS = {
    "int_type": "must be a whole number, in plain digits",
    "int_parsing": "must be a whole number, in plain digits",
    "int_from_float": "must be a whole number, in plain digits",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text; put it in quotes",
    "string_too_short": "is too short",
    "bool_type": "must be true or false",
    "list_type": "must be a list, such as [{example}]",
    "tuple_type": "must be a list, such as [{example}]",
    "too_short": "must be a list of at least one value",
    "dict_type": "must be keys and values",
    "model_type": "must be keys and values",
    "model_attributes_type": "must be a name, or keys and values",
}
_STARTS = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_ENDS = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


_NO_YAML = "no YAML; look at indentation, brackets, colons and quotes there"
_YAML_WORDS = {
    "'\\t'": "a tab, where YAML takes only blanks; indent with blanks",
    "mapping values are not allowed": (
        "a colon that begins no value; put text with a colon in it in quotes, and look at the "
        "indentation"
    ),
    "could not determine a constructor": "a tag (!...) that is not read; omit it",
    "expected <block end>": "a line that does not fit those above it; look at its indentation",
    "flow sequence": "a list that is not closed, or a comma that is missing",
    "flow mapping": "a brace that is not closed, or a comma that is missing",
    "quoted scalar": "text in quotes that is not closed",
    "undefined alias": "a name after * that stands for nothing; put text with a * in quotes",
    "unhashable key": "a key that is itself a list or mapping",
    "but found another document": "a second document (---); one is read",
    "special characters are not allowed": "a control character; omit it",
    "cannot start any token": "a character that begins no value; put the text in quotes",
    "could not find expected ':'": "a line without a colon after its key",
}
"""A part of what the library says -> what we say; the first that fits."""


class StrictnessError(yaml.constructor.ConstructorError):
    """Refusals of `StrictLoader`, in our words."""


class StrictLoader(yaml.SafeLoader):
    """The safe loader, which also refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping after looking for repeated keys."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise StrictnessError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put the keys of `<<` in; each of a chain of them may double their number."""
        super().flatten_mapping(node)
        if len(node.value) > _MAX_MERGED_KEYS:
            raise StrictnessError(
                None, None, f"more than {_MAX_MERGED_KEYS} merged keys", node.start_mark
            )


class PlainLoader(StrictLoader):
    """The strict loader for files of ours: only plain decimal digits are numbers, dates are text.

    YAML 1.1 has 010 as 8, 1:30 as 90, 1_000 as 1000 and 1e-3 as text, which nobody means.
    """


def _resolve_plain_numbers(loader: type[StrictLoader]) -> None:
    """Let a loader find numbers as people write them, in place of those of YAML 1.1."""
    replaced = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp")}
    loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in replaced]
        for first, resolvers in StrictLoader.yaml_implicit_resolvers.items()
    }
    for kind, pattern in (("int", _WHOLE), ("float", _REAL)):
        loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", pattern, list("-+.0123456789"))


_resolve_plain_numbers(PlainLoader)


def read_yaml(path: Path, loader: type[StrictLoader] = PlainLoader) -> Any:
    """Read a YAML file with a safe loader, of at most 1 MiB and without alias bombs.

    Raises:
        UserError: If the file is missing, unreadable, too large or not YAML.
    """
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise UserError(
                f"{path} is larger than {MAX_YAML_BYTES} bytes, the limit of YAML files"
            )
        text = read_regular(path, MAX_YAML_BYTES).decode("utf-8")
        _check_size_of_content(text, path)
        return yaml.load(text, loader)
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text (UTF-8)") from None
    except (
        yaml.YAMLError,
        RecursionError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
    ) as error:
        if isinstance(error, UserError):
            raise
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{path}{where}: {_what_is_wrong(error)}") from None


def _what_is_wrong(error: Exception) -> str:
    """Return a YAML library's finding, in words for the file's author."""
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", ""))
    if isinstance(error, StrictnessError):
        return problem
    said = f"{getattr(error, 'context', '')} {problem}"
    return next((ours for theirs, ours in _YAML_WORDS.items() if theirs in said), _NO_YAML)


def _check_size_of_content(text: str, path: Path) -> None:
    """Refuse few bytes that stand for much: aliases of aliases, and brackets in brackets."""
    num_aliases = depth = 0
    for token in yaml.scan(text):
        num_aliases += isinstance(token, yaml.AliasToken)
        depth += isinstance(token, _STARTS) - isinstance(token, _ENDS)
        if num_aliases > _MAX_ALIASES:
            raise UserError(f"{path} has more than {_MAX_ALIASES} YAML aliases, which is refused")
        if depth > _MAX_DEPTH:
            raise UserError(f"{path} is nested more than {_MAX_DEPTH} deep, which is refused")


def parse_value(text: str) -> Any:
    """Read one value from the command line as in a recipe; what is not YAML is plain text."""
    try:
        return yaml.load(text, PlainLoader)
    except (yaml.YAMLError, RecursionError, ValueError, KeyError, AttributeError, TypeError):
        return text


def first_problem(error: ValidationError, schema: type[BaseModel]) -> str:
    """Put the first finding of pydantic into one line: where, what, and the nearest valid key."""
    finding = _first_finding(error)
    location, known = _follow(schema, finding["loc"])
    where = ".".join(location)
    if finding["type"] == "extra_forbidden":
        hint = nearest(location[-1], known)
        return f"unknown key {where!r}{hint}; known here: {', '.join(known)}"
    if finding["type"] == "missing":
        return f"{where!r} is missing"
    message = finding["msg"].removeprefix("Value error, ")
    if finding["type"] == "value_error":
        return f"{where}: {message}" if where else message
    if finding["type"] in ("literal_error", "union_tag_invalid"):
        facts = finding.get("ctx", {})
        expected = str(facts.get("expected") or facts["expected_tags"]).replace(" or ", ", ")
        choices = [choice.strip(" '") for choice in expected.split(",")]
        given = str(facts.get("tag", finding["input"]))
        return (
            f"{where}: {given!r} is not a choice{nearest(given, choices)}; "
            f"choose from {', '.join(choices)}"
        )
    words: str = _OUR_WORDS.get(finding["type"]) or message[0].lower() + message[1:]
    message = words.replace("{example}", _list_content(finding["input"]))
    place = f"{where}: " if where else ""
    return f"{place}{message}, got {_short(finding['input'])}"


def first_place(error: ValidationError, schema: type[BaseModel]) -> str:
    """Return the key that `first_problem` speaks of, with its sections; empty for no single one."""
    return ".".join(_follow(schema, _first_finding(error)["loc"])[0])


def nearest(given: str, known: Sequence[str]) -> str:
    """Ask whether one of `known` was meant, where one is like `given`; else an empty text."""
    matches = difflib.get_close_matches(given, known, n=1)
    return f", did you mean {matches[0]!r}?" if matches else ""


def _short(value: object) -> str:
    return reprlib.repr(value)  # never the whole of it: a small file can describe a huge value


def _list_content(value: object) -> str:
    """Return what stands in a list of this one value; two numbers for what is not one."""
    is_one = isinstance(value, str | int | float) and len(str(value)) <= _MAX_EXAMPLE
    return str(value) if is_one else "1, 2"


def _first_finding(error: ValidationError) -> Any:
    findings = error.errors(include_url=False)
    # A mistyped key is why another one is missing.
    unknown = [finding for finding in findings if finding["type"] == "extra_forbidden"]
    return unknown[0] if unknown else _of_best_member(findings)


def _of_best_member(findings: Sequence[Any]) -> Any:
    """Return the first finding; in a union, that of the member that got furthest."""
    place = tuple(itertools.takewhile(lambda part: not _is_type_name(part), findings[0]["loc"]))
    of_place = [finding for finding in findings if finding["loc"][: len(place)] == place]
    return max(of_place, key=lambda finding: len(finding["loc"]))


def _is_type_name(part: int | str) -> bool:
    """Pydantic puts the names of union members into a location; users did not write them."""
    return isinstance(part, str) and (
        "[" in part or part in {"int", "constrained-int", "str", "float", "none"}
    )


def _follow(schema: type[BaseModel], location: Sequence[int | str]) -> tuple[list[str], list[str]]:
    """Follow a finding of pydantic through nested models.

    Returns:
        Its location as it is written in the file, and the keys that are known beside the last.
    """
    models = {"": schema}
    parts: list[str] = []
    known: set[str] = set()
    for part in location:
        if _is_type_name(part):
            continue
        if part in models:  # of a union of models, the one that the file chose by its kind
            models = {"": models[str(part)]}
            continue
        parts.append(str(part))
        if isinstance(part, str):
            fields = models[""].model_fields if "" in models else {}
            known = {name for name, field in fields.items() if not field.exclude}
            models = dict(_models_in(fields[part].annotation)) if part in fields else {}
    return parts, sorted(known)


def _models_in(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Return the models inside an annotation such as `tuple[Model, ...]`, by kind."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        kind = annotation.model_fields.get("kind")
        yield (str(kind.default) if kind else "", annotation)
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)
