"""HTML pages: one environment, one frame, one stylesheet for every page that the package writes.

A page is a template beside the code that renders it; it extends `page.html.jinja`.
"""

import base64
from collections.abc import Mapping
from typing import Any

from jaxtyping import UInt8
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from numpy import ndarray

from segmenter.drawing import encode_jpeg
from segmenter.files.outputs import OutputFolder, check_new
from segmenter.options import Report
from segmenter.text import for_page, percent, span

PAGE_NAME = "index.html"

_QUALITY = 85


def template_environment(package: str, *, is_html: bool = True) -> Environment:
    """Return the Jinja environment of the templates in a package's folder.

    Args:
        package: Such as `segmenter.predicting`.
        is_html: Escape what is shown; False for plain text, which keeps its last line end.
    """
    loaders = [PackageLoader(name, ".") for name in (package, __name__)]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        finalize=for_page,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=is_html,
        keep_trailing_newline=not is_html,
    )
    environment.filters |= {
        "css_color": css_color,
        "percent": percent,
        "plain": _plain,
        "span": span,
    }
    return environment


def render_page(package: str, template: str, **values: Any) -> bytes:
    """Render a page; what it shows is escaped.

    Args:
        package: That holds the template.
        template: Name of its file.
        values: What it shows.

    Returns:
        HTML as UTF-8.
    """
    page = template_environment(package).get_template(template).render(values)
    return page.encode(errors="backslashreplace")


def open_report(output: Report) -> OutputFolder | None:
    """Return the folder of a page, if one is asked for, once page and JSON can be written.

    Raises:
        UserError: If something is in the way.
    """
    report = OutputFolder(output.report, overwrite=output.overwrite) if output.report else None
    if report:
        report.check([PAGE_NAME])
    if output.json:
        check_new(output.json, overwrite=output.overwrite)
    return report


def data_uri(picture: UInt8[ndarray, "height width 3"]) -> str:
    """Return a link that holds an RGB picture, as a JPEG."""
    content = base64.b64encode(encode_jpeg(picture, _QUALITY)).decode()
    return f"data:image/jpeg;base64,{content}"


def css_color(color: tuple[int, int, int]) -> str:
    """Return an RGB colour as CSS has it, such as `#2a6fca`."""
    return "#" + bytes(color).hex()


def _plain(value: object) -> str:
    """Return a value of a context as a person would write it."""
    if isinstance(value, Mapping):
        return ", ".join(
            f"{str(key).replace('_', ' ')} {_plain(inner)}" for key, inner in value.items()
        )
    if isinstance(value, list | tuple):
        return ", ".join(_plain(inner) for inner in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
