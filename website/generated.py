"""The generated parts of the reference, each made from the table in the source that it shows."""

import re
from collections.abc import Callable, Iterable, Iterator
from inspect import Parameter as Argument
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from cyclopts import Parameter

from segmenter.commands.command_table import GROUPS, Command
from segmenter.commands.main import app
from segmenter.data.masks.problems import KINDS
from segmenter.extras.export.formats import FORMATS
from segmenter.extras.serving.openapi import openapi
from segmenter.recipe import Recipe


def _cell(text: object) -> str:
    """Return text that fits into a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def _without_pages(text: str) -> str:
    """Return a text without the pages that it names, which are near in the site."""
    return re.sub(r"\s*(?:\((?:see )?|; see )docs/[\w/-]+\.md\)?", "", text)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table in Markdown."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _fields_table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table of names, values, defaults and meanings; `site.css` stacks it on a phone."""
    return f'<div class="fields" markdown>\n\n{table(head, rows)}\n</div>\n'


# The command line


def command_line() -> str:
    """Return every command with its flags."""
    parts = []
    for title, commands in GROUPS.items():
        parts += [f"## {title}\n"]
        parts += [_command(name, command) for name, command in commands.items()]
    return "\n".join(parts)


def _command(name: str, command: Command) -> str:
    arguments = list(_arguments(name))
    words = [
        argument.name.lstrip("-").upper() for argument in arguments if _is_positional(argument)
    ]
    examples = "\n".join(f"segmenter {name} {each}".rstrip() for each in command.examples)
    parts = [
        f"### segmenter {name}\n",
        _without_pages(command.help) + "\n",
        f"```sh\n{examples}\n```\n",
        f"Arguments: {' '.join(f'`{word}`' for word in words) or 'none'}. {command.statuses}.\n",
    ]
    if arguments:
        rows = (
            (_names(argument), _kind_of_hint(argument.hint), _default(argument), _help(argument))
            for argument in arguments
        )
        parts += [_fields_table(("argument", "values", "default", "meaning"), rows)]
    return "\n".join(parts)


def _arguments(command: str) -> Iterator[Any]:
    default = Parameter.combine(app.default_parameter)
    found = app[command].assemble_argument_collection(
        default_parameter=default, parse_docstring=True
    )
    for argument in found:
        is_free = argument.field_info.kind.name == "VAR_KEYWORD"
        if argument.parse and not argument.children and not is_free and argument.name != "*":
            yield argument


def _is_positional(argument: Any) -> bool:
    return argument.field_info.is_positional


def _names(argument: Any) -> str:
    names = [f"`{name}`" for name in argument.names]
    if _is_positional(argument):
        names.insert(0, f"`{argument.name.lstrip('-').upper()}`")
    return ", ".join(dict.fromkeys(names))


def _help(argument: Any) -> str:
    return _without_pages(argument.parameter.help or "")


def _default(argument: Any) -> str:
    default = argument.field_info.default
    if argument.required or default is Argument.empty:
        return "required"
    if default is None:
        return ""
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return f"`{' '.join(map(str, default))}`" if default else ""
    return f"`{default}`"


def _kind_of_hint(hint: Any) -> str:
    """Return what an argument may be, in words."""
    inner = [each for each in get_args(hint) if each is not type(None)]
    origin = get_origin(hint)
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in inner)
    if origin in (Union, UnionType):
        return " or ".join(map(_kind_of_hint, inner))
    if origin in (tuple, list):
        kinds = [_kind_of_hint(each) for each in inner if each is not ...]
        return f"{kinds[0]}, several" if ... in inner or origin is list else ", ".join(kinds)
    if isinstance(hint, type) and issubclass(hint, Path):
        return "path"
    return {str: "text", int: "whole number", float: "number", bool: "on or off"}.get(hint, "")


# Recipes


def recipe_fields() -> str:
    """Return every field of a recipe with its type, range, default and meaning."""
    schema = Recipe.model_json_schema(mode="validation")
    top = {name: field for name, field in schema["properties"].items() if not _section(field)}
    del top["auto"]  # filled in by fields that are given as `auto`
    parts = ["## Fields without a section\n", _fields(top, schema["required"], schema["$defs"])]
    for name, field in schema["properties"].items():
        for reference in _section(field):
            parts += _one_section(name, schema["$defs"][reference], schema["$defs"])
    return "\n".join(parts)


def _one_section(name: str, section: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    """Return the parts of a section, and of the sections inside it."""
    properties = section["properties"]
    plain = {key: field for key, field in properties.items() if not _section(field)}
    parts = [
        f"## {name}\n",
        _sentence(section.get("description", "")),
        _fields(plain, section.get("required", []), definitions),
    ]
    for key, field in properties.items():
        references = _section(field)
        for reference in references:
            inner = definitions[reference]
            kind = inner["properties"].get("kind", {}).get("const")
            title = f"{name}.{key}" + (f", kind {kind}" if kind else "")
            parts += _one_section(title, inner, definitions)
    return parts


def _sentence(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split()) + "\n"


def _section(field: dict[str, Any]) -> list[str]:
    """Return the names of the sections that a field is."""
    choices = [field, *field.get("anyOf", []), *field.get("oneOf", []), *field.get("allOf", [])]
    return [each["$ref"].rpartition("/")[2] for each in choices if "$ref" in each]


def _fields(fields: dict[str, Any], required: Iterable[str], definitions: dict[str, Any]) -> str:
    rows = []
    for name, field in fields.items():
        default = "required" if name in required else f"`{_yaml(field.get('default'))}`"
        meaning = _without_pages(field.get("description", ""))
        rows.append((f"`{name}`", _kind(field, definitions), default, meaning))
    return _fields_table(("field", "values", "default", "meaning"), rows)


def _yaml(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    return str(value) if value != "" else "''"


_TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
}


def _kind(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return what a field may be, in words."""
    if "$ref" in field:
        return _kind(definitions[field["$ref"].rpartition("/")[2]], definitions)
    choices = field.get("anyOf") or field.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(_kind(each, definitions) for each in choices))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{each}`" for each in field["enum"])
    if field.get("type") == "null":
        return "`null`"
    if field.get("type") == "array":
        inner = field.get("prefixItems")
        if inner:
            return f"[{', '.join(_kind(each, definitions) for each in inner)}]"
        return f"list of {_kind(field.get('items', {}), definitions)}"
    if field.get("type") == "object":
        values = field.get("additionalProperties")
        return f"names with {_kind(values, definitions)}" if isinstance(values, dict) else "section"
    return _TYPES.get(field.get("type", ""), "") + _range(field)


def _range(field: dict[str, Any]) -> str:
    """Return the range of a number."""
    low, above = field.get("minimum"), field.get("exclusiveMinimum")
    high, below = field.get("maximum"), field.get("exclusiveMaximum")
    ends = [
        _end("from", low) or _end("above", above),
        _end("to", high) or _end("below", below),
    ]
    found = " ".join(filter(None, ends))
    return f" {found}" if found else ""


def _end(word: str, number: float | None) -> str:
    if number is None:
        return ""
    shown = f"{number:,.0f}" if number == int(number) else f"{number:g}"
    return f"{word} {shown}"


# Tables


def checks() -> str:
    """Return what `segmenter check` can find."""
    rows = (
        (f"`{name}`", str(kind.severity), kind.title, kind.advice) for name, kind in KINDS.items()
    )
    return table(("kind", "severity", "what is found", "what to do"), rows)


def export_formats() -> str:
    """Return the formats of `segmenter export`."""
    rows = (
        (
            f"`{row.name}`",
            f"`NAME{row.suffix}`" if row.suffix else "a folder",
            f"`{row.needs}`",
            f"`{row.extra}`",
        )
        for row in FORMATS.values()
    )
    return table(("`--format`", "written", "compared in", "extra"), rows)


def http() -> str:
    """Return the routes of the service, from its OpenAPI description."""
    description = openapi("NAME", "")
    rows, refusals = [], {}
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            takes = operation.get("requestBody", {}).get("content", {})
            answers = operation["responses"]["200"]
            rows.append(
                (
                    f"`{method.upper()} {path}`",
                    operation["summary"],
                    "<br>".join(f"`{kind}`" for kind in takes),
                    "<br>".join(f"`{kind}`" for kind in answers.get("content", {})),
                    ", ".join(f"`{each['name']}`" for each in operation.get("parameters", [])),
                )
            )
            refusals |= {
                status: answer["description"]
                for status, answer in operation["responses"].items()
                if status != "200"
            }
    problem = description["components"]["schemas"]["Problem"]["properties"]
    return "\n".join(
        (
            "## Routes\n",
            table(("request", "answer", "request body", "answer body", "query"), rows),
            "## Refusals\n",
            "A refusal is `application/problem+json` with these keys: "
            + ", ".join(f"`{key}`" for key in problem)
            + ".\n",
            table(("status", "meaning"), sorted(refusals.items())),
        )
    )


PARTS: dict[str, Callable[[], str]] = {
    "command-line": command_line,
    "recipe-fields": recipe_fields,
    "checks": checks,
    "export-formats": export_formats,
    "http": http,
}
"""Each by the name that pages have in their marker `<!-- generated: NAME -->`."""
